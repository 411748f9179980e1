// The line about the service in the head of the page, and its plots. The health check needs no key.

import { elementById } from "./dom";
import { ThroughputPlot } from "./plot";

interface Readiness {
  status: string;
  isolation: string;
  executors: { total: number; ready: number; busy: number };
  queue: { interactive: number; background: number };
  executions: { ended: number; meanWallMs: number };
}

export class Status {
  /** The name of the store, once it is known. */
  store = "";
  private readonly place = elementById("status", HTMLElement);
  private readonly throughput = new ThroughputPlot(elementById("pace", HTMLElement));

  async show(): Promise<void> {
    let words: string;
    let isFine = false;
    try {
      const response = await fetch("/api/health/ready");
      const ready = (await response.json()) as Partial<Readiness>;
      if (ready.executors && ready.queue) {
        const { executors, queue } = ready;
        isFine = ready.status === "UP";
        if (ready.executions) this.throughput.add(ready.executions.ended, ready.executions.meanWallMs);
        const store = this.store && ` · store ${this.store}`;
        words = `${ready.status ?? ""} · isolation ${ready.isolation ?? ""}${store} · ${executors.busy} of ${executors.total} executors busy · ${queue.interactive + queue.background} waiting`;
      } else {
        words = "The service does not answer.";
      }
    } catch {
      words = "Offline: the service cannot be reached.";
    }
    this.place.className = isFine ? "" : "error";
    if (this.place.textContent !== words) this.place.textContent = words;
  }
}
