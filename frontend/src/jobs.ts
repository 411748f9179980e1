// The list of jobs: newest first, in pages, with a link to each job.

import { type Job, ApiError, get } from "./api";
import { createElement, elementById } from "./dom";
import { apiKey } from "./key";
import { outcomeName, errorBox } from "./result";

const PAGE = 12;

export class JobList {
  private readonly place = elementById("jobs", HTMLElement);
  private readonly state = elementById("job-state", HTMLSelectElement);
  private readonly newest = elementById("jobs-newest", HTMLButtonElement);
  private readonly older = elementById("jobs-older", HTMLButtonElement);
  private cursor = "";
  private next: string | null = null;
  private loading = new AbortController();

  constructor() {
    const go = (cursor: string): void => {
      this.cursor = cursor;
      void this.show();
    };
    this.state.addEventListener("change", () => go(""));
    this.newest.addEventListener("click", () => go(""));
    this.older.addEventListener("click", () => go(this.next ?? ""));
  }

  /** Shows the list anew, and drops a request for it that is still open. */
  async show(isBackground = false): Promise<void> {
    if (apiKey.isDenied("read")) return;
    this.loading.abort();
    const { signal } = (this.loading = new AbortController());
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.state.value) query.set("state", this.state.value);
    if (this.cursor) query.set("cursor", this.cursor);
    const onWait = (): void => {
      if (this.place.childElementCount === 0) this.tell("Jobs are listed once there is a key.");
    };
    try {
      const options = { signal, scope: "read" as const, isBackground, onWait };
      const page = await get<{ jobs: Job[]; nextCursor: string | null }>(`/api/jobs?${query}`, options);
      if (signal.aborted) return;
      this.next = page.nextCursor;
      this.state.disabled = false;
      this.newest.disabled = this.cursor === "";
      this.older.disabled = this.next === null;
      this.place.replaceChildren(page.jobs.length > 0 ? table(page.jobs) : this.nothing());
    } catch (failure) {
      if (signal.aborted) return;
      if (!(failure instanceof ApiError)) throw failure;
      if (failure.code === "not_listed") {
        // A public demonstration lists no jobs, so the controls of the list are disabled.
        this.close("Jobs are not listed here. Keep the address of yours: it is the only way to it.");
      } else if (failure.code === "forbidden") {
        this.close(`Jobs are not listed: ${failure.message}.`);
      } else {
        this.place.replaceChildren(errorBox(failure));
      }
    }
  }

  /** Removes the jobs of a key that was forgotten. */
  clear(): void {
    this.loading.abort();
    this.cursor = "";
    this.place.replaceChildren();
  }

  private close(words: string): void {
    for (const control of [this.state, this.newest, this.older]) control.disabled = true;
    this.tell(words);
  }

  private tell(words: string): void {
    this.place.replaceChildren(createElement("p", { class: "hint" }, words));
  }

  private nothing(): HTMLElement {
    const words = this.state.value ? "No job in this state." : "No job yet. “Submit as a job” makes one.";
    return createElement("p", { class: "hint" }, words);
  }
}

function table(jobs: Job[]): HTMLElement {
  const rows = jobs.map((job) =>
    createElement(
      "tr",
      {},
      createElement("td", {}, createElement("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, job.id)),
      createElement(
        "td",
        {},
        createElement("span", { class: `badge ${job.outcome ?? job.state}` }, job.outcome ? outcomeName(job.outcome) : job.state),
      ),
      createElement("td", {}, new Date(job.createdAt).toLocaleTimeString()),
      createElement("td", {}, String(job.attempt)),
    ),
  );
  const names = ["Job", "State", "Submitted", "Attempt"];
  const head = createElement("tr", {}, ...names.map((name) => createElement("th", { scope: "col" }, name)));
  return createElement("table", {}, createElement("thead", {}, head), createElement("tbody", {}, ...rows));
}
