// The view of an execution: outcome, value, error, log, and usage of its limits.

import type { Execution, LogEntry, ApiError, ScriptError } from "./api";
import { createElement } from "./dom";
import { timeElement, timeOfDay } from "./time";
import { text, tree } from "./value";

const OUTCOMES: Record<string, string> = {
  succeeded: "Succeeded",
  threw: "Threw an error",
  timed_out: "Ran out of time",
  memory_exceeded: "Ran out of memory",
  stack_exceeded: "Recursed too deep",
  output_exceeded: "Said too much",
  cancelled: "Stopped",
  crashed: "Crashed",
};

/** Maximum log lines on the page; older lines are removed. */
const LINES_MAX = 2_000;

/** Distance from the end of a log within which new lines scroll it, pixels. */
const AT_END_PX = 30;

/** Maximum wait that is counted down, seconds; of a longer one the end is shown. */
const COUNTDOWN_MAX_S = 600;

export function outcomeName(outcome: string): string {
  return OUTCOMES[outcome] ?? outcome;
}

export function logLine(entry: LogEntry): HTMLElement {
  const words = entry.data.map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  const line = createElement(
    "div",
    { class: `line ${entry.type === "error" ? "error" : entry.type === "warn" ? "warn" : ""}` },
    timeElement(entry.timestamp, timeOfDay(entry.timestamp)),
    createElement("span", {}, `${"  ".repeat(entry.depth ?? 0)}${words.join(" ")}`),
  );
  return line;
}

function emptyLog(): HTMLElement {
  return createElement("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Log" });
}

/** The live log of a job. */
export class Log {
  readonly element = emptyLog();
  private readonly waiting: HTMLElement[] = [];
  private drawn = true;
  /** Entries that have arrived, shown or not. */
  private count = 0;

  clear(): void {
    this.waiting.length = 0;
    this.count = 0;
    this.element.replaceChildren();
  }

  add(entry: LogEntry): void {
    this.count += 1;
    this.waiting.push(logLine(entry));
    if (!this.drawn) return;
    // Lines that arrive within one frame are drawn together.
    this.drawn = false;
    requestAnimationFrame(() => {
      this.drawn = true;
      this.draw();
    });
  }

  /** Shows the whole log of an execution that has ended. A log that is shown already stays as the reader has scrolled it. */
  finish(execution: Execution): void {
    this.draw();
    const isWhole = this.count === execution.log.length && this.count <= LINES_MAX && execution.logDropped === 0;
    if (isWhole) return;
    const { scrollTop, scrollHeight } = this.element;
    const isAtEnd = this.isAtEnd();
    const lostLines = this.count > LINES_MAX;
    this.element.replaceChildren(...logLines(execution));
    // Lines are missing above what was shown if the oldest were removed, and else only below.
    const grown = this.element.scrollHeight - scrollHeight;
    this.element.scrollTop = isAtEnd ? this.element.scrollHeight : scrollTop + (lostLines ? grown : 0);
  }

