// The page: connects the editor, the result and the list of jobs.

import { Access } from "./access";
import { type Execution, type Info, type Job, type Limits, type LogEntry, ApiError, type Request, cancel, get, getText, post } from "./api";
import { createElement, elementById } from "./dom";
import { Editor } from "./editor";
import { follow } from "./follow";
import { JobList } from "./jobs";
import { type Scope, apiKey } from "./key";
import { Log, executionView, errorBox } from "./result";
import { snippet } from "./snippets";
import { Status } from "./status";
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
const USAGE_EVERY_MS = 15_000;
const NOTHING = "Nothing has run yet.";
/** The actions that a key without a scope may not take. */
const ACTIONS: Record<Scope, string> = {
  execute: "run scripts",
  jobs: "submit or stop jobs",
  read: "list jobs",
};
const LIMITS = ["timeoutMs", "memoryBytes", "outputBytes"] as const;

const result = elementById("result", HTMLElement);
const runButton = elementById("run", HTMLButtonElement);
const submitButton = elementById("submit", HTMLButtonElement);
const stopButton = elementById("stop", HTMLButtonElement);
const netcheckButton = elementById("netcheck", HTMLButtonElement);
const status = new Status();
const access = new Access();
const jobs = new JobList();
const editor = new Editor(elementById("editor", HTMLElement), FIRST, () => void run());

/** Stops the current run or job. */
let stop: (() => void) | undefined;
/** The scope that stopping needs: `jobs` for a job, none for a run. */
let stopScope: Scope | undefined;
/** The run or job that the result shows; aborted when another one takes its place. */
let view = new AbortController();

function openView(): AbortController {
  view.abort();
  view = new AbortController();
  return view;
}

function show(line: number, column: number): void {
  editor.show(line, column);
}

function begin(stopIt: () => void, scope?: Scope): void {
  stop = stopIt;
  stopScope = scope;
  showButtons();
}

function end(): void {
  stop = undefined;
  showButtons();
}

/** Enables what can be done now, and says which of it the key does not permit. */
function showButtons(): void {
  runButton.disabled = stop !== undefined || apiKey.isDenied("execute");
  submitButton.disabled = stop !== undefined || apiKey.isDenied("jobs");
  stopButton.disabled = stop === undefined || (stopScope !== undefined && apiKey.isDenied(stopScope));
  netcheckButton.disabled = apiKey.isDenied("execute");
  const denied = (Object.keys(ACTIONS) as Scope[]).filter((scope) => apiKey.isDenied(scope));
  const words = denied.map((scope) => `This key may not ${ACTIONS[scope]}: it does not have the scope “${scope}”.`).join(" ");
  const hint = elementById("scope-hint", HTMLElement);
  hint.hidden = words === "";
  if (hint.textContent !== words) hint.textContent = words;
}

