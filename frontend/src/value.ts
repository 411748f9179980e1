// Renders a JSON value as an expandable tree, or as text.

import { createElement } from "./dom";

/** Levels that are open at first, and the maximum members of an open one. */
const OPEN_DEPTH = 2;
const OPEN_MEMBERS = 20;
/** Members of one level that are shown before "more". */
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
  const label = name === undefined ? [] : [createElement("span", { class: "key" }, `${name}: `)];
  if (value === null || typeof value !== "object") {
    return createElement("div", { class: "leaf" }, ...label, createElement("code", { class: kind(value) }, brief(value)));
  }
  const members = Object.entries(value);
  const details = createElement("details", {}, createElement("summary", {}, ...label, createElement("code", {}, brief(value))));
  let filled = false;
  const more = (from: number): void => {
    const next = members.slice(from, from + SHOWN);
    details.append(...next.map(([key, member]) => tree(member, key, depth + 1)));
    if (from + SHOWN < members.length) {
      const button = createElement("button", { type: "button" }, `${members.length - from - SHOWN} more`);
      button.addEventListener("click", () => {
        button.remove();
        more(from + SHOWN);
      });
      details.append(button);
    }
  };
  // Closed levels are not built, because a result may have a million members.
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
