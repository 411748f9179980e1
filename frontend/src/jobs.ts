// The newest jobs, each with a link of its own.

import { type Job, Refused, get } from "./api";
import { make } from "./dom";
import { outcomeName, refused } from "./result";

export const LIST_EVERY_MS = 3_000;

export async function showJobs(place: HTMLElement): Promise<void> {
  try {
    const page = await get<{ jobs: Job[] }>("/api/jobs?limit=12");
    if (page.jobs.length === 0) {
      place.replaceChildren(make("p", { class: "hint" }, "No job yet. “Submit as a job” makes one."));
      return;
    }
    const rows = page.jobs.map((job) =>
      make(
        "tr",
        {},
        make("td", {}, make("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, job.id)),
        make("td", {}, make("span", { class: `badge ${job.outcome ?? job.state}` }, job.outcome ? outcomeName(job.outcome) : job.state)),
        make("td", {}, new Date(job.createdAt).toLocaleTimeString()),
        make("td", {}, String(job.attempt)),
      ),
    );
    const head = make("tr", {}, ...["Job", "State", "Submitted", "Attempt"].map((name) => make("th", { scope: "col" }, name)));
    place.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  } catch (failure) {
    if (failure instanceof Refused) place.replaceChildren(refused(failure));
    else throw failure;
  }
}