function showHint(words: string): void {
  result.replaceChildren(createElement("p", { class: "hint" }, words));
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
    showHint("Stopped.");
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

/** Sends a request for the result, and shows what came of it unless something else is shown by then. */
async function send<T>(path: string, asked: Request, scope: Scope, doing: string, then: (response: T) => void): Promise<void> {
  if (stop || apiKey.isDenied(scope)) return;
  const mine = openView();
  const onWait = (isWaiting: boolean): void => showHint(isWaiting ? "Waiting for an API key…" : doing);
  onWait(false);
  begin(() => mine.abort());
  try {
    const response = await post<T>(path, asked, { signal: mine.signal, scope, onWait });
    if (view === mine) then(response);
  } catch (failure) {
    if (view === mine) showFailure(failure);
  } finally {
    if (view === mine) end();
    void access.refresh();
  }
}

async function run(): Promise<void> {
  const asked = request();
  if (asked) await send<Execution>("/api/execute", asked, "execute", "Running…", showExecution);
}

async function submit(): Promise<void> {
  const asked = request();
  if (!asked) return;
  await send<Job>("/api/jobs", asked, "jobs", "Submitting…", (job) => (location.hash = `#/jobs/${job.id}`));
  void jobs.show();
}

/** Shows and follows a job. */
async function openJob(id: string): Promise<void> {
  const mine = openView();
  const log = new Log();
  const state = createElement("span", { class: "badge" }, "…");
  const head = createElement("div", { class: "bar" }, state, createElement("a", { href: `#/jobs/${encodeURIComponent(id)}` }, id));
  const trouble = createElement("p", { class: "refused", role: "status" });
  let attempt: number | undefined;
  const showState = (job: Job): void => {
    state.textContent = job.state;
    state.className = `badge ${job.state}`;
  };
  begin(() => {
    void cancel(id).catch((failure: unknown) => {
      if (!(failure instanceof ApiError)) throw failure;
      // A job that has ended meanwhile is shown anyway.
      if (failure.code !== "job_already_final") head.after(errorBox(failure));
    });
  }, "jobs");
  result.replaceChildren(head, createElement("h3", {}, "Log"), log.element);
  try {
    const handlers = {
      state: (job: Job): void => {
        showState(job);
        // A further attempt logs from the beginning.
        if (attempt !== undefined && attempt !== job.attempt) log.clear();
        attempt = job.attempt;
      },
      log: (entry: LogEntry): void => log.add(entry),
      brokeOff: (failure: ApiError, seconds: number): void => {
        trouble.textContent = `The events broke off: ${failure.message} The job is looked at again in ${seconds} s.`;
        head.after(trouble);
      },
      opened: (): void => trouble.remove(),
    };
    const job = await follow(id, handlers, mine.signal);
    if (view !== mine) return;
    showState(job);
    if (job.execution) {
      showExecution(job.execution);
      result.prepend(head);
    } else {
      result.replaceChildren(head, createElement("p", { class: "hint" }, "Nothing of it ran."));
    }
  } catch (failure) {
    if (view === mine) showFailure(failure);
  } finally {
    if (view === mine) {
      end();
      void jobs.show();
      void access.refresh();
    }
  }
}

function current(): string | undefined {
  const found = /^#\/jobs\/([^/]+)$/.exec(location.hash);
  try {
    return found?.[1] === undefined ? undefined : decodeURIComponent(found[1]);
  } catch {
    return undefined;
  }
}

function followAddress(): void {
  openView();
  end();
  const id = current();
  if (id !== undefined) void openJob(id);
}

/** The request of the dialog; aborted by the next one. */
let asking = new AbortController();

async function ask(button: HTMLButtonElement): Promise<void> {
  const dialog = elementById("answer", HTMLDialogElement);
  const body = elementById("answer-body", HTMLElement);
  elementById("answer-title", HTMLElement).textContent = button.textContent ?? "";
  body.replaceChildren(createElement("p", { class: "hint" }, "Asking…"));
  dialog.returnValue = "";
  dialog.showModal();
  asking.abort();
  const { signal } = (asking = new AbortController());
  try {
    const options = button === netcheckButton ? { signal, scope: "execute" as const } : { signal };
    body.replaceChildren(tree(await get(button.dataset["ask"] ?? "/api", options)));
  } catch (failure) {
    if (signal.aborted) return;
    if (!(failure instanceof ApiError)) throw failure;
    body.replaceChildren(errorBox(failure));
  }
  // The field for a key has closed the dialog.
  if (dialog.returnValue === "key" && !dialog.open) dialog.showModal();
}

async function fillIn(): Promise<void> {
  const info = await get<Info>("/api");
  status.store = info.store.name;
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
  const text = snippet(elementById("copy-as", HTMLSelectElement).value, location.origin, asked, apiKey.isNeeded);
  // Browsers have no clipboard for a page that came over plain http from another machine.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  void (clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"))).then(
    () => (button.textContent = "Copied"),
    () => result.replaceChildren(createElement("pre", { tabindex: "0" }, text)),
  );
  setTimeout(() => (button.textContent = "Copy"), 1_500);
});
for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-ask]")) {
  button.addEventListener("click", () => void ask(button));
}
window.addEventListener("hashchange", followAddress);
apiKey.onChange((change) => {
  showButtons();
  if (change !== "forgotten") return;
  // The next user of this tab sees nothing of the key's owner; the script stays.
  showHint(NOTHING);
  followAddress();
  jobs.clear();
  void jobs.show();
});

function whileSeen(every: number, work: () => Promise<void>): void {
  const next = (): void => {
    const done = document.hidden ? Promise.resolve() : work();
    void done.finally(() => setTimeout(next, every));
  };
  next();
}

fillIn().then(() => void status.show(), showFailure);
whileSeen(STATUS_EVERY_MS, () => status.show());
whileSeen(LIST_EVERY_MS, () => jobs.show(true));
whileSeen(USAGE_EVERY_MS, () => access.refresh());
followAddress();
