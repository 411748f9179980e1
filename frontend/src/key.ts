// The API key of the page: where it is kept, the scopes that it lacks, and the requests that wait for another one.

export type Scope = "execute" | "jobs" | "read";
/** The event that changed the key of the page. */
export type Change = "given" | "rejected" | "forgotten" | "denied";

type Place = "sessionStorage" | "localStorage";

const NAME = "sandpiper-key";
/** Visible ASCII characters, which a header can carry; the keys of `sandpiper-ingress key new` have 84. */
const KEY = /^[\x21-\x7e]{1,512}$/;

export function isKey(text: string): boolean {
  return KEY.test(text);
}

/** Returns the id of a key, which is no secret: `sp_`, the id, `_`, the secret. */
export function idOf(key: string): string | undefined {
  return /^sp_([0-9a-f]{16})_/.exec(key)?.[1];
}

function read(place: Place): string | undefined {
  try {
    const key = window[place].getItem(NAME) ?? "";
    return isKey(key) ? key : undefined;
  } catch {
    return undefined;
  }
}

function write(place: Place, key: string | undefined): void {
  try {
    if (key === undefined) window[place].removeItem(NAME);
    else window[place].setItem(NAME, key);
  } catch {
    // A browser may deny storage; the key then lasts until the page is left.
  }
}

class ApiKey {
  /** True if the key is known to see all tenants. */
  isAdmin = false;
  private key = read("sessionStorage") ?? read("localStorage");
  private wasAsked = false;
  /** The reason for which the server has rejected the last key. */
  private reason: string | undefined;
  private readonly denied = new Set<Scope>();
  private readonly waiting = new Set<() => void>();
  private readonly listeners: ((change: Change) => void)[] = [];

  /** Shows the field for a key, with the server's reason if the server has rejected one. */
  onAsk: (reason: string | undefined, isBackground: boolean) => void = () => undefined;

  constructor() {
    // Another tab has remembered a key, or forgotten it.
    window.addEventListener("storage", (event) => {
      if ((event.key !== NAME && event.key !== null) || read("sessionStorage") !== undefined) return;
      const key = read("localStorage");
      if (key !== this.key) this.set(key);
    });
  }

  get current(): string | undefined {
    return this.key;
  }

  /** True if the server has asked for a key, or one is in use. */
  get isNeeded(): boolean {
    return this.wasAsked || this.key !== undefined;
  }

  get isRemembered(): boolean {
    return read("sessionStorage") === undefined && read("localStorage") !== undefined;
  }

  onChange(listener: (change: Change) => void): void {
    this.listeners.push(listener);
  }

  /** Uses a key from now on: in this tab until it is closed, or in each tab of this device. */
  use(key: string, isRemembered: boolean): void {
    write(isRemembered ? "localStorage" : "sessionStorage", key);
    this.set(key);
  }

  forget(): void {
    write("sessionStorage", undefined);
    write("localStorage", undefined);
    this.set(undefined);
  }

  /** Waits until the page has another key than `rejected`, with which a request was answered 401. */
  async another(rejected: string | undefined, reason: string, isBackground: boolean, signal?: AbortSignal): Promise<void> {
    if (this.reject(rejected, reason, isBackground)) await this.given(signal);
  }

  /** Asks for another key than `rejected`. Returns false if the page has one already. */
  reject(rejected: string | undefined, reason: string, isBackground: boolean): boolean {
    this.wasAsked = true;
    if (this.key !== undefined && this.key !== rejected) return false;
    if (rejected !== undefined) {
      this.reason = reason;
      this.drop(rejected);
    }
    this.onAsk(this.reason, isBackground);
    return true;
  }

  /** Records that `key` was answered 403 for a request that needs `scope`. */
  deny(scope: Scope, key: string | undefined): void {
    if (key === undefined || key !== this.key) return;
    this.denied.add(scope);
    this.tell("denied");
  }

  isDenied(scope: Scope): boolean {
    return this.denied.has(scope);
  }

  private drop(rejected: string): void {
    for (const place of ["sessionStorage", "localStorage"] as const) {
      if (read(place) === rejected) write(place, undefined);
    }
    if (this.key === undefined) return;
    this.key = undefined;
    this.isAdmin = false;
    this.denied.clear();
    this.tell("rejected");
  }

  private given(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.waiting.delete(resolve);
        reject(signal?.reason as Error);
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener("abort", abort, { once: true });
      this.waiting.add(resolve);
    });
  }

  private set(key: string | undefined): void {
    this.key = key;
    this.isAdmin = false;
    this.reason = undefined;
    this.denied.clear();
    this.tell(key === undefined ? "forgotten" : "given");
    if (key === undefined) return;
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const resolve of waiting) resolve();
  }

  private tell(change: Change): void {
    for (const listener of this.listeners) listener(change);
  }
}

export const apiKey = new ApiKey();
