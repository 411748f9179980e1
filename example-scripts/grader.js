// expect: {"passed":2,"failed":1,"score":0.67}
// A grader: runs an answer against test cases and reports each one that is wrong. `input` may bring its own cases.
const answer = (list) => list.reduce((sum, value) => sum + value);
const cases = globalThis.input?.cases ?? [
  { give: [1, 2, 3], want: 6 },
  { give: [5], want: 5 },
  { give: [], want: 0 },
];

let passed = 0;
for (const { give, want } of cases) {
  try {
    const got = answer(give);
    console.assert(got === want, "answer(", give, ") gave", got, "but should give", want);
    passed += got === want ? 1 : 0;
  } catch (error) {
    console.error("answer(", give, ") threw", error.message);
  }
}
({ passed, failed: cases.length - passed, score: Math.round((passed / cases.length) * 100) / 100 });
