// isolated-vm: a V8 isolate that is new for every script.
//
// Has: bounds on time (of running code, and a deadline for promises and timers), heap and output; console; setTimeout and
// clearTimeout; a promise as the script's value is awaited. Has not: top-level await, a bound on the stack of its own, a
// process of its own: V8 runs with its just-in-time compiler in the server's address space, and V8 out of memory in an
// unlucky place ends the server.
import ivm from "isolated-vm";
import { LIMITS, Log, failed, succeeded } from "./answer.mjs";

const PRELUDE = `
  const [log, later, never] = [$0, $1, $2];
  globalThis.console = {};
  for (const type of ["log", "info", "warn", "error", "debug"]) {
    console[type] = (...values) => log(type, JSON.stringify(values.map((value) => value === undefined ? null : value)));
  }
  const waiting = new Map();
  let last = 0;
  globalThis.setTimeout = (callback, ms, ...rest) => {
    waiting.set(++last, () => callback(...rest));
    later(last, Number(ms) || 0);
    return last;
  };
  globalThis.clearTimeout = (id) => { if (waiting.delete(id)) never(id); };
  if ($3 !== undefined) globalThis.input = JSON.parse($3);
  const { stringify } = JSON;
  return {
    fire: (id) => { const callback = waiting.get(id); waiting.delete(id); callback?.(); },
    settle: async (value) => stringify(await value) ?? "null",
  };
`;

export async function run(code, input) {
  const begun = performance.now();
  const deadline = Date.now() + LIMITS.timeoutMs;
  const log = new Log();
  const timers = new Map();
  const isolate = new ivm.Isolate({ memoryLimit: LIMITS.memoryBytes / 1024 / 1024 });
  const left = () => ({ timeout: Math.max(1, deadline - Date.now()) });
  let guard;
  try {
    const context = await isolate.createContext();
    let fire;
    const later = (id, ms) => {
      timers.set(id, setTimeout(() => {
        timers.delete(id);
        fire.apply(undefined, [id], left()).catch(() => {});
      }, ms));
    };
    const never = (id) => {
      clearTimeout(timers.get(id));
      timers.delete(id);
    };
    const host = await context.evalClosure(
      PRELUDE,
      [new ivm.Callback((type, data) => log.add(type, data)), new ivm.Callback(later), new ivm.Callback(never), input === undefined ? undefined : JSON.stringify(input)],
      { result: { reference: true } },
    );
    fire = await host.get("fire", { reference: true });
    const settle = await host.get("settle", { reference: true });
    const value = await context.eval(code, { ...left(), reference: true, filename: "code" });
    const late = new Promise((_, reject) => {
      guard = setTimeout(() => reject(new Error("interrupted")), left().timeout);
    });
    const result = await Promise.race([settle.apply(undefined, [value.derefInto()], { ...left(), result: { promise: true, copy: true } }), late]);
    return succeeded(result, log.entries, begun);
  } catch (error) {
    return failed(error, log.entries, begun);
  } finally {
    clearTimeout(guard);
    for (const timer of timers.values()) clearTimeout(timer);
    if (!isolate.isDisposed) isolate.dispose();
  }
}
