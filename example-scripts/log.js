// expect: "logged 4 entries"
// Everything that console says comes back with its kind, its time and its values as data.
console.log("Hello!");
console.info("a number", 42, "and a list", [1, 2, 3]);
console.warn({ nested: { object: true } });
console.error(new RangeError("reported, not thrown"));
"logged 4 entries";
