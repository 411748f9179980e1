// The view of a tenant's usage: executions, and what is used of each budget.

import type { Budget, Usage } from "./api";
import { createElement } from "./dom";
import { bytes } from "./result";

/** Scope and period of a budget; the unit follows them in its name. */
const POLICY = /^(tenant|key)-(day|month)\b/;
/** Shares of a budget from which its meter changes colour. */
const HIGH = 0.8;
const FULL = 0.999;

const count = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const UNITS: Record<string, (used: number, limit: number) => string> = {
  executions: (used, limit) => `${count.format(used)} of ${count.format(limit)} executions`,
  cpuSeconds: (used, limit) => `${count.format(used)} of ${count.format(limit)} s of processor time`,
  queuedBytes: (used, limit) => `${bytes(used)} of ${bytes(limit)} queued`,
};

function policyName(policy: string): string {
  const [, scope, period] = POLICY.exec(policy) ?? [];
  if (scope === undefined) return policy;
  return `${scope === "tenant" ? "Tenant" : "Key"}, ${period === "day" ? "today" : "this month"}`;
}

function amount({ unit, used, limit }: Budget): string {
  return (UNITS[unit] ?? ((most, bound) => `${count.format(most)} of ${count.format(bound)} ${unit}`))(used, limit);
}

function share({ used, limit }: Budget): number {
  return limit > 0 ? used / limit : 1;
}

/** Returns the fullest budget as text; without budgets, the executions of today. */
export function usageSummary({ totals, budgets }: Usage): string {
  const [first, ...others] = budgets;
  if (first) {
    const fullest = others.reduce((most, budget) => (share(budget) > share(most) ? budget : most), first);
    return `Usage · ${policyName(fullest.policy)}: ${amount(fullest)}${fullest.remaining > 0 ? "" : ", used up"}`;
  }
  const executions = Object.values(totals.executions).reduce((sum, some) => sum + some, 0);
  return `Usage · today: ${count.format(executions)} executions`;
}

function budgetView(budget: Budget): HTMLElement {
  const name = policyName(budget.policy);
  const words = amount(budget);
  const isUsedUp = budget.remaining <= 0;
  const limit = Math.max(budget.limit, Number.MIN_VALUE);
  const meter = createElement("meter", {
    min: "0",
    max: String(limit),
    low: String(limit * HIGH),
    high: String(limit * FULL),
    optimum: "0",
    value: String(Math.min(budget.used, limit)),
    "aria-label": `${name}: ${words}`,
  });
  const resets = new Date(budget.resetsAt);
  const reset = createElement("time", { datetime: budget.resetsAt }, resets.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
  return createElement(
    "li",
    { class: isUsedUp ? "budget hit" : "budget" },
    createElement("span", {}, `${name}: ${words}`),
    meter,
    createElement("span", { class: "hint" }, isUsedUp ? "Used up. Resets " : "Resets ", reset),
  );
}

/** Returns the budgets with their meters. */
export function budgetsView({ budgets }: Usage): HTMLElement {
  if (budgets.length === 0) return createElement("p", { class: "hint" }, "There is no budget.");
  return createElement("ul", { class: "budgets" }, ...budgets.map(budgetView));
}
