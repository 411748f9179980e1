// What is in it stands for what nearly every script does; what it writes to is laid together (allocator/placement.rs).
// The names are those that scripts choose, as far as the engine knows them already.
let a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z;
let args, body, count, data, error, id, index, input, item, items, key, keys, list, name, names, object, options, out, path,
  result, results, text, type, url, value, values;
const add = (x, y) => x + y;
function twice(of) {
  for (let index = 0; index < 2; index++) total = add(total, of[index]);
  return total;
}
let total = 0;
const point = { a: 1, b: 'two', c: [1, 2, { d: null }] };
if (twice(point.c) === 3 && point.b.length > 2) point.e = `${point.b} ${total}`;
({ a: point.c.length, b: point.b.length, c: [1, 2, { d: point.e }] })
