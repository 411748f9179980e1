// The draft: the script and the form, kept through a reload. Each tab keeps its own; a new tab begins with the newest.

export interface Draft {
  code: string;
  /** The values of the other fields, by the id of the field. */
  fields: Record<string, string>;
}

const NAME = "sandpiper-draft";
/** The tab's own draft comes first. */
const PLACES = ["sessionStorage", "localStorage"] as const;
/** Time without a change after which a draft is written, milliseconds. */
const PAUSE_MS = 300;

function parse(text: string | null): Draft | undefined {
  try {
    const { code, fields } = (JSON.parse(text ?? "null") ?? {}) as Partial<Draft>;
    if (typeof code !== "string" || fields === null || typeof fields !== "object") return undefined;
    return Object.values(fields).every((value) => typeof value === "string") ? { code, fields } : undefined;
  } catch {
    return undefined;
  }
}

export function readDraft(): Draft | undefined {
  for (const place of PLACES) {
    try {
      const draft = parse(window[place].getItem(NAME));
      if (draft) return draft;
    } catch {
      // A browser may deny storage.
    }
  }
  return undefined;
}

function write(draft: Draft): void {
  const text = JSON.stringify(draft);
  for (const place of PLACES) {
    try {
      // An older draft must not come back in place of one that does not fit.
      window[place].removeItem(NAME);
      window[place].setItem(NAME, text);
    } catch {
      // The storage is denied or full; the draft lasts until the page is left.
    }
  }
}

/** Writes drafts once there was no change for a moment, and when the page is left. */
export class DraftWriter {
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly draft: () => Draft) {
    window.addEventListener("pagehide", () => this.flush());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.flush();
    });
  }

  change(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), PAUSE_MS);
  }

  private flush(): void {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    write(this.draft());
  }
}
