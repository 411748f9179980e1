// expect: memory_exceeded
// A memory hog: it is stopped at its limit, and the service does not notice.
const kept = [];
while (true) {
  kept.push(new Array(10_000).fill(kept.length));
}
