// The section "Access": the field for an API key, and the owner of the key in use.

import { ApiError, tryKey, usageOfToday } from "./api";
import { elementById } from "./dom";
import { apiKey, idOf, isKey } from "./key";
import { budgetsView, usageSummary } from "./usage";

const NEEDED = "This service needs an API key to run scripts and to show jobs.";
const MALFORMED = "An API key is one word, which begins with sp_. It has no spaces and at most 512 characters.";
/** Maximum budgets that are shown without a click. */
const OPEN_MAX = 4;

export class Access {
  private readonly place = elementById("access", HTMLElement);
  private readonly form = elementById("key-form", HTMLFormElement);
  private readonly reason = elementById("key-reason", HTMLElement);
  private readonly field = elementById("key-field", HTMLInputElement);
  private readonly remember = elementById("key-remember", HTMLInputElement);
  private readonly button = elementById("key-use", HTMLButtonElement);
  private readonly account = elementById("account", HTMLElement);
  private readonly owner = elementById("owner", HTMLElement);
  private readonly usage = elementById("usage", HTMLDetailsElement);
  private tenant = "";
  /** The key for which a request for the usage is open. */
  private asked: string | undefined;
  /** True if the service does not tell this key its usage. */
  private hasNoUsage = false;

  constructor() {
    if (!window.isSecureContext) {
      elementById("key-warning", HTMLElement).hidden = false;
      this.field.setAttribute("aria-describedby", "key-reason key-warning");
    }
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.give();
    });
    elementById("forget", HTMLButtonElement).addEventListener("click", () => apiKey.forget());
    apiKey.onAsk = (reason, isBackground) => this.ask(reason, isBackground);
    apiKey.onChange((change) => {
      if (change !== "denied") this.change();
    });
    this.change();
  }

  /** Shows the usage of the key's tenant, where the service tells it. */
  async refresh(): Promise<void> {
    const key = apiKey.current;
    if (key === undefined || this.hasNoUsage || this.asked === key) return;
    this.asked = key;
    try {
      const usage = await usageOfToday();
      if (apiKey.current !== key) return;
      apiKey.isAdmin = usage.tenant === null;
      this.tenant = usage.tenant === null ? "All tenants" : `Tenant ${usage.tenant}`;
      this.showOwner(key);
      if (this.usage.hidden) this.usage.open = usage.budgets.length <= OPEN_MAX;
      this.usage.hidden = false;
      elementById("usage-summary", HTMLElement).textContent = usageSummary(usage);
      elementById("budgets", HTMLElement).replaceChildren(budgetsView(usage));
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      // The service has no such route, the key may not read it, or the report is too long; other failures are temporary.
      if (apiKey.current === key) this.hasNoUsage = [400, 403, 404].includes(failure.status);
    } finally {
      if (this.asked === key) this.asked = undefined;
    }
  }

  private ask(reason: string | undefined, isBackground: boolean): void {
    // A request that was sent before the user tried a key may be answered afterwards: what is said of that key stays.
    const isSaid = !this.form.hidden && reason === undefined;
    this.form.hidden = this.place.hidden = false;
    if (!isSaid) this.tell(reason === undefined ? NEEDED : `The key was rejected: ${reason}.`, reason !== undefined);
    if (isBackground) return;
    // A modal dialog would keep the field from being reached; its request is repeated once there is a key.
    const dialog = elementById("answer", HTMLDialogElement);
    if (dialog.open) dialog.close("key");
    this.field.focus();
  }

  private async give(): Promise<void> {
    const key = this.field.value.trim();
    if (!isKey(key)) {
      this.tell(MALFORMED, true);
      return;
    }
    this.button.disabled = true;
    try {
      await tryKey(key);
      this.field.value = "";
      apiKey.use(key, this.remember.checked);
      this.owner.focus();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      const isRejected = failure.status === 401;
      if (isRejected) this.field.value = "";
      this.tell(isRejected ? `The key was rejected: ${failure.message}.` : `The key could not be tried: ${failure.message}`, true);
      this.field.focus();
    } finally {
      this.button.disabled = false;
    }
  }

  private tell(words: string, isError: boolean): void {
    this.reason.className = isError ? "error" : "";
    if (this.reason.textContent !== words) this.reason.textContent = words;
  }

  /** Shows the key in use, or nothing until a key is asked for. */
  private change(): void {
    const key = apiKey.current;
    this.tenant = "";
    this.hasNoUsage = false;
    this.usage.hidden = true;
    this.form.hidden = true;
    this.remember.checked = false;
    this.place.hidden = this.account.hidden = key === undefined;
    if (key === undefined) return;
    this.showOwner(key);
    void this.refresh();
  }

  private showOwner(key: string): void {
    const parts = [
      this.tenant,
      `key ${idOf(key) ?? "of an unknown form"}`,
      apiKey.isRemembered ? "remembered on this device" : "kept until this tab is closed",
    ];
    const words = parts.filter((part) => part !== "").join(" · ");
    if (this.owner.textContent !== words) this.owner.textContent = words;
  }
}
