// Times of the API, which are in UTC, as the clock of the reader shows them. The title and `datetime` have the exact time.

import { createElement } from "./dom";

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
const clock = new Intl.DateTimeFormat(undefined, { ...CLOCK, fractionalSecondDigits: 3 });
const clockWithDate = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", ...CLOCK, fractionalSecondDigits: 3 });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });

const JUST_NOW_S = 5;
const MINUTE_S = 60;
const HOUR_S = 60 * MINUTE_S;
const DAY_S = 24 * HOUR_S;

/** Returns the local time of day, with the date unless that is today's. A text that is no time is returned unchanged. */
export function timeOfDay(text: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return (time.toDateString() === new Date().toDateString() ? clock : clockWithDate).format(time);
}

/** Returns how long ago a time was, or the local date and time if that is more than a day. */
export function timeAgo(text: string, now = Date.now()): string {
  const time = new Date(text);
  const seconds = Math.floor((now - time.getTime()) / 1_000);
  if (Number.isNaN(seconds)) return text;
  if (seconds < JUST_NOW_S) return "just now";
  if (seconds < MINUTE_S) return `${seconds} s ago`;
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min ago`;
  return seconds < DAY_S ? `${Math.floor(seconds / HOUR_S)} h ago` : dateAndTime.format(time);
}

/** Returns an element with a time in these words. */
export function timeElement(text: string, words: string): HTMLTimeElement {
  return createElement("time", { datetime: text, title: text }, words);
}
