// One script, then the server ends this worker.
let arrived;
const first = new Promise((resolve) => {
  arrived = resolve;
});
self.onmessage = ({ data }) => arrived(data);
const { run } = await import("./quickjs.mjs");
const { code, input } = await first;
self.postMessage(await run(code, input));
