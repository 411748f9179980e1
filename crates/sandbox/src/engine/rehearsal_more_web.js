// What is in it stands for what some scripts with web APIs do; what it writes to is laid together (allocator/placement.rs).
const url = new URL('../items?kind=a&kind=b#part', 'https://example.com:8080/first/second');
url.searchParams.append('page', '2');
const clone = structuredClone({ when: new Date(0), of: new Map([['a', new Set([1])]]), bytes: new Uint8Array(8) });
({
  host: url.host, kinds: url.searchParams.getAll('kind'), clone, params: new URLSearchParams({ a: 1 }).toString(),
  random: crypto.getRandomValues(new Uint8Array(8)).length,
})
