// What is in it stands for what scripts do; what it writes to is laid together (allocator/placement.rs).
console.log('begun', { at: 1, of: ['a', 'b'] });
class Point {
  constructor(x, y) { Object.assign(this, { x, y }); }
  get length() { return Math.hypot(this.x, this.y); }
}
const numbers = Array.from({ length: 20 }, (_, index) => index * 1.5);
const sum = numbers.map((x) => x * 2).filter((x) => x % 3 === 0).sort((a, b) => b - a).reduce((a, b) => a + b, 0);
const counts = new Map();
for (const word of 'one two one three'.split(' ')) counts.set(word, (counts.get(word) ?? 0) + 1);
const { b, ...others } = JSON.parse('{"a":[1,{"c":null}],"b":true,"d":"text"}');
let thrown;
try { undefined.length } catch (error) { thrown = `${error.name}: ${error.message}`; }
function* naturals() { for (let i = 0; ; i++) yield i; }
const few = [];
for (const natural of naturals()) { if (natural > 3) break; few.push(natural); }
const later = new Promise((done) => setTimeout(done, 1, 'later'));
const all = await Promise.all([later, (async () => new Set([1, 2]).size)()]);
console.warn(all);
({
  sum, b, others, thrown, few, all, words: Object.fromEntries(counts), length: new Point(3, 4).length,
  when: new Date(0).toISOString(), date: /(\d+)-(\d+)/.exec('2026-11')[1].padStart(6, '0'), random: Math.random() < 1,
  text: JSON.stringify({ numbers }).replaceAll('1', 'one').slice(0, 30).toUpperCase(), keys: Object.keys(others),
})
