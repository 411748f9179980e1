// The page: connects the editor, the result and the list of jobs.

import { Access } from "./access";
import { type Execution, type Info, type Job, type Limits, ApiError, type Request, get, getText, mayHaveHappened, newIdempotencyKey, post } from "./api";
import { createElement, elementById } from "./dom";
import { DraftWriter, readDraft } from "./draft";
import { Editor } from "./editor";
import { JobView } from "./job";
import { JobList } from "./jobs";
import { type Scope, apiKey } from "./key";
import { type Show, errorBox, executionView } from "./result";
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
/** Share of the window within whose top the result counts as seen. */
const IN_SIGHT = 0.5;
const LIMITS = ["timeoutMs", "memoryBytes", "outputBytes"] as const;

/** The fields whose values belong to the draft. */
const FIELDS = ["input", ...LIMITS] as const;
/** The choices that belong to the draft. */
const CHOICES = ["kind", "language"] as const;
/** Jobs whose script the page remembers, to find the place of an error in it. */
const SCRIPTS_MAX = 100;

const result = elementById("result", HTMLElement);
const runButton = elementById("run", HTMLButtonElement);
const submitButton = elementById("submit", HTMLButtonElement);
const stopButton = elementById("stop", HTMLButtonElement);
const netcheckButton = elementById("netcheck", HTMLButtonElement);
const status = new Status();
const access = new Access();
const jobs = new JobList();
/** The draft of before a reload. */
const kept = readDraft();
const drafts = new DraftWriter(draft);
const editor = new Editor(elementById("editor", HTMLElement), kept?.code ?? FIRST, () => void run(), () => drafts.change());

const language = elementById("language", HTMLSelectElement);

/** What the script of the editor came to. It is kept while a job is shown in its place. */
const outcome = createElement("div");
/** The request of the editor that is open. */
let sending: AbortController | undefined;
/** The job that is shown. */
let job: JobView | undefined;
/** The scripts of the jobs that this page has submitted, by id, the oldest first. */
const scripts = new Map<string, string>();

function draft(): { code: string; fields: Record<string, string> } {
  return { code: editor.code, fields: Object.fromEntries([...FIELDS, ...CHOICES].map((id) => [id, field(id).value])) };
}

/** Chooses the language of the script, as the user may. */
function setLanguage(name: string): void {
  language.value = name;
  editor.setLanguage(name);
}

function field(id: string): HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement {
  if (CHOICES.some((choice) => choice === id)) return elementById(id, HTMLSelectElement);
  return id === "input" ? elementById(id, HTMLTextAreaElement) : elementById(id, HTMLInputElement);
}

/** Shows what the script came to, in place of a job. */
function showOutcome(): void {
  job?.close();
  job = undefined;
  result.replaceChildren(outcome);
}

function openJob(id: string): void {
  job?.close();
  const mark = (of: string, execution: Execution): Show => markError(execution, scripts.get(of));
  const ended = (): void => {
    void jobs.show();
    void access.refresh();
  };
  job = new JobView(id, { leave, ended, mark });
  result.replaceChildren(job.element);
  showButtons();
  reveal();
}

/** Goes back from a job to the script. */
function leave(): void {
  leaveAddress();
  runButton.focus();
}

/** Takes the job from the address. Returns true if there was one. */
function leaveAddress(): boolean {
  if (currentJob() === undefined) return false;
  history.pushState(null, "", location.pathname + location.search);
  showOutcome();
  return true;
}

/** Scrolls to the result if its beginning is out of sight, as on a phone. */
function reveal(): void {
  const section = elementById("result-section", HTMLElement);
  // On a phone there is room for it from now on, before it has come.
  section.classList.add("shown");
  const { top } = section.getBoundingClientRect();
  if (top >= 0 && top < innerHeight * IN_SIGHT) return;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  section.scrollIntoView({ behavior: isCalm ? "instant" : "smooth", block: "start" });
}

/** Enables what can be done now, and says which of it the key does not permit. */
function showButtons(): void {
  runButton.disabled = sending !== undefined || apiKey.isDenied("execute");
  submitButton.disabled = sending !== undefined || apiKey.isDenied("jobs");
  stopButton.disabled = sending === undefined;
  netcheckButton.disabled = apiKey.isDenied("execute");
  job?.permit(!apiKey.isDenied("jobs"));
  const denied = (Object.keys(ACTIONS) as Scope[]).filter((scope) => apiKey.isDenied(scope));
  const words = denied.map((scope) => `This key may not ${ACTIONS[scope]}: it does not have the scope “${scope}”.`).join(" ");
  const hint = elementById("scope-hint", HTMLElement);
  hint.hidden = words === "";
  if (hint.textContent !== words) hint.textContent = words;
}

function showHint(words: string): void {
  outcome.replaceChildren(createElement("p", { class: "hint" }, words));
}

/** Marks the error of a script if the editor holds that script. Returns the link to the place of the error. */
function markError({ error }: Execution, code: string | undefined): Show {
  if (code !== editor.code) return undefined;
  if (error && (error.fileName ?? "code") === "code") {
    editor.mark(error.lineNumber, error.columnNumber, `${error.name}: ${error.message}`);
  } else {
    editor.mark();
  }
  return (line, column) => editor.show(line, column);
}

