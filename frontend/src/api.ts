// The client of the API. Types and fields have the names of the API.

import { type Scope, apiKey } from "./key";

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
  hint?: string;
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
  hint?: string;
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
  state: "queued" | "running" | "waiting" | "finished" | "cancelled" | "lost";
  createdAt: string;
  startedAt: string | null;
  attempt: number;
  outcome?: string;
  queuePosition?: number;
  execution?: Execution;
}

/** The part of a budget that is used; `policy` is its name in the header RateLimit, such as `tenant-day`. */
export interface Budget {
  policy: string;
  unit: string;
  limit: number;
  used: number;
  remaining: number;
  resetsAt: string;
}

export interface Usage {
  /** The tenant of the key; null for a key that reads all tenants. */
  tenant: string | null;
  totals: { executions: Record<string, number> };
  budgets: Budget[];
}

export interface Request {
  code?: string;
  kind?: string;
  language?: string;
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

interface Options {
  signal?: AbortSignal;
  /** The scope that the request needs; a key that lacks it is not asked to do the same again. */
  scope?: Scope;
  /** True for a request that the user did not cause: the field for a key takes no focus. */
  isBackground?: boolean;
  /** Names the job that the request creates: the same name again finds that job and creates no other. */
  idempotencyKey?: string;
  /** Called with true when the request begins to wait for a key, and with false when it is repeated. */
  onWait?: (isWaiting: boolean) => void;
}

/**
 * Routes that need no key. They are sent none, so that a key that is no longer valid does not hide the service's state. Only a key
 * that sees all tenants is sent: the service shows it the load of all.
 */
const PUBLIC = /^\/api(\/(health|scripts)(\/.*)?)?$/;

/** Code of a 401 that came while the request was open: the service may have done what was asked for. */
const KEY_ENDED = "key_ended";
/** Codes of error responses that leave open whether the service did what was asked for. */
const UNKNOWN_EFFECT = ["offline", KEY_ENDED, "service_unreachable", "service_timeout", "store_unavailable", "internal"];

/** Returns true if a request that failed so may have had its effect. */
export function mayHaveHappened(failure: ApiError): boolean {
  return UNKNOWN_EFFECT.includes(failure.code) || (failure.code === "unknown" && failure.status >= 500);
}

/** Returns a name for one job, of 128 random bits. `crypto.randomUUID` is missing on pages over plain http. */
export function newIdempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends a request with the key. On 401 it waits for another key and repeats the request. It repeats a POST only if the first one
 * certainly had no effect: a script would run twice otherwise.
 */
async function send(path: string, init: RequestInit, options: Options): Promise<Response> {
  const { signal, scope, isBackground = false, onWait } = options;
  const isPublic = PUBLIC.test(path);
  for (let isRejected = false; ; ) {
    const key = isPublic && (isRejected || !apiKey.isAdmin) ? undefined : apiKey.current;
    const response = await sendOnce(path, signal ? { ...init, signal } : init, key);
    if (response.ok) return response;
    const failure = await errorOf(response);
    if (failure.code === "forbidden" && scope !== undefined) apiKey.deny(scope, key);
    if (failure.status !== 401 || (isPublic && isRejected)) throw failure;
    isRejected = true;
    if (isPublic) continue;
    if (init.method === "POST" && failure.code === KEY_ENDED) {
      apiKey.reject(key, failure.message, true);
      throw failure;
    }
    onWait?.(true);
    await apiKey.another(key, failure.message, isBackground, signal);
    onWait?.(false);
  }
}

async function sendOnce(path: string, init: RequestInit, key: string | undefined): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
  try {
    return await fetch(path, { ...init, headers });
  } catch (failure) {
    if (failure instanceof DOMException && failure.name === "AbortError") throw failure;
    throw new ApiError(0, "offline", "The service cannot be reached. Is it running, and is this machine online?", 0);
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  const problem: unknown = await response.json().catch(() => null);
  const { code, detail } = (problem ?? {}) as { code?: string; detail?: string };
  return new ApiError(response.status, code ?? "unknown", detail ?? `The service answered ${response.status}.`, retryAfter);
}

/** Returns the readiness of the service, also if that is not ready. A key that sees all tenants is told the load too. */
export async function readiness(): Promise<unknown> {
  const path = "/api/health/ready";
  const response = await sendOnce(path, {}, apiKey.isAdmin ? apiKey.current : undefined);
  return (response.status === 401 ? await sendOnce(path, {}, undefined) : response).json();
}

/** Returns the path of today's usage. One day keeps the report short for a key that reads all tenants. */
function usagePath(): string {
  const now = new Date().toISOString();
  return `/api/usage?${new URLSearchParams({ from: now, to: now })}`;
}

export function usageOfToday(): Promise<Usage> {
  return get<Usage>(usagePath(), { isBackground: true });
}

/** Tries a key. Throws if the server rejects it, or if that is not known: no response, or too many requests. */
export async function tryKey(key: string): Promise<void> {
  const response = await sendOnce(usagePath(), {}, key);
  // The ingress checks the key first; any other error is not that of the key.
  if ([401, 429, 431].includes(response.status)) throw await errorOf(response);
  await response.body?.cancel();
}

/** Opens a response whose body is read as it arrives. */
export function open(path: string, headers: Record<string, string>, options: Options): Promise<Response> {
  return send(path, { headers, cache: "no-store" }, options);
}

export async function get<T>(path: string, options: Options = {}): Promise<T> {
  return (await send(path, {}, options)).json() as Promise<T>;
}

export async function getText(path: string): Promise<string> {
  return (await send(path, {}, {})).text();
}

export async function post<T>(path: string, body: Request, options: Options): Promise<T> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (options.idempotencyKey !== undefined) headers["idempotency-key"] = options.idempotencyKey;
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  return (await send(path, init, options)).json() as Promise<T>;
}

export async function cancel(id: string): Promise<void> {
  await send(`/api/jobs/${encodeURIComponent(id)}`, { method: "DELETE" }, { scope: "jobs" });
}
