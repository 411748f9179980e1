// expect: "3.14159265358979323846"
// Digits of pi with BigInt. `input` says how many after the point, 20 if it is not given.
var input = typeof input === "undefined" ? 20 : input;

// Machin: pi = 16 arctan(1/5) - 4 arctan(1/239), in whole units of 10^-(digits + 10).
function arctanOfInverse(x, unit) {
  const square = x * x;
  let term = unit / x;
  let sum = term;
  for (let divisor = 3n, sign = -1n; term !== 0n; divisor += 2n, sign = -sign) {
    term /= square;
    sum += sign * (term / divisor);
  }
  return sum;
}

function pi(digits) {
  const guard = 10n;
  const unit = 10n ** (BigInt(digits) + guard);
  const scaled = 16n * arctanOfInverse(5n, unit) - 4n * arctanOfInverse(239n, unit);
  const text = String(scaled / 10n ** guard);
  return digits === 0 ? text : text[0] + "." + text.slice(1);
}

pi(Number(input));