function showExecution(execution: Execution, code: string): void {
  outcome.replaceChildren(executionView(execution, markError(execution, code)));
}

/** Shows why a request has no result. `again` is what the user may do if the request may have had its effect. */
function showFailure(failure: unknown, again?: () => HTMLElement): void {
  if (failure instanceof ApiError) {
    outcome.replaceChildren(errorBox(failure), ...(again && mayHaveHappened(failure) ? [again()] : []));
  } else if (failure instanceof DOMException && failure.name === "AbortError") {
    showHint("Stopped.");
  } else {
    throw failure;
  }
}

/** Returns the request of the form; `undefined` and a message if the input is not JSON. */
function request(): Request | undefined {
  const asked: Request = { code: editor.code };
  const kind = elementById("kind", HTMLSelectElement).value;
  if (kind !== "script") asked.kind = kind;
  if (language.value !== "javascript") asked.language = language.value;
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

interface Sending<T> {
  path: string;
  asked: Request;
  scope: Scope;
  doing: string;
  idempotencyKey?: string;
  then: (response: T) => void;
  /** What the user may do if the request may have had its effect. */
  again: () => HTMLElement;
}

/** Sends a request of the editor, and shows what came of it. */
async function send<T>({ path, asked, scope, doing, idempotencyKey, then, again }: Sending<T>): Promise<void> {
  const mine = (sending = new AbortController());
  const onWait = (isWaiting: boolean): void => showHint(isWaiting ? "Waiting for an API key…" : doing);
  onWait(false);
  showButtons();
  reveal();
  const named = idempotencyKey === undefined ? {} : { idempotencyKey };
  try {
    const response = await post<T>(path, asked, { signal: mine.signal, scope, onWait, ...named });
    if (sending === mine) then(response);
  } catch (failure) {
    if (sending === mine) showFailure(failure, again);
  } finally {
    if (sending === mine) {
      sending = undefined;
      showButtons();
    }
    void access.refresh();
  }
}

async function run(): Promise<void> {
  const asked = request();
  if (!asked || sending || apiKey.isDenied("execute")) return;
  leaveAddress();
  await send<Execution>({
    path: "/api/execute",
    asked,
    scope: "execute",
    doing: "Running…",
    then: (execution) => showExecution(execution, asked.code ?? ""),
    again: () => createElement("p", { class: "hint" }, "The script may have run all the same. Run starts it again."),
  });
}

/** Submits the script as a job. Each click has a key of its own, by which a repeated request finds the job of the first. */
async function submit(asked = request(), idempotencyKey = newIdempotencyKey()): Promise<void> {
  if (!asked || sending || apiKey.isDenied("jobs")) return;
  const wasJob = leaveAddress();
  const again = (): HTMLElement => {
    const button = createElement("button", { type: "button" }, "Find or submit it");
    button.addEventListener("click", () => void submit(asked, idempotencyKey));
    return createElement("p", { class: "bar" }, "The job may have been accepted all the same.", button);
  };
  const then = ({ id }: Job): void => {
    scripts.set(id, asked.code ?? "");
    const [oldest] = scripts.keys();
    if (scripts.size > SCRIPTS_MAX && oldest !== undefined) scripts.delete(oldest);
    showHint(NOTHING);
    // Back leads to the job that was shown before, not to the address between the two.
    if (wasJob) location.replace(`#/jobs/${id}`);
    else location.hash = `#/jobs/${id}`;
  };
  await send<Job>({ path: "/api/jobs", asked, scope: "jobs", doing: "Submitting…", idempotencyKey, then, again });
  void jobs.show();
}

function currentJob(): string | undefined {
  const found = /^#\/jobs\/([^/]+)$/.exec(location.hash);
  try {
    return found?.[1] === undefined ? undefined : decodeURIComponent(found[1]);
  } catch {
    return undefined;
  }
}

function followAddress(): void {
  const id = currentJob();
  if (id === undefined) showOutcome();
  else openJob(id);
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
    elementById("kind", HTMLSelectElement).value = "script";
    setLanguage("javascript");
    void getText(`/api/scripts/${encodeURIComponent(examples.value)}`).then((code) => (editor.code = code), showFailure);
  });
}

runButton.addEventListener("click", () => void run());
submitButton.addEventListener("click", () => void submit());
for (const id of [...FIELDS, ...CHOICES]) field(id).addEventListener("input", () => drafts.change());
language.addEventListener("change", () => editor.setLanguage(language.value));
stopButton.addEventListener("click", () => sending?.abort());
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
    () => {
      leaveAddress();
      outcome.replaceChildren(createElement("pre", { tabindex: "0", "aria-label": "Snippet" }, text));
      reveal();
    },
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
  sending?.abort();
  sending = undefined;
  showHint(NOTHING);
  showButtons();
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

for (const id of FIELDS) field(id).value = kept?.fields[id] ?? "";
for (const id of CHOICES) field(id).value = kept?.fields[id] ?? field(id).value;
editor.setLanguage(language.value);
fillIn().then(() => void status.show(), showFailure);
whileSeen(STATUS_EVERY_MS, () => status.show());
whileSeen(LIST_EVERY_MS, () => jobs.show(true));
whileSeen(USAGE_EVERY_MS, () => access.refresh());
showHint(NOTHING);
followAddress();
