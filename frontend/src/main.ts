// The page put together.

import { type Execution, type Info, type Job, type Limits, Refused, type Request, cancel, follow, get, getText, post } from "./api";
import { make, the } from "./dom";
import { Editor } from "./editor";
import { JobList } from "./jobs";
import { Pace } from "./plot";
import { Log, executed, refused } from "./result";
import { snippet } from "./snippets";
import { tree } from "./value";

const FIRST = `// The last value is the result; await works here.
console.log("Hello from a process of its own");
const primes = [];
for (let n = 2; primes.length < 10; n += 1) {
  if (primes.every((prime) => n % prime)) primes.push(n);
}
({ primes, sum: primes.reduce((a, b) => a + b) })
`;
const STATUS_EVERY_MS = 3_000;
const LIST_EVERY_MS = 3_000;
/** When a job is asked for again whose events broke off, seconds. */
const FOLLOW_AGAIN_S = 2;
const LIMITS = ["timeoutMs", "memoryBytes", "outputBytes"] as const;

const result = the("result", HTMLElement);
const runButton = the("run", HTMLButtonElement);
const submitButton = the("submit", HTMLButtonElement);
const stopButton = the("stop", HTMLButtonElement);
const jobs = new JobList();
const editor = new Editor(the("editor", HTMLElement), FIRST, () => void run());

/** What stops that which runs now. */
let stop: (() => void) | undefined;

function show(line: number, column: number): void {
  editor.show(line, column);
}

function begin(what: string, stopIt: () => void): void {
  stop = stopIt;
  runButton.disabled = submitButton.disabled = true;
  stopButton.disabled = false;
  result.replaceChildren(make("p", { class: "hint" }, what));
}

function end(): void {
  stop = undefined;
  runButton.disabled = submitButton.disabled = false;
  stopButton.disabled = true;
}

function showExecution(execution: Execution): void {
  result.replaceChildren(executed(execution, show));
  const { error } = execution;
  if (error && (error.fileName ?? "code") === "code") {
    editor.mark(error.lineNumber, error.columnNumber, `${error.name}: ${error.message}`);
  } else {
    editor.mark();
  }
}

function showFailure(failure: unknown): void {
  if (failure instanceof Refused) {
    result.replaceChildren(refused(failure));
  } else if (failure instanceof DOMException && failure.name === "AbortError") {
    result.replaceChildren(make("p", { class: "hint" }, "Stopped."));
  } else {
    throw failure;
  }
}

/** What is to be run; `undefined` where the input is no JSON, which is said then. */
function request(): Request | undefined {
  const asked: Request = { code: editor.code };
  const input = the("input", HTMLTextAreaElement).value.trim();
  const wrong = the("input-error", HTMLElement);
  wrong.hidden = true;
  if (input) {
    try {
      asked.input = JSON.parse(input) as unknown;
    } catch (failure) {
      wrong.textContent = `The input is not JSON: ${(failure as Error).message}`;
      wrong.hidden = false;
      return undefined;
    }
  }
  const limits: Partial<Limits> = {};
  for (const name of LIMITS) {
    const field = the(name, HTMLInputElement);
    if (field.value) limits[name] = Number(field.value);
  }
  if (Object.keys(limits).length > 0) asked.limits = limits;
  return asked;
}

async function run(): Promise<void> {
  const asked = request();
  if (stop || !asked) return;
  const stopping = new AbortController();
  begin("Running…", () => stopping.abort());
  try {
    showExecution(await post<Execution>("/api/execute", asked, stopping.signal));
  } catch (failure) {
    showFailure(failure);
  } finally {
    end();
  }
}

async function submit(): Promise<void> {
  const asked = request();
  if (stop || !asked) return;
  try {
    const job = await post<Job>("/api/jobs", asked);
    location.hash = `#/jobs/${job.id}`;
  } catch (failure) {
    showFailure(failure);
  }
  void jobs.show();
}

/** Follows the job of the address. */
function openJob(id: string): void {
  const log = new Log();
  const state = make("span", { class: "badge" }, "…");
  const link = make("a", { href: `#/jobs/${encodeURIComponent(id)}` }, id);
  let unfollow = (): void => undefined;
  begin("", () => {
    void cancel(id).catch((failure: unknown) => {
      // It has ended meanwhile: that is shown anyway.
      if (!(failure instanceof Refused && failure.code === "job_already_final")) showFailure(failure);
    });
  });
  const head = make("div", { class: "bar" }, state, link);
  result.replaceChildren(head, make("h3", {}, "Log"), log.element);
  const finish = async (): Promise<void> => {
    unfollow();
    let goesOn = false;
    try {
      const job = await get<Job>(`/api/jobs/${encodeURIComponent(id)}`);
      if (current() !== id) return;
      state.textContent = job.state;
      state.className = `badge ${job.state}`;
      if (job.execution) {
        showExecution(job.execution);
        result.prepend(head);
      } else {
        result.replaceChildren(head, make("p", { class: "hint" }, "Nothing of it ran."));
      }
    } catch (failure) {
      // The service, or the way to it, is away: the job is followed again when it is back.
      if (failure instanceof Refused && [0, 429, 502, 503, 504].includes(failure.status)) {
        goesOn = true;
        followAgain(id, failure, log);
      } else {
        showFailure(failure);
      }
    } finally {
      if (current() === id && !goesOn) end();
      void jobs.show();
    }
  };
  unfollow = follow(id, {
    state: (job) => {
      state.textContent = job.state;
      state.className = `badge ${job.state}`;
    },
    log: (entry) => log.add(entry),
    end: () => void finish(),
    trouble: () => void finish(),
  });
  leave = unfollow;
}

