// What came of a script: outcome, value, error, log, and what it used of its limits.

import type { Execution, LogEntry, Refused, ScriptError } from "./api";
import { make } from "./dom";
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

/** Lines of a log that are kept on the page; older ones go. */
const LINES_MAX = 2_000;

export function outcomeName(outcome: string): string {
  return OUTCOMES[outcome] ?? outcome;
}

export function logLine(entry: LogEntry): HTMLElement {
  const words = entry.data.map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  const line = make(
    "div",
    { class: `line ${entry.type === "error" ? "error" : entry.type === "warn" ? "warn" : ""}` },
    make("time", {}, entry.timestamp.slice(11, 23)),
    make("span", {}, `${"  ".repeat(entry.depth ?? 0)}${words.join(" ")}`),
  );
  return line;
}

/** A log that grows. */
export class Log {
  readonly element = make("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Log" });
  private readonly waiting: HTMLElement[] = [];
  private drawn = true;

  add(entry: LogEntry): void {
    this.waiting.push(logLine(entry));
    if (!this.drawn) return;
    // All that comes within one frame is drawn at once.
    this.drawn = false;
    requestAnimationFrame(() => {
      this.drawn = true;
      const atEnd = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 30;
      this.element.append(...this.waiting.splice(0).slice(-LINES_MAX));
      while (this.element.childElementCount > LINES_MAX) this.element.firstElementChild?.remove();
      if (atEnd) this.element.scrollTop = this.element.scrollHeight;
    });
  }
}

function whole(execution: Execution): HTMLElement {
  const log = make("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Log" });
  const gap = make("div", { class: "line warn" }, make("span", {}, `… ${execution.logDropped} lines were too many …`));
  execution.log.forEach((entry, index) => {
    if (execution.logDropped > 0 && index === execution.logDroppedAt) log.append(gap);
    log.append(logLine(entry));
  });
  if (execution.logDropped > 0 && !gap.isConnected && !log.contains(gap)) log.append(gap);
  return log;
}

function meter(name: string, used: number, limit: number, shown: string, isHit: boolean): HTMLElement {
  const bar = make("meter", { min: "0", max: String(limit), value: String(Math.min(used, limit)), "aria-label": name });
  return make("div", { class: isHit ? "use hit" : "use" }, make("span", {}, name), bar, make("span", {}, shown));
}

function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  return count < 1024 * 1024 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

function usage({ usage, limits, limitHit }: Execution): HTMLElement {
  return make(
    "div",
    { class: "usage" },
    meter("Time", usage.wallMs, limits.timeoutMs, `${usage.wallMs.toFixed(1)} of ${limits.timeoutMs} ms`, limitHit === "timeoutMs"),
    meter("Processor", usage.cpuMs, limits.timeoutMs, `${usage.cpuMs.toFixed(1)} ms of it`, false),
    meter("Memory", usage.peakMemoryBytes, limits.memoryBytes, `${bytes(usage.peakMemoryBytes)} of ${bytes(limits.memoryBytes)}`, limitHit === "memoryBytes"),
    meter("Output", usage.outputBytes, limits.outputBytes, `${bytes(usage.outputBytes)} of ${bytes(limits.outputBytes)}`, limitHit === "outputBytes"),
  );
}

function errorOf(error: ScriptError, show: (line: number, column: number) => void): HTMLElement {
  const box = make("div", { class: "script-error" }, make("strong", {}, `${error.name}: `), error.message);
  const { lineNumber, columnNumber, fileName } = error;
  if (lineNumber !== undefined) {
    const place = `${fileName ?? "code"}, line ${lineNumber}`;
    if ((fileName ?? "code") === "code") {
      const link = make("button", { type: "button", class: "link" }, place);
      link.addEventListener("click", () => show(lineNumber, columnNumber ?? 1));
      box.append(" ", link);
    } else {
      box.append(` (${place})`);
    }
  }
  if (error.stack) box.append(make("pre", { tabindex: "0", "aria-label": "Stack" }, error.stack));
  return box;
}

export function executed(execution: Execution, show: (line: number, column: number) => void): HTMLElement {
  const badge = make("span", { class: `badge ${execution.outcome}` }, outcomeName(execution.outcome));
  const head = make("div", { class: "bar" }, badge);
  if (execution.limitHit) head.append(make("span", {}, `Limit hit: ${execution.limitHit}`));
  const box = make("div", {}, head);
  if (execution.error) {
    box.append(errorOf(execution.error, show));
  } else {
    const value = make("div", { class: "value" }, tree(execution.result));
    const toggle = make("button", { type: "button", "aria-pressed": "false" }, "As text");
    toggle.addEventListener("click", () => {
      const asText = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", String(asText));
      value.replaceChildren(asText ? make("pre", { tabindex: "0", "aria-label": "Value as text" }, text(execution.result)) : tree(execution.result));
    });
    head.append(make("span", { class: "hint" }, execution.resultType ?? ""), toggle);
    box.append(value);
  }
  if (execution.log.length > 0 || execution.logDropped > 0) box.append(make("h3", {}, "Log"), whole(execution));
  box.append(usage(execution));
  return box;
}

/** A refusal in words, with a countdown where it is known when to try again. */
export function refused(refusal: Refused): HTMLElement {
  const words: Record<number, string> = {
    429: "Too many requests",
    503: "The service takes no more work now",
    0: "Offline",
  };
  const title = words[refusal.status] ?? `Refused: ${refusal.code}`;
  const box = make("div", { class: "refused", role: "alert" }, make("strong", {}, title), make("p", {}, refusal.message));
  if (refusal.retryAfter > 0) {
    const wait = make("p", {});
    let left = refusal.retryAfter;
    const tell = (): void => {
      wait.textContent = left > 0 ? `Try again in ${left} s.` : "Try again now.";
      if (left > 0 && (wait.isConnected || left === refusal.retryAfter)) setTimeout(tell, 1_000);
      left -= 1;
    };
    tell();
    box.append(wait);
  }
  return box;
}
