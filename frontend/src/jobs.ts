// The list of jobs: newest first, in pages, with a link to each job.

import { type Job, ApiError, get } from "./api";
import { createElement, elementById } from "./dom";
import { apiKey } from "./key";
import { outcomeName, errorBox } from "./result";
import { timeAgo, timeElement } from "./time";

const PAGE = 12;

export class JobList {
  private readonly place = elementById("jobs", HTMLElement);
  private readonly state = elementById("job-state", HTMLSelectElement);
  private readonly newest = elementById("jobs-newest", HTMLButtonElement);
  private readonly older = elementById("jobs-older", HTMLButtonElement);
  private readonly table = new JobTable();
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
      this.table.show(page.jobs);
      if (page.jobs.length === 0) this.nothing();
      else if (!this.place.contains(this.table.element)) this.place.replaceChildren(this.table.element);
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
    this.table.show([]);
    this.place.replaceChildren();
  }

  private close(words: string): void {
    for (const control of [this.state, this.newest, this.older]) control.disabled = true;
    this.tell(words);
  }

  private tell(words: string): void {
    this.place.replaceChildren(createElement("p", { class: "hint" }, words));
  }

  private nothing(): void {
    const words = this.state.value ? "No job in this state." : "No job yet. “Submit as a job” makes one.";
    if (this.place.textContent !== words) this.tell(words);
  }
}

/** The table of one page of jobs. Only what has changed is written, so that the focus and a selection stay. */
class JobTable {
  private readonly body = createElement("tbody");
  private readonly rows = new Map<string, JobRow>();
  readonly element = createElement("table", {}, head(), this.body);

  show(jobs: Job[]): void {
    const listed = new Set(jobs.map((job) => job.id));
    for (const [id, row] of this.rows) {
      if (listed.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    jobs.forEach((job, index) => {
      let row = this.rows.get(job.id);
      if (!row) this.rows.set(job.id, (row = new JobRow(job)));
      row.show(job);
      const there = this.body.children[index] ?? null;
      if (there !== row.element) this.body.insertBefore(row.element, there);
    });
  }
}

class JobRow {
  private readonly badge = createElement("span");
  private readonly submitted: HTMLTimeElement;
  private readonly attempt = createElement("td");
  readonly element: HTMLTableRowElement;

  constructor({ id, createdAt }: Job) {
    this.submitted = timeElement(createdAt, "");
    const link = createElement("a", { href: `#/jobs/${encodeURIComponent(id)}` }, id);
    const cells = [link, this.badge, this.submitted].map((content) => createElement("td", {}, content));
    this.element = createElement("tr", {}, ...cells, this.attempt);
  }

  show(job: Job): void {
    const className = `badge ${job.outcome ?? job.state}`;
    if (this.badge.className !== className) this.badge.className = className;
    write(this.badge, job.outcome ? outcomeName(job.outcome) : job.state);
    write(this.submitted, timeAgo(job.createdAt));
    write(this.attempt, String(job.attempt));
  }
}

function write(element: HTMLElement, words: string): void {
  if (element.textContent !== words) element.textContent = words;
}

function head(): HTMLElement {
  const names = ["Job", "State", "Submitted", "Attempt"];
  return createElement("thead", {}, createElement("tr", {}, ...names.map((name) => createElement("th", { scope: "col" }, name))));
}