function followAgain(id: string, failure: Refused, log: Log): void {
  if (current() !== id) return;
  const wait = Math.max(failure.retryAfter, FOLLOW_AGAIN_S);
  const words = `The events broke off: ${failure.message} The job is looked at again in ${wait} s.`;
  result.replaceChildren(make("p", { class: "refused", role: "status" }, words), log.element);
  const again = setTimeout(() => openJob(id), wait * 1_000);
  leave = () => clearTimeout(again);
}

let leave = (): void => undefined;

function current(): string | undefined {
  const found = /^#\/jobs\/([^/]+)$/.exec(location.hash);
  try {
    return found?.[1] === undefined ? undefined : decodeURIComponent(found[1]);
  } catch {
    return undefined;
  }
}

function followAddress(): void {
  leave();
  leave = () => undefined;
  end();
  const id = current();
  if (id !== undefined) openJob(id);
}

interface Readiness {
  status: string;
  isolation: string;
  executors: { total: number; ready: number; busy: number };
  queue: { interactive: number; background: number };
  executions: { ended: number; meanWallMs: number };
}

const pace = new Pace(the("pace", HTMLElement));

let store = "";

async function showStatus(): Promise<void> {
  const place = the("status", HTMLElement);
  let words: string;
  let isFine = false;
  try {
    const response = await fetch("/api/health/ready");
    const ready = (await response.json()) as Partial<Readiness>;
    if (ready.executors && ready.queue) {
      const { executors, queue } = ready;
      isFine = ready.status === "UP";
      if (ready.executions) pace.add(ready.executions.ended, ready.executions.meanWallMs);
      words = `${ready.status ?? ""} · isolation ${ready.isolation ?? ""}${store} · ${executors.busy} of ${executors.total} executors busy · ${queue.interactive + queue.background} waiting`;
    } else {
      words = "The service does not answer.";
    }
  } catch {
    words = "Offline: the service cannot be reached.";
  }
  place.className = isFine ? "" : "error";
  if (place.textContent !== words) place.textContent = words;
}

async function ask(button: HTMLButtonElement): Promise<void> {
  const dialog = the("answer", HTMLDialogElement);
  const body = the("answer-body", HTMLElement);
  the("answer-title", HTMLElement).textContent = button.textContent ?? "";
  body.replaceChildren(make("p", { class: "hint" }, "Asking…"));
  dialog.showModal();
  try {
    body.replaceChildren(tree(await get(button.dataset["ask"] ?? "/api")));
  } catch (failure) {
    if (!(failure instanceof Refused)) throw failure;
    body.replaceChildren(refused(failure));
  }
}

async function fillIn(): Promise<void> {
  const info = await get<Info>("/api");
  store = ` · store ${info.store.name}`;
  for (const name of LIMITS) {
    const field = the(name, HTMLInputElement);
    field.placeholder = String(info.limits.defaults[name]);
    field.max = String(info.limits.ceilings[name]);
    field.title = `${info.limits.defaults[name]} if nothing is said, at most ${info.limits.ceilings[name]}`;
  }
  const { scripts } = await get<{ scripts: { name: string; description: string }[] }>("/api/scripts");
  const examples = the("examples", HTMLSelectElement);
  examples.append(...scripts.map(({ name, description }) => make("option", { value: name, title: description }, name)));
  examples.addEventListener("change", () => {
    if (!examples.value) return;
    void getText(`/api/scripts/${encodeURIComponent(examples.value)}`).then((code) => (editor.code = code), showFailure);
  });
}

runButton.addEventListener("click", () => void run());
submitButton.addEventListener("click", () => void submit());
stopButton.addEventListener("click", () => stop?.());
the("clear", HTMLButtonElement).addEventListener("click", () => {
  editor.code = "";
  the("examples", HTMLSelectElement).value = "";
});
the("copy", HTMLButtonElement).addEventListener("click", () => {
  const asked = request();
  if (!asked) return;
  const button = the("copy", HTMLButtonElement);
  const text = snippet(the("copy-as", HTMLSelectElement).value, location.origin, asked);
  void navigator.clipboard.writeText(text).then(
    () => (button.textContent = "Copied"),
    () => result.replaceChildren(make("pre", { tabindex: "0" }, text)),
  );
  setTimeout(() => (button.textContent = "Copy"), 1_500);
});
for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-ask]")) {
  button.addEventListener("click", () => void ask(button));
}
window.addEventListener("hashchange", followAddress);

function whileSeen(every: number, work: () => Promise<void>): void {
  const next = (): void => {
    const done = document.hidden ? Promise.resolve() : work();
    void done.finally(() => setTimeout(next, every));
  };
  next();
}

fillIn().then(() => void showStatus(), showFailure);
whileSeen(STATUS_EVERY_MS, showStatus);
whileSeen(LIST_EVERY_MS, () => jobs.show());
followAddress();
