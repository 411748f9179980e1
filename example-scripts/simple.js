// expect: 3
// The smallest script: the value of the last expression is the result.
1 + 2;
