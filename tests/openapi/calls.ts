// Calls a service through an ingress that requires keys, with the client that @hey-api/openapi-ts generated.
//
//   node calls.js URL KEY

import * as api from "./sandpiper";
import { createClient, createConfig, formDataBodySerializer } from "./sandpiper/client";
import type { ExecutionError, Job, Problem, ScriptError } from "./sandpiper";

declare const process: { argv: string[]; exitCode: number };

const [url, key] = process.argv.slice(2);
const client = createClient(createConfig({ baseUrl: url, auth: key }));
const stranger = createClient(createConfig({ baseUrl: url }));

function same(seen: unknown, wanted: unknown): void {
  const [left, right] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

/** Returns the data of a response, which must have succeeded. */
function given<Data>(response: { data: Data; error: unknown } | { data: undefined; error: unknown }): NonNullable<Data> {
  if (response.data == null) throw new Error(`refused: ${JSON.stringify(response.error)}`);
  return response.data;
}

/** Returns the problem of a response, which must have this status and code. */
function refused(status: number, code: string, answer: { error: Problem | undefined; response: Response }): Problem {
  const problem = answer.error;
  if (problem === undefined) throw new Error(`${code} was expected`);
  same([answer.response.status, problem.status, problem.code], [status, status, code]);
  return problem;
}

function thrownBy(error: ExecutionError): ScriptError {
  if (error === false) throw new Error("nothing was thrown");
  return error;
}

async function main(): Promise<void> {
  refused(401, "unauthorized", await api.execute({ client: stranger, body: { code: "1" } }));
  same(given(await api.getInfo({ client: stranger })).name, "sandpiper");
  same(given(await api.getReadiness({ client: stranger })).status, "UP");

  const body = { code: "console.log('Hello!'); input.a * input.b", input: { a: 6, b: 7 }, seed: 1 };
  const answer = await api.execute({ client, body });
  const done = given(answer);
  same([done.status, done.outcome, done.result, done.resultType], ["success", "succeeded", 42, "number"]);
  same([done.error, done.limitHit, done.log[0].type, done.log[0].data], [false, undefined, "log", ["Hello!"]]);
  same(answer.response.headers.get("ratelimit-policy")?.split(";")[0], '"key-run"');

  const thrown = given(await api.execute({ client, body: { code: "let x = 1;\nnull.y" } }));
  const error = thrownBy(thrown.error);
  same([thrown.outcome, thrown.result, error.name, error.lineNumber], ["threw", null, "TypeError", 2]);

  const modules = { "./util.js": "export const twice = (number) => 2 * number" };
  const code = "import { twice } from './util.js'; export default (input) => twice(input)";
  same(given(await api.execute({ client, body: { code, kind: "module", modules, input: 21 } })).result, 42);

  const form = { code: "input.a + 1", input: { a: 1 }, limits: { timeoutMs: 900 } };
  const headers = { "Content-Type": null };
  const filled = given(await api.execute({ client, body: form, headers, ...formDataBodySerializer }));
  same([filled.result, filled.limits.timeoutMs], [2, 900]);

  refused(404, "script_not_found", await api.execute({ client, body: { file: "none.js" } }));
  const limits = { timeoutMs: 1e9 };
  const above = refused(422, "limit_above_ceiling", await api.execute({ client, body: { code: "1", limits } }));
  same(above.field, "limits.timeoutMs");

  const idempotent = { "Idempotency-Key": "k" };
  let job: Job = given(await api.submitJob({ client, body: { code: "console.log(1); 'done'" }, headers: idempotent }));
  while (job.state === "queued" || job.state === "running") {
    job = given(await api.getJob({ client, path: { id: job.id }, headers: { Prefer: "wait=10" } }));
  }
  same([job.state, job.attempt, job.execution?.result], ["finished", 1, "done"]);
  const names: string[] = [];
  const onSseEvent = ({ event }: { event?: string }) => event !== undefined && names.push(event);
  const { stream } = await api.followJob({ client, path: { id: job.id }, onSseEvent, sseMaxRetryAttempts: 1 });
  const events: unknown[] = [];
  for await (const event of stream) events.push(event);
  same([names, events.length], [["log", "end"], 2]);

  const slow = { code: "for (;;);", limits: { timeoutMs: 30_000 } };
  const endless = given(await api.submitJob({ client, body: slow }));
  const page = given(await api.listJobs({ client, query: { limit: 1 } }));
  same(page.jobs.map((one) => one.id), [endless.id]);
  const older = given(await api.listJobs({ client, query: { cursor: page.nextCursor ?? undefined } }));
  same([older.jobs.map((one) => one.id), older.nextCursor], [[job.id], null]);
  same(given(await api.cancelJob({ client, path: { id: endless.id } })).state, "cancelled");
  const again = refused(409, "job_already_final", await api.cancelJob({ client, path: { id: endless.id } }));
  same(again.state, "cancelled");

  const { scripts } = given(await api.listScripts({ client }));
  const text = given(await api.getScript({ client, path: { name: scripts[0].name } }));
  same(text.includes("// expect:"), true);
  same(given(await api.listNodes({ client })).nodes.length, 1);
  same(given(await api.checkNetwork({ client, query: { port: 9 } })).port, 9);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
