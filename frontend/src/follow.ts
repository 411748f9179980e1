// Follows a job by its server-sent events. EventSource cannot send the header of an API key, so the stream is read with fetch.

import { type Job, type LogEntry, ApiError, get, open } from "./api";
import { EventParser, type ServerEvent } from "./sse";

/** Delay before a stream that broke off is opened again, until the service names another one, milliseconds. */
const RETRY_MS = 1_000;
/** Maximum of that delay, which doubles with each failure in a row, milliseconds. */
const RETRY_MAX_MS = 30_000;
/** Maximum time without a byte; the service sends a comment every 15 seconds. */
const SILENCE_MAX_MS = 60_000;
/** Shares of the delay between which it is drawn, so that the pages of a restarted service do not return at once. */
const JITTER = [0.8, 1.2] as const;
/** Code of the error of a stream that was open. */
const BROKEN_OFF = "broken_off";
/** Statuses after which the job may still go on: no response, too many requests, no service behind the ingress. */
const TEMPORARY = [0, 429, 502, 503, 504];

export interface Handlers {
  state: (job: Job) => void;
  log: (entry: LogEntry) => void;
  /** The events were not available; the stream is opened again after `seconds`. */
  brokeOff: (failure: ApiError, seconds: number) => void;
  /** The stream is open. */
  opened: () => void;
}

/** Follows a job until it ends, and returns it. Throws if the signal is aborted, or if the job cannot be followed. */
export async function follow(id: string, handlers: Handlers, signal: AbortSignal): Promise<Job> {
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  let lastEventId = "";
  let retryMs = RETRY_MS;
  let failures = 0;
  for (let isFirst = true; ; isFirst = false) {
    const parser = new EventParser(lastEventId);
    let failure: ApiError | undefined;
    try {
      const resume: Record<string, string> = lastEventId ? { "last-event-id": lastEventId } : {};
      const response = await open(`${path}/events`, { accept: "text/event-stream", ...resume }, { signal, isBackground: !isFirst });
      handlers.opened();
      for await (const event of events(response, parser)) {
        failures = 0;
        if (event.name === "state") handlers.state(JSON.parse(event.data) as Job);
        if (event.name === "log") handlers.log(JSON.parse(event.data) as LogEntry);
        if (event.name === "end") return await get<Job>(path, { signal, isBackground: !isFirst });
      }
    } catch (caught) {
      if (signal.aborted || !(caught instanceof ApiError) || !TEMPORARY.includes(caught.status)) throw caught;
      failure = caught;
    }
    lastEventId = parser.lastEventId;
    retryMs = parser.retryMs ?? retryMs;
    const spread = JITTER[0] + (JITTER[1] - JITTER[0]) * Math.random();
    const delay = Math.max(Math.min(retryMs * 2 ** failures * spread, RETRY_MAX_MS), (failure?.retryAfter ?? 0) * 1_000);
    failures += 1;
    // A stream that ended or broke is opened again without a message, unless that fails.
    if (failure && failure.code !== BROKEN_OFF) handlers.brokeOff(failure, Math.ceil(delay / 1_000));
    await sleep(delay, signal);
  }
}

/** Reads the events of a response. The connection is closed when the caller stops reading. */
async function* events(response: Response, parser: EventParser): AsyncGenerator<ServerEvent> {
  const type = response.headers.get("content-type") ?? "";
  const reader = response.body?.getReader();
  if (!reader || !type.startsWith("text/event-stream")) {
    throw new ApiError(response.status, "no_events", `The events of the job are not a stream of events, but ${type || "nothing"}.`, 0);
  }
  try {
    for (;;) {
      const silence = setTimeout(() => void reader.cancel().catch(() => undefined), SILENCE_MAX_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      yield* parser.push(value);
    }
  } catch (failure) {
    throw new ApiError(0, BROKEN_OFF, `The connection broke off: ${String(failure)}`, 0);
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  });
}
