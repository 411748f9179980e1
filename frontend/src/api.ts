// What the page asks of the service, in the API's own words.

export interface Limits {
  timeoutMs: number;
  memoryBytes: number;
  outputBytes: number;
}

export interface Info {
  version: string;
  engine: string;
  isolation: string;
  store: { name: string; promise: string };
  limits: { defaults: Limits; ceilings: Limits };
}

export interface ScriptError {
  name: string;
  message: string;
  stack: string;
  fileName?: string;
  lineNumber?: number;
  columnNumber?: number;
}

export interface LogEntry {
  type: string;
  timestamp: string;
  depth?: number;
  data: unknown[];
}

export interface Execution {
  status: "success" | "error";
  result: unknown;
  error: false | ScriptError;
  log: LogEntry[];
  id: string;
  outcome: string;
  resultType: string | null;
  usage: { wallMs: number; cpuMs: number; peakMemoryBytes: number; outputBytes: number };
  limits: Limits;
  limitHit?: string;
  logDropped: number;
  logDroppedAt?: number;
}

export interface Job {
  id: string;
  state: "queued" | "running" | "finished" | "cancelled" | "lost";
  createdAt: string;
  startedAt: string | null;
  attempt: number;
  outcome?: string;
  queuePosition?: number;
  execution?: Execution;
}

export interface Request {
  code?: string;
  input?: unknown;
  limits?: Partial<Limits>;
}

/** The service said no, or did not answer. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    /** Seconds until it is worth trying again; 0 where that is not known. */
    readonly retryAfter: number,
  ) {
    super(detail);
  }
}

async function send(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (failure) {
    if (failure instanceof DOMException && failure.name === "AbortError") throw failure;
    throw new Refused(0, "offline", "The service cannot be reached. Is it running, and is this machine online?", 0);
  }
  if (response.ok) return response;
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  const problem: unknown = await response.json().catch(() => null);
  const { code, detail } = (problem ?? {}) as { code?: string; detail?: string };
  throw new Refused(
    response.status,
    code ?? "unknown",
    detail ?? `The service answered ${response.status}.`,
    retryAfter,
  );
}

export async function get<T>(path: string): Promise<T> {
  return (await send(path)).json() as Promise<T>;
}

export async function getText(path: string): Promise<string> {
  return (await send(path)).text();
}

export async function post<T>(path: string, body: Request, signal?: AbortSignal): Promise<T> {
  const response = await send(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
  return response.json() as Promise<T>;
}

export async function cancel(id: string): Promise<void> {
  await send(`/api/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Follows a job until it has ended, or until the returned function is called. */
export function follow(
  id: string,
  told: { state: (job: Job) => void; log: (entry: LogEntry) => void; end: () => void; trouble: () => void },
): () => void {
  const events = new EventSource(`/api/jobs/${encodeURIComponent(id)}/events`);
  const data = (event: Event) => JSON.parse((event as MessageEvent<string>).data) as unknown;
  events.addEventListener("state", (event) => told.state(data(event) as Job));
  events.addEventListener("log", (event) => told.log(data(event) as LogEntry));
  events.addEventListener("end", () => {
    events.close();
    told.end();
  });
  events.addEventListener("error", () => {
    // A stream that broke off is asked for again by the browser; one that was refused is not.
    if (events.readyState === EventSource.CLOSED) told.trouble();
  });
  return () => events.close();
}
