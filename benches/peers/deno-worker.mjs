// One script, then the server ends this worker.
import { run } from "./quickjs.mjs";

self.onmessage = async ({ data: { code, input } }) => self.postMessage(await run(code, input));
self.postMessage("ready");
