// expect: 832040
// A Fibonacci number by plain recursion, to keep the processor busy. `find` says which, 30 if it is not given.
var find = typeof find === "undefined" ? 30 : find;

function fibonacci(index) {
  return index < 2 ? index : fibonacci(index - 1) + fibonacci(index - 2);
}

fibonacci(find);
