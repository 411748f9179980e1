// The line about the service in the head of the page, and its plots. The health check needs no key.

import { ApiError, readiness } from "./api";
import { elementById } from "./dom";
import { ThroughputPlot } from "./plot";

/** Where keys are needed, only a key that sees all tenants is told the load. */
interface Readiness {
  status: string;
  isolation: string;
  executors?: { total: number; ready: number; busy: number };
  queue?: { interactive: number; background: number };
  executions?: { ended: number; meanWallMs: number };
}

export class Status {
  /** The name of the store, once it is known. */
  store = "";
  private readonly place = elementById("status", HTMLElement);
  private readonly pace = elementById("pace", HTMLElement);
  private readonly throughput = new ThroughputPlot(this.pace);

  async show(): Promise<void> {
    let words = "The service does not answer.";
    let isFine = false;
    try {
      const ready = (await readiness()) as Partial<Readiness>;
      if (ready.status !== undefined && ready.isolation !== undefined) {
        const { executors, queue, executions } = ready;
        isFine = ready.status === "UP";
        this.pace.hidden = !executions;
        if (executions) this.throughput.add(executions.ended, executions.meanWallMs);
        const parts = [ready.status, `isolation ${ready.isolation}`, this.store && `store ${this.store}`];
        if (executors) parts.push(`${executors.busy} of ${executors.total} executors busy`);
        if (queue) parts.push(`${queue.interactive + queue.background} waiting`);
        words = parts.filter((part) => part !== "").join(" · ");
      }
    } catch (failure) {
      words = failure instanceof ApiError ? "Offline: the service cannot be reached." : words;
    }
    this.place.className = isFine ? "" : "error";
    if (this.place.textContent !== words) this.place.textContent = words;
  }
}
