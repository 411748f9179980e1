// QuickJS in WebAssembly: a runtime and a context that are new for every script. For Node and for Deno's workers.
//
// Has: bounds on time (interrupt, and a deadline for promises and timers), heap, stack and output; console; setTimeout and
// clearTimeout; a promise as the script's value is awaited. Has not: top-level await, TextEncoder and the like, a process
// of its own: an endless native loop stops its worker, and whoever breaks out of the engine is in WebAssembly's memory,
// which all scripts of this worker share.
import { getQuickJS } from "quickjs-emscripten";
import { LIMITS, Log, failed, succeeded } from "./answer.mjs";

const quickjs = await getQuickJS();
const CONSOLE = ["log", "info", "warn", "error", "debug"];

export async function run(code, input) {
  const begun = performance.now();
  const deadline = Date.now() + LIMITS.timeoutMs;
  const log = new Log();
  const runtime = quickjs.newRuntime();
  runtime.setMemoryLimit(LIMITS.memoryBytes);
  runtime.setMaxStackSize(LIMITS.stackBytes);
  runtime.setInterruptHandler(() => Date.now() > deadline);
  const context = runtime.newContext();
  const timers = new Timers(context, runtime);
  const stringify = context.getProp(context.global, "JSON").consume((json) => context.getProp(json, "stringify"));
  try {
    furnish(context, log, timers, stringify, input);
    const value = context.unwrapResult(context.evalCode(code, "code"));
    const settled = context.resolvePromise(value);
    value.dispose();
    runtime.executePendingJobs();
    const result = context.unwrapResult(await before(deadline, settled));
    const text = result.consume((handle) => textOf(context, stringify, handle));
    return succeeded(text ?? "null", log.entries, begun);
  } catch (error) {
    return failed(error, log.entries, begun);
  } finally {
    timers.clear();
    stringify.dispose();
    context.dispose();
    runtime.dispose();
  }
}

function furnish(context, log, timers, stringify, input) {
  const console = context.newObject();
  for (const type of CONSOLE) {
    context
      .newFunction(type, (...values) => log.add(type, `[${values.map((value) => textOf(context, stringify, value) ?? "null").join(",")}]`))
      .consume((method) => context.setProp(console, type, method));
  }
  console.consume((object) => context.setProp(context.global, "console", object));
  context
    .newFunction("setTimeout", (callback, ms, ...rest) => timers.set(callback, ms, rest))
    .consume((method) => context.setProp(context.global, "setTimeout", method));
  context
    .newFunction("clearTimeout", (id) => timers.unset(context.getNumber(id)))
    .consume((method) => context.setProp(context.global, "clearTimeout", method));
  if (input === undefined) return;
  const json = context.getProp(context.global, "JSON");
  const parse = context.getProp(json, "parse");
  const text = context.newString(JSON.stringify(input));
  context.unwrapResult(context.callFunction(parse, context.undefined, text)).consume((value) => context.setProp(context.global, "input", value));
  for (const handle of [json, parse, text]) handle.dispose();
}

function textOf(context, stringify, handle) {
  const text = context.unwrapResult(context.callFunction(stringify, context.undefined, handle));
  return text.consume((string) => (context.typeof(string) === "string" ? context.getString(string) : undefined));
}

// The time that is left bounds what waits for a timer too.
async function before(deadline, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("interrupted")), Math.max(0, deadline - Date.now()));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

class Timers {
  #waiting = new Map();
  constructor(context, runtime) {
    this.context = context;
    this.runtime = runtime;
  }
  set(callback, ms, rest) {
    const kept = [callback, ...rest].map((handle) => handle.dup());
    const timer = setTimeout(() => {
      this.#waiting.delete(Number(timer));
      const [run, ...values] = kept;
      this.context.callFunction(run, this.context.undefined, ...values).dispose();
      for (const handle of kept) handle.dispose();
      this.runtime.executePendingJobs();
    }, ms ? this.context.getNumber(ms) : 0);
    this.#waiting.set(Number(timer), { timer, kept });
    return this.context.newNumber(Number(timer));
  }
  unset(id) {
    const found = this.#waiting.get(id);
    if (!found) return;
    clearTimeout(found.timer);
    for (const handle of found.kept) handle.dispose();
    this.#waiting.delete(id);
  }
  clear() {
    for (const id of [...this.#waiting.keys()]) this.unset(id);
  }
}
