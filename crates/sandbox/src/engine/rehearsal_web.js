// What is in it stands for what most scripts with web APIs do; what it writes to is laid together (allocator/placement.rs).
const url = new URL('https://example.com/first/second?kind=a#part');
const bytes = new TextEncoder().encode(url.href);
const text = new TextDecoder().decode(bytes);
const clone = structuredClone({ text, of: [1, 'two', { three: null }] });
({ path: url.pathname, kind: url.searchParams.get('kind'), length: bytes.length, clone, id: crypto.randomUUID() })
