// A parser of server-sent events, as the HTML standard defines them (9.2.6). It reads the bytes of one response.

export interface ServerEvent {
  name: string;
  data: string;
}

/** Maximum characters of one event. The service's largest log is 8 MiB, of which JSON may escape each byte. */
const EVENT_CHARS_MAX = 64 << 20;

export class EventParser {
  /** Delay before the next connection, if the server has named one, milliseconds. */
  retryMs: number | undefined;
  private readonly decoder = new TextDecoder();
  /** The characters of a line that has not ended. */
  private unfinished = "";
  /** True after a CR: an LF that follows belongs to the same line end. */
  private isAfterReturn = false;
  private name = "";
  private data: string[] = [];
  private chars = 0;
  /** The id of the event that is being read; it counts once that event is complete. */
  private id: string;

  /** `lastEventId` is the id of the last complete event: at first, of an earlier connection. */
  constructor(public lastEventId = "") {
    this.id = lastEventId;
  }

  /** Returns the events that are complete with these bytes. An event or a character may be spread over several calls. */
  push(bytes: Uint8Array): ServerEvent[] {
    let text = this.decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    if (this.isAfterReturn && text.startsWith("\n")) text = text.slice(1);
    this.isAfterReturn = text.endsWith("\r");
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.unfinished + (lines[0] ?? "");
    this.unfinished = lines.pop() ?? "";
    const events: ServerEvent[] = [];
    for (const line of lines) {
      if (line === "") this.dispatch(events);
      else this.field(line);
    }
    this.check(this.unfinished.length);
    return events;
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.data.push(value);
      this.chars += value.length;
      this.check(0);
    } else if (field === "event") {
      this.name = value;
    } else if (field === "id") {
      if (!value.includes("\0")) this.id = value;
    } else if (field === "retry") {
      if (/^[0-9]+$/.test(value)) this.retryMs = Number(value);
    }
    // Comments begin with a colon. Other fields are ignored, as the standard says.
  }

  private dispatch(events: ServerEvent[]): void {
    this.lastEventId = this.id;
    if (this.data.length > 0) events.push({ name: this.name || "message", data: this.data.join("\n") });
    this.name = "";
    this.data = [];
    this.chars = 0;
  }

  private check(unfinished: number): void {
    if (this.chars + unfinished > EVENT_CHARS_MAX) throw new RangeError(`an event has more than ${EVENT_CHARS_MAX} characters`);
  }
}
