// What is in it stands for what scripts do with web APIs; what it writes to is laid together (allocator/placement.rs).
const url = new URL('../items?kind=a&kind=b#part', 'https://example.com:8080/first/second');
url.searchParams.append('page', '2');
const bytes = new TextEncoder().encode(url.href);
const text = new TextDecoder().decode(bytes);
const clone = structuredClone({ when: new Date(0), of: [1, 'two', { three: new Map([['a', new Set([1])]]) }], bytes });
({
  text, host: url.host, path: url.pathname, kinds: url.searchParams.getAll('kind'), clone, id: crypto.randomUUID().length,
  random: crypto.getRandomValues(new Uint8Array(8)).length,
})
