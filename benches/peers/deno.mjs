// A Deno server that starts a Deno worker without any permission for every script, in which QuickJS runs it.
// Its workers are threads, so it uses every core by itself.
import { LIMITS, failed } from "./answer.mjs";

// From the moment the worker has its engine; before that it may take its time.
const HARD_LIMIT_MS = LIMITS.timeoutMs + 500;
const START_LIMIT_MS = 30_000;

Deno.serve({ port: Number(Deno.env.get("PORT")), hostname: "127.0.0.1", onListen() {} }, async (request) => {
  if (request.method !== "POST" || new URL(request.url).pathname !== "/api/execute") return answer(404, '{"code":"not_found"}');
  let body;
  try {
    body = await request.json();
  } catch {
    return answer(400, '{"code":"invalid_json"}');
  }
  if (typeof body?.code !== "string") return answer(400, '{"code":"missing_code"}');
  return answer(200, await run(body));
});

function run(body) {
  const begun = performance.now();
  return new Promise((resolve) => {
    const worker = new Worker(new URL("./deno-worker.mjs", import.meta.url), {
      type: "module",
      deno: { permissions: { net: false, read: [new URL(".", import.meta.url)], write: false, env: false, run: false, ffi: false, sys: false, import: false } },
    });
    const end = (text) => {
      clearTimeout(killer);
      worker.terminate();
      resolve(text);
    };
    const killIn = (ms) => setTimeout(() => end(failed(new Error("interrupted"), [], begun)), ms);
    let killer = killIn(START_LIMIT_MS);
    worker.onmessage = ({ data }) => {
      if (data !== "ready") return end(data);
      clearTimeout(killer);
      killer = killIn(HARD_LIMIT_MS);
      worker.postMessage(body);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      end(failed(new Error(event.message), [], begun));
    };
  });
}

function answer(status, text) {
  return new Response(text, { status, headers: { "content-type": "application/json" } });
}
