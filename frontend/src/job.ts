// The view of one job, in place of the result of the script: its state, its log as it grows, and its outcome.

import { type Execution, type Job, type LogEntry, ApiError, cancel } from "./api";
import { createElement } from "./dom";
import { follow } from "./follow";
import { Log, errorBox, hasLog, outcomeView, usageView, type Show } from "./result";

interface Parent {
  /** Shows the script's result again. */
  leave: () => void;
  /** The job has ended, or cannot be followed. */
  ended: () => void;
  /** Marks the error of the execution in the editor if the editor holds the job's script, and returns the link to it. */
  mark: (id: string, execution: Execution) => Show;
}

export class JobView {
  readonly element: HTMLElement;
  private readonly state = createElement("span", { class: "badge" }, "…");
  private readonly stop = createElement("button", { type: "button", "aria-describedby": "scope-hint" }, "Stop job");
  private readonly head: HTMLElement;
  private readonly trouble = createElement("p", { class: "refused", role: "status" });
  /** Why the job could not be stopped. */
  private readonly refusal = createElement("div");
  private readonly outcome = createElement("div");
  private readonly log = new Log();
  private readonly logged = createElement("div", {}, createElement("h3", {}, "Log"), this.log.element);
  private readonly usage = createElement("div");
  private readonly following = new AbortController();
  private attempt: number | undefined;
  private hasEnded = false;
  private mayStop = true;

  constructor(
    readonly id: string,
    private readonly parent: Parent,
  ) {
    const back = createElement("button", { type: "button" }, "Back to the script");
    back.addEventListener("click", () => parent.leave());
    this.stop.addEventListener("click", () => void this.cancel());
    const link = createElement("a", { href: `#/jobs/${encodeURIComponent(id)}` }, id);
    this.head = createElement("div", { class: "bar" }, this.state, link, this.stop, back);
    this.element = createElement("div", {}, this.head, this.refusal, this.outcome, this.logged, this.usage);
    void this.follow();
  }

  /** Says whether the key may stop jobs. */
  permit(mayStop: boolean): void {
    this.mayStop = mayStop;
    this.stop.disabled = !mayStop || this.hasEnded;
  }

  /** Stops following. The job goes on. */
  close(): void {
    this.following.abort();
  }

  private async follow(): Promise<void> {
    const handlers = {
      state: (job: Job): void => {
        this.showState(job);
        // A further attempt logs from the beginning.
        if (this.attempt !== undefined && this.attempt !== job.attempt) this.log.clear();
        this.attempt = job.attempt;
      },
      log: (entry: LogEntry): void => this.log.add(entry),
      brokeOff: (failure: ApiError, seconds: number): void => {
        this.trouble.textContent = `The events broke off: ${failure.message} The job is looked at again in ${seconds} s.`;
        this.head.after(this.trouble);
      },
      opened: (): void => this.trouble.remove(),
    };
    const { signal } = this.following;
    try {
      const job = await follow(this.id, handlers, signal);
      if (!signal.aborted) this.showEnd(job);
    } catch (failure) {
      if (signal.aborted) return;
      if (!(failure instanceof ApiError)) throw failure;
      this.outcome.replaceChildren(errorBox(failure));
      this.logged.hidden = this.log.element.childElementCount === 0;
    }
    if (signal.aborted) return;
    this.hasEnded = true;
    this.permit(this.mayStop);
    this.parent.ended();
  }

  private showState(job: Job): void {
    this.state.textContent = job.state;
    this.state.className = `badge ${job.state}`;
  }

  private showEnd(job: Job): void {
    this.showState(job);
    const { execution } = job;
    if (!execution) {
      this.outcome.replaceChildren(createElement("p", { class: "hint" }, "Nothing of it ran."));
      this.logged.hidden = true;
      return;
    }
    this.outcome.replaceChildren(outcomeView(execution, this.parent.mark(this.id, execution)));
    // The log stays in its place: the reader may be in the middle of it.
    this.log.finish(execution);
    this.logged.hidden = !hasLog(execution);
    this.usage.replaceChildren(usageView(execution));
  }

  private async cancel(): Promise<void> {
    try {
      await cancel(this.id);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      // A job that has ended meanwhile is shown anyway.
      if (failure.code !== "job_already_final") this.refusal.replaceChildren(errorBox(failure));
    }
  }
}
