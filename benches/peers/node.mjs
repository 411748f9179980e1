// node.mjs ENGINE: a server on ENGINE (quickjs, isolate), a process of Node's cluster for each of WORKERS (one a core).
import cluster from "node:cluster";
import { createServer } from "node:http";
import { availableParallelism } from "node:os";
import { LIMITS } from "./answer.mjs";

const workers = Number(process.env.WORKERS ?? availableParallelism());

if (cluster.isPrimary) {
  for (let count = 0; count < workers; count++) cluster.fork();
  cluster.on("exit", (worker) => worker.exitedAfterDisconnect || cluster.fork());
} else {
  const { run } = await import(`./${process.argv[2]}.mjs`);
  createServer((request, response) => {
    const parts = [];
    let bytes = 0;
    request.on("data", (part) => {
      bytes += part.length;
      if (bytes > LIMITS.bodyBytes) answer(response, 413, '{"code":"body_too_large"}');
      else parts.push(part);
    });
    request.on("end", async () => {
      if (response.writableEnded) return;
      if (request.method !== "POST" || request.url !== "/api/execute") return answer(response, 404, '{"code":"not_found"}');
      let body;
      try {
        body = JSON.parse(Buffer.concat(parts).toString());
      } catch {
        return answer(response, 400, '{"code":"invalid_json"}');
      }
      if (typeof body?.code !== "string") return answer(response, 400, '{"code":"missing_code"}');
      answer(response, 200, await run(body.code, body.input));
    });
  }).listen(Number(process.env.PORT), "127.0.0.1");
}

function answer(response, status, text) {
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}
