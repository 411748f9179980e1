// A JSON value as a tree that opens, or as text.

import { make } from "./dom";

/** Levels that are open at first, and how many members one may have to be. */
const OPEN_DEPTH = 2;
const OPEN_MEMBERS = 20;
/** Members of one level that are shown before the rest is asked for. */
const SHOWN = 200;

function brief(value: unknown): string {
  if (Array.isArray(value)) return `[${value.length}]`;
  if (value !== null && typeof value === "object") return `{${Object.keys(value).length}}`;
  return JSON.stringify(value);
}

function kind(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

export function tree(value: unknown, name?: string, depth = 0): HTMLElement {
  const label = name === undefined ? [] : [make("span", { class: "key" }, `${name}: `)];
  if (value === null || typeof value !== "object") {
    return make("div", { class: "leaf" }, ...label, make("code", { class: kind(value) }, brief(value)));
  }
  const members = Object.entries(value);
  const details = make("details", {}, make("summary", {}, ...label, make("code", {}, brief(value))));
  let filled = false;
  const more = (from: number): void => {
    const next = members.slice(from, from + SHOWN);
    details.append(...next.map(([key, member]) => tree(member, key, depth + 1)));
    if (from + SHOWN < members.length) {
      const button = make("button", { type: "button" }, `${members.length - from - SHOWN} more`);
      button.addEventListener("click", () => {
        button.remove();
        more(from + SHOWN);
      });
      details.append(button);
    }
  };
  // What is closed is not built: a result may have a million members.
  const fill = (): void => {
    if (!filled && details.open) {
      filled = true;
      more(0);
    }
  };
  details.addEventListener("toggle", fill);
  details.open = depth < OPEN_DEPTH && members.length > 0 && members.length <= (depth === 0 ? SHOWN : OPEN_MEMBERS);
  fill();
  return details;
}

export function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
