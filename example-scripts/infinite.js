// expect: timed_out
// A loop without an end: the limit ends it, and what it logged is kept.
console.log("round and round");
let rounds = 0;
while (true) {
  rounds += 1;
}
