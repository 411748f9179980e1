// Jobs, newest first, a page at a time, each with an address of its own.

import { type Job, Refused, get } from "./api";
import { make, the } from "./dom";
import { outcomeName, refused } from "./result";

const PAGE = 12;

export class JobList {
  private readonly place = the("jobs", HTMLElement);
  private readonly state = the("job-state", HTMLSelectElement);
  private readonly newest = the("jobs-newest", HTMLButtonElement);
  private readonly older = the("jobs-older", HTMLButtonElement);
  private cursor = "";
  private next: string | null = null;

  constructor() {
    const go = (cursor: string): void => {
      this.cursor = cursor;
      void this.show();
    };
    this.state.addEventListener("change", () => go(""));
    this.newest.addEventListener("click", () => go(""));
    this.older.addEventListener("click", () => go(this.next ?? ""));
  }

  async show(): Promise<void> {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.state.value) query.set("state", this.state.value);
    if (this.cursor) query.set("cursor", this.cursor);
    try {
      const page = await get<{ jobs: Job[]; nextCursor: string | null }>(`/api/jobs?${query}`);
      this.next = page.nextCursor;
      this.newest.disabled = this.cursor === "";
      this.older.disabled = this.next === null;
      this.place.replaceChildren(page.jobs.length > 0 ? table(page.jobs) : this.nothing());
    } catch (failure) {
      if (!(failure instanceof Refused)) throw failure;
      if (failure.code === "not_listed") {
        // A public demonstration: no list, and so nothing to choose from it.
        for (const control of [this.state, this.newest, this.older]) control.disabled = true;
        this.place.replaceChildren(
          make("p", { class: "hint" }, "Jobs are not listed here. Keep the address of yours: it is the only way to it."),
        );
        return;
      }
      this.place.replaceChildren(refused(failure));
    }
  }

  private nothing(): HTMLElement {
    const words = this.state.value ? "No job in this state." : "No job yet. “Submit as a job” makes one.";
    return make("p", { class: "hint" }, words);
  }
}

function table(jobs: Job[]): HTMLElement {
  const rows = jobs.map((job) =>
    make(
      "tr",
      {},
      make("td", {}, make("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, job.id)),
      make(
        "td",
        {},
        make("span", { class: `badge ${job.outcome ?? job.state}` }, job.outcome ? outcomeName(job.outcome) : job.state),
      ),
      make("td", {}, new Date(job.createdAt).toLocaleTimeString()),
      make("td", {}, String(job.attempt)),
    ),
  );
  const names = ["Job", "State", "Submitted", "Attempt"];
  const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}
