// expect: succeeded
// Every execution draws randomness of its own; with `seed` in the request the same numbers come again.
({ dice: Array.from({ length: 5 }, () => 1 + Math.floor(Math.random() * 6)), at: new Date() });