  private draw(): void {
    const isAtEnd = this.isAtEnd();
    this.element.append(...this.waiting.splice(0).slice(-LINES_MAX));
    while (this.element.childElementCount > LINES_MAX) this.element.firstElementChild?.remove();
    if (isAtEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  private isAtEnd(): boolean {
    return this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < AT_END_PX;
  }
}

function logLines({ log, logDropped, logDroppedAt }: Execution): HTMLElement[] {
  const lines = log.map(logLine);
  if (logDropped > 0) {
    const gap = createElement("div", { class: "line warn" }, createElement("span", {}, `… ${logDropped} lines were too many …`));
    lines.splice(logDroppedAt ?? lines.length, 0, gap);
  }
  return lines;
}

export function hasLog({ log, logDropped }: Execution): boolean {
  return log.length > 0 || logDropped > 0;
}

function meter(name: string, used: number, limit: number, shown: string, isHit: boolean): HTMLElement {
  const bar = createElement("meter", { min: "0", max: String(limit), value: String(Math.min(used, limit)), "aria-label": name });
  return createElement("div", { class: isHit ? "use hit" : "use" }, createElement("span", {}, name), bar, createElement("span", {}, shown));
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 ** 2) return `${(count / 1024).toFixed(1)} KiB`;
  return count < 1024 ** 3 ? `${(count / 1024 ** 2).toFixed(1)} MiB` : `${(count / 1024 ** 3).toFixed(1)} GiB`;
}

export function usageView({ usage, limits, limitHit }: Execution): HTMLElement {
  return createElement(
    "div",
    { class: "usage" },
    meter("Time", usage.wallMs, limits.timeoutMs, `${usage.wallMs.toFixed(1)} of ${limits.timeoutMs} ms`, limitHit === "timeoutMs"),
    meter("Processor", usage.cpuMs, limits.timeoutMs, `${usage.cpuMs.toFixed(1)} ms of it`, false),
    meter("Memory", usage.peakMemoryBytes, limits.memoryBytes, `${bytes(usage.peakMemoryBytes)} of ${bytes(limits.memoryBytes)}`, limitHit === "memoryBytes"),
    meter("Output", usage.outputBytes, limits.outputBytes, `${bytes(usage.outputBytes)} of ${bytes(limits.outputBytes)}`, limitHit === "outputBytes"),
  );
}

/** Moves the cursor of the editor; `undefined` if the editor does not hold the script. */
export type Show = ((line: number, column: number) => void) | undefined;

function errorOf(error: ScriptError, show: Show): HTMLElement {
  const box = createElement("div", { class: "script-error" }, createElement("strong", {}, `${error.name}: `), error.message);
  const { lineNumber, columnNumber, fileName } = error;
  if (lineNumber !== undefined) {
    const place = `${fileName ?? "code"}, line ${lineNumber}`;
    if (show && (fileName ?? "code") === "code") {
      const link = createElement("button", { type: "button", class: "link" }, place);
      link.addEventListener("click", () => show(lineNumber, columnNumber ?? 1));
      box.append(" ", link);
    } else {
      box.append(` (${place})`);
    }
  }
  if (error.hint) box.append(createElement("p", { class: "hint" }, error.hint));
  if (error.stack) box.append(createElement("pre", { tabindex: "0", "aria-label": "Stack" }, error.stack));
  return box;
}

/** Returns the outcome with the value or the error. */
export function outcomeView(execution: Execution, show: Show): HTMLElement {
  const badge = createElement("span", { class: `badge ${execution.outcome}` }, outcomeName(execution.outcome));
  const head = createElement("div", { class: "bar" }, badge);
  if (execution.limitHit) head.append(createElement("span", {}, `Limit hit: ${execution.limitHit}`));
  const box = createElement("div", {}, head);
  if (execution.error) {
    box.append(errorOf(execution.error, show));
  } else {
    const value = createElement("div", { class: "value" }, tree(execution.result));
    const toggle = createElement("button", { type: "button", "aria-pressed": "false" }, "As text");
    toggle.addEventListener("click", () => {
      const asText = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", String(asText));
      value.replaceChildren(asText ? createElement("pre", { tabindex: "0", "aria-label": "Value as text" }, text(execution.result)) : tree(execution.result));
    });
    head.append(createElement("span", { class: "hint" }, execution.resultType ?? ""), toggle);
    box.append(value);
    if (execution.hint) box.append(createElement("p", { class: "hint" }, execution.hint));
  }
  return box;
}

/** Returns the view of an execution as a whole. */
export function executionView(execution: Execution, show: Show): HTMLElement {
  const box = createElement("div", {}, outcomeView(execution, show));
  if (hasLog(execution)) {
    const log = emptyLog();
    log.append(...logLines(execution));
    box.append(createElement("h3", {}, "Log"), log);
  }
  box.append(usageView(execution));
  return box;
}

/** Returns an error response as text, with a countdown if the time of a retry is known. */
export function errorBox(error: ApiError): HTMLElement {
  const words: Record<string, string> = {
    forbidden: "This key may not do that",
    quota_exceeded: "The budget is used up",
    key_ended: "The key is no longer valid",
    429: "Too many requests",
    503: "The service takes no more work now",
    0: "Offline",
  };
  const title = words[error.code] ?? words[error.status] ?? `Refused: ${error.code}`;
  const box = createElement("div", { class: "refused", role: "alert" }, createElement("strong", {}, title), createElement("p", {}, error.message));
  if (error.retryAfter > 0) {
    const wait = createElement("p", {});
    let left = error.retryAfter;
    const tell = (): void => {
      wait.textContent = left > 0 ? `Try again in ${left} s.` : "Try again now.";
      if (left > COUNTDOWN_MAX_S) wait.textContent = `Try again after ${new Date(Date.now() + left * 1_000).toLocaleString()}.`;
      else if (left > 0 && (wait.isConnected || left === error.retryAfter)) setTimeout(tell, 1_000);
      left -= 1;
    };
    tell();
    box.append(wait);
  }
  return box;
}
