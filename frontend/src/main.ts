// The page: connects the editor, the result and the list of jobs.

import { type Execution, type Info, type Job, type Limits, ApiError, type Request, cancel, follow, get, getText, post } from "./api";
import { createElement, elementById } from "./dom";
import { Editor } from "./editor";
import { JobList } from "./jobs";
import { ThroughputPlot } from "./plot";
import { Log, executionView, errorBox } from "./result";
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
/** Delay before a job is followed again after its events broke off, seconds. */
const FOLLOW_AGAIN_S = 2;
const LIMITS = ["timeoutMs", "memoryBytes", "outputBytes"] as const;

const result = elementById("result", HTMLElement);
const runButton = elementById("run", HTMLButtonElement);
const submitButton = elementById("submit", HTMLButtonElement);
const stopButton = elementById("stop", HTMLButtonElement);
const jobs = new JobList();
const editor = new Editor(elementById("editor", HTMLElement), FIRST, () => void run());

/** Stops the current run or job. */
let stop: (() => void) | undefined;

function show(line: number, column: number): void {
  editor.show(line, column);
}

function begin(what: string, stopIt: () => void): void {
  stop = stopIt;
  runButton.disabled = submitButton.disabled = true;
  stopButton.disabled = false;
  result.replaceChildren(createElement("p", { class: "hint" }, what));
}

function end(): void {
  stop = undefined;
  runButton.disabled = submitButton.disabled = false;
  stopButton.disabled = true;
}

function showExecution(execution: Execution): void {
  result.replaceChildren(executionView(execution, show));
  const { error } = execution;
  if (error && (error.fileName ?? "code") === "code") {
    editor.mark(error.lineNumber, error.columnNumber, `${error.name}: ${error.message}`);
  } else {
    editor.mark();
  }
}

function showFailure(failure: unknown): void {
  if (failure instanceof ApiError) {
    result.replaceChildren(errorBox(failure));
  } else if (failure instanceof DOMException && failure.name === "AbortError") {
    result.replaceChildren(createElement("p", { class: "hint" }, "Stopped."));
  } else {
    throw failure;
  }
}

/** Returns the request of the form; `undefined` and a message if the input is not JSON. */
function request(): Request | undefined {
  const asked: Request = { code: editor.code };
  const input = elementById("input", HTMLTextAreaElement).value.trim();
  const wrong = elementById("input-error", HTMLElement);
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
    const field = elementById(name, HTMLInputElement);
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

/** Shows and follows a job. */
function openJob(id: string): void {
  const log = new Log();
  const state = createElement("span", { class: "badge" }, "…");
  const link = createElement("a", { href: `#/jobs/${encodeURIComponent(id)}` }, id);
  let unfollow = (): void => undefined;
  begin("", () => {
    void cancel(id).catch((failure: unknown) => {
      // A job that has ended meanwhile is shown anyway.
      if (!(failure instanceof ApiError && failure.code === "job_already_final")) showFailure(failure);
    });
  });
  const head = createElement("div", { class: "bar" }, state, link);
  result.replaceChildren(head, createElement("h3", {}, "Log"), log.element);
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
        result.replaceChildren(head, createElement("p", { class: "hint" }, "Nothing of it ran."));
      }
    } catch (failure) {
      // The service cannot be reached: the job is followed again later.
      if (failure instanceof ApiError && [0, 429, 502, 503, 504].includes(failure.status)) {
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

function followAgain(id: string, failure: ApiError, log: Log): void {
  if (current() !== id) return;
  const wait = Math.max(failure.retryAfter, FOLLOW_AGAIN_S);
  const words = `The events broke off: ${failure.message} The job is looked at again in ${wait} s.`;
  result.replaceChildren(createElement("p", { class: "refused", role: "status" }, words), log.element);
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

const throughput = new ThroughputPlot(elementById("pace", HTMLElement));

let store = "";

async function showStatus(): Promise<void> {
  const place = elementById("status", HTMLElement);
  let words: string;
  let isFine = false;
  try {
    const response = await fetch("/api/health/ready");
    const ready = (await response.json()) as Partial<Readiness>;
    if (ready.executors && ready.queue) {
      const { executors, queue } = ready;
      isFine = ready.status === "UP";
      if (ready.executions) throughput.add(ready.executions.ended, ready.executions.meanWallMs);
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
  const dialog = elementById("answer", HTMLDialogElement);
  const body = elementById("answer-body", HTMLElement);
  elementById("answer-title", HTMLElement).textContent = button.textContent ?? "";
  body.replaceChildren(createElement("p", { class: "hint" }, "Asking…"));
  dialog.showModal();
  try {
    body.replaceChildren(tree(await get(button.dataset["ask"] ?? "/api")));
  } catch (failure) {
    if (!(failure instanceof ApiError)) throw failure;
    body.replaceChildren(errorBox(failure));
  }
}

async function fillIn(): Promise<void> {
  const info = await get<Info>("/api");
  store = ` · store ${info.store.name}`;
  for (const name of LIMITS) {
    const field = elementById(name, HTMLInputElement);
    field.placeholder = String(info.limits.defaults[name]);
    field.max = String(info.limits.ceilings[name]);
    field.title = `${info.limits.defaults[name]} if nothing is said, at most ${info.limits.ceilings[name]}`;
  }
  const { scripts } = await get<{ scripts: { name: string; description: string }[] }>("/api/scripts");
  const examples = elementById("examples", HTMLSelectElement);
  examples.append(...scripts.map(({ name, description }) => createElement("option", { value: name, title: description }, name)));
  examples.addEventListener("change", () => {
    if (!examples.value) return;
    void getText(`/api/scripts/${encodeURIComponent(examples.value)}`).then((code) => (editor.code = code), showFailure);
  });
}

runButton.addEventListener("click", () => void run());
submitButton.addEventListener("click", () => void submit());
stopButton.addEventListener("click", () => stop?.());
elementById("clear", HTMLButtonElement).addEventListener("click", () => {
  editor.code = "";
  elementById("examples", HTMLSelectElement).value = "";
});
elementById("copy", HTMLButtonElement).addEventListener("click", () => {
  const asked = request();
  if (!asked) return;
  const button = elementById("copy", HTMLButtonElement);
  const text = snippet(elementById("copy-as", HTMLSelectElement).value, location.origin, asked);
  void navigator.clipboard.writeText(text).then(
    () => (button.textContent = "Copied"),
    () => result.replaceChildren(createElement("pre", { tabindex: "0" }, text)),
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
