// The client of the API. Types and fields have the names of the API.

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

/** An error response of the API, or no response. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    /** Seconds until a retry may succeed; 0 if unknown. */
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
    throw new ApiError(0, "offline", "The service cannot be reached. Is it running, and is this machine online?", 0);
  }
  if (response.ok) return response;
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  const problem: unknown = await response.json().catch(() => null);
  const { code, detail } = (problem ?? {}) as { code?: string; detail?: string };
  throw new ApiError(
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

/** Follows the events of a job until it ends, or until the returned function is called. */
export function follow(
  id: string,
  handlers: { state: (job: Job) => void; log: (entry: LogEntry) => void; end: () => void; trouble: () => void },
): () => void {
  const events = new EventSource(`/api/jobs/${encodeURIComponent(id)}/events`);
  const data = (event: Event) => JSON.parse((event as MessageEvent<string>).data) as unknown;
  events.addEventListener("state", (event) => handlers.state(data(event) as Job));
  events.addEventListener("log", (event) => handlers.log(data(event) as LogEntry));
  events.addEventListener("end", () => {
    events.close();
    handlers.end();
  });
  events.addEventListener("error", () => {
    // The browser reconnects a stream that broke off, but not one that was rejected.
    if (events.readyState === EventSource.CLOSED) handlers.trouble();
  });
  return () => events.close();
}
