// The page with API keys, in a real browser, with a real service behind an ingress that asks for keys.

import { execFileSync } from "node:child_process";
import AxeBuilder from "@axe-core/playwright";
import { type Page, type Route, chromium, expect, test } from "@playwright/test";
import { House, Keys, idOf } from "./house";

const LOOP = "for (let n = 0; ; n += 1) { console.log('line', n); await new Promise((done) => setTimeout(done, 100)); }";

let keys: Keys;
let house: House;
let key: string;
test.beforeAll(async () => {
  keys = new Keys();
  key = keys.create();
  house = await House.open(["--keys-file", keys.file], ["--executors", "2", "--client-header", "sandpiper-client"]);
});
test.afterAll(() => {
  house.close();
  keys.close();
});

/** Creates a key, and waits until the ingress has read the keys file again. */
async function newKey(scopes?: string, ...options: string[]): Promise<string> {
  const created = keys.create(scopes, ...options);
  const headers = { authorization: `Bearer ${created}` };
  await expect.poll(async () => (await fetch(`${house.url}/api/usage`, { headers })).status).not.toBe(401);
  return created;
}

/** Opens the page, and fails on whatever the browser complains of and on any message that holds a key. */
async function open(page: Page, path = "/", url = house.url): Promise<string[]> {
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.text().includes("sp_")) complaints.push(`a key in the console: ${message.text()}`);
    // A refused request is the page's to tell; the browser says so in its own words too.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (request.url().includes("sp_")) complaints.push(`a key in ${request.url()}`);
  });
  await page.goto(url + path);
  await expect(page.locator("#status")).toContainText("isolation L");
  return complaints;
}

const field = (page: Page) => page.getByLabel("API key", { exact: true });
const owner = (page: Page) => page.locator("#owner");
const result = (page: Page) => page.locator("#result");
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

async function give(page: Page, text: string, isRemembered = false): Promise<void> {
  await field(page).fill(text);
  await page.getByLabel("Remember on this device").setChecked(isRemembered);
  await field(page).press("Enter");
}

async function write(page: Page, code: string): Promise<void> {
  await button(page, "Clear").click();
  await page.getByRole("textbox", { name: "Script" }).click();
  await page.keyboard.insertText(code);
}

/** Returns the places of the page that hold the secret of a key. */
async function placesOf(page: Page, searched: string): Promise<string[]> {
  const secret = searched.split("_")[2] ?? searched;
  const found: string[] = [];
  const places = await page.evaluate(() => {
    const shadow = document.querySelector("#editor")?.shadowRoot?.innerHTML ?? "";
    const values = [...document.querySelectorAll("input, textarea")].map((input) => (input as HTMLInputElement).value);
    return { document: document.documentElement.outerHTML + shadow, title: document.title, address: location.href, values: values.join() };
  });
  for (const [place, text] of Object.entries(places)) if (text.includes(secret)) found.push(place);
  return found;
}

/** Returns the key that each storage holds, and the number of entries beside the draft of the script. */
const kept = (page: Page) =>
  page.evaluate(() => {
    const names = [...Object.keys(sessionStorage), ...Object.keys(localStorage)];
    const others = names.filter((name) => name !== "sandpiper-draft");
    return [sessionStorage.getItem("sandpiper-key"), localStorage.getItem("sandpiper-key"), others.length];
  });

test("without a key the page asks for one, and shows what needs none", async ({ page }) => {
  const complaints = await open(page);
  await expect(field(page)).toBeVisible();
  await expect(field(page)).toHaveAttribute("type", "password");
  await expect(page.locator("#key-reason")).toHaveText("This service needs an API key to run scripts and to show jobs.");
  await expect(page.locator("#key-warning")).toBeHidden();
  await expect(page.getByLabel("Remember on this device")).not.toBeChecked();
  await expect(button(page, "Forget key")).toBeHidden();
  await expect(page.locator("#jobs")).toHaveText("Jobs are listed once there is a key.");
  await expect(page.locator("#status")).toContainText("UP");
  await page.getByLabel("Example").selectOption({ index: 1 });
  await expect(page.locator("#editor .cm-content")).not.toContainText("Hello from");
  await button(page, "Health").click();
  await expect(page.getByRole("dialog")).toContainText("UP");
  await expect(page.getByRole("dialog")).not.toContainText("uptime");
  await button(page, "Close").click();
  expect(complaints).toEqual([]);
});

test("the load of the service is shown to a key that sees all tenants, and to no other", async ({ page }) => {
  const admin = await newKey("admin,execute");
  const complaints = await open(page);
  const status = page.locator("#status");
  const isTold = async (): Promise<void> => {
    await expect(status).toContainText("of 2 executors busy");
    await expect(page.locator("#pace")).toBeVisible();
    await button(page, "Health").click();
    await expect(page.getByRole("dialog")).toContainText("uptime");
    await button(page, "Close").click();
  };
  const isNotTold = async (): Promise<void> => {
    await expect(status).toHaveText(/^UP · isolation L\d · store sqlite$/);
    await expect(page.locator("#pace")).toBeHidden();
  };
  await isNotTold();
  await give(page, key);
  await expect(owner(page)).toContainText("Tenant page");
  await page.waitForResponse((response) => response.url().endsWith("/api/health/ready"));
  await isNotTold();
  await button(page, "Forget key").click();
  await give(page, admin);
  await isTold();
  // A key that has ended leaves the readiness as it is.
  keys.revoke(admin);
  await expect(page.locator("#key-reason")).toContainText("The key was rejected");
  await isNotTold();
  expect(complaints).toEqual([]);
});

test("a run without a key waits for the key, and then runs the same script", async ({ page }) => {
  const complaints = await open(page);
  await write(page, "6 * 7");
  await page.keyboard.press("Control+Enter");
  await expect(result(page)).toContainText("Waiting for an API key");
  await expect(field(page)).toBeFocused();
  await give(page, key);
  await expect(result(page)).toContainText("Succeeded");
  await expect(result(page)).toContainText("42");
  await expect(field(page)).toBeHidden();
  await expect(owner(page)).toContainText(`key ${idOf(key)} · kept until this tab is closed`);
  expect(await placesOf(page, key)).toEqual([]);
  expect(complaints).toEqual([]);
});

test("a run that waits for a key can be stopped", async ({ page }) => {
  const complaints = await open(page);
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Waiting for an API key");
  await button(page, "Stop").click();
  await expect(result(page)).toContainText("Stopped.");
  await give(page, key);
  await expect(owner(page)).toBeVisible();
  await expect(result(page)).toContainText("Stopped.");
  await expect(button(page, "Run")).toBeEnabled();
  expect(complaints).toEqual([]);
});

test("a wrong key is rejected with the reason of the server, and the script stays", async ({ page }) => {
  const complaints = await open(page);
  await write(page, "'the script of before'");
  await button(page, "Run").click();
  const wrong = `sp_${"0".repeat(16)}_${"a".repeat(64)}`;
  await give(page, wrong);
  await expect(page.locator("#key-reason")).toHaveText("The key was rejected: this key is not known here.");
  await expect(field(page)).toBeFocused();
  expect(await kept(page)).toEqual([null, null, 0]);
  for (const malformed of ["two words", "schlüssel"]) {
    await give(page, malformed);
    await expect(page.locator("#key-reason")).toContainText("An API key is one word");
  }
  await expect(page.locator("#editor .cm-content")).toContainText("the script of before");
  await give(page, ` ${key} `);
  await expect(result(page)).toContainText("the script of before");
  expect(await placesOf(page, wrong)).toEqual([]);
  expect(complaints).toEqual([]);
});

test("a key is kept for the tab, through a reload, and not for another tab", async ({ page, context }) => {
  const complaints = await open(page);
  await give(page, key);
  await expect(owner(page)).toBeVisible();
  expect(await kept(page)).toEqual([key, null, 1]);
  await page.reload();
  await expect(owner(page)).toContainText(idOf(key));
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  const other = await context.newPage();
  await open(other);
  await expect(field(other)).toBeVisible();
  expect(complaints).toEqual([]);
});

test("a key that is remembered serves every tab, and is forgotten in every tab", async ({ page, context }) => {
  const complaints = await open(page);
  const other = await context.newPage();
  const others = await open(other);
  await expect(field(other)).toBeVisible();
  await button(other, "Run").click();
  await give(page, key, true);
  await expect(owner(page)).toContainText("remembered on this device");
  expect(await kept(page)).toEqual([null, key, 1]);
  // The other tab waited, and goes on by itself.
  await expect(result(other)).toContainText("Succeeded");
  await other.reload();
  await expect(owner(other)).toContainText("remembered on this device");
  await button(other, "Run").click();
  await expect(result(other)).toContainText("Succeeded");
  await button(page, "Forget key").click();
  await expect(field(page)).toBeFocused();
  await expect(field(other)).toBeVisible();
  await expect(result(other)).toContainText("Nothing has run yet.");
  expect(await kept(page)).toEqual([null, null, 0]);
  await page.reload();
  await expect(field(page)).toBeVisible();
  expect([...complaints, ...others]).toEqual([]);
});

test("forgetting a key takes its jobs from the page, and leaves the script", async ({ page }) => {
  const complaints = await open(page);
  await write(page, "'of one owner'");
  await give(page, key);
  await button(page, "Submit as a job").click();
  await expect(result(page)).toContainText("of one owner");
  await expect(page.locator("#jobs").getByRole("link").first()).toBeVisible();
  await button(page, "Forget key").click();
  await expect(page.locator("#jobs").getByRole("link")).toHaveCount(0);
  await expect(result(page)).not.toContainText("of one owner");
  await expect(page.locator("#editor .cm-content")).toContainText("of one owner");
  // The job of the address is shown again to a key that may read it.
  await give(page, key);
  await expect(result(page)).toContainText("finished");
  await expect(result(page)).toContainText("of one owner");
  expect(complaints).toEqual([]);
});

test("a key runs, submits, follows, stops and lists", async ({ page }) => {
  const complaints = await open(page);
  await give(page, key);
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, LOOP);
  await button(page, "Submit as a job").click();
  await expect(result(page)).toContainText("running");
  await expect(result(page).getByRole("log")).toContainText("line 5");
  await button(page, "Stop job").click();
  await expect(result(page)).toContainText("cancelled");
  await expect(page.locator("#jobs")).toContainText("Stopped");
  await button(page, "Network check").click();
  await expect(page.getByRole("dialog")).toContainText("restricted");
  await button(page, "Close").click();
  expect(await placesOf(page, key)).toEqual([]);
  expect(complaints).toEqual([]);
});

test("the network check asks for a key in front of its dialog, and opens the dialog again", async ({ page }) => {
  const complaints = await open(page);
  await button(page, "Network check").click();
  await expect(field(page)).toBeFocused();
  await expect(page.getByRole("dialog")).toBeHidden();
  await give(page, key);
  await expect(page.getByRole("dialog")).toContainText("restricted");
  expect(complaints).toEqual([]);
});

test("a key that is revoked while a job is followed is asked for again, and the log goes on", async ({ page }) => {
  const revoked = await newKey();
  const complaints = await open(page);
  await give(page, revoked);
  await page.getByLabel("Time, ms").fill("30000");
  await write(page, LOOP);
  await button(page, "Submit as a job").click();
  const log = result(page).getByRole("log");
  await expect(log).toContainText("line 5");
  keys.revoke(revoked);
  await expect(page.locator("#key-reason")).toHaveText("The key was rejected: this key is not known here.");
  expect(await kept(page)).toEqual([null, null, 0]);
  await expect(log).toContainText("line 5");
  await expect(page.locator("#editor .cm-content")).toContainText("console.log");
  await give(page, key);
  const shown = Number(/line (\d+)\D*$/.exec(await log.innerText())?.[1]);
  await expect(log).toContainText(`line ${shown + 5}`);
  // No line is lost and none comes twice.
  const lines = await log.locator(".line span").allInnerTexts();
  expect(lines).toEqual(lines.map((_, number) => `line ${number}`));
  await button(page, "Stop job").click();
  await expect(result(page)).toContainText("cancelled");
  expect(complaints).toEqual([]);
});

test("a script whose key is revoked while it runs is not run again", async ({ page }) => {
  const revoked = await newKey();
  const complaints = await open(page);
  let runs = 0;
  page.on("request", (request) => (runs += Number(request.url().endsWith("/api/execute"))));
  await give(page, revoked);
  await page.getByLabel("Time, ms").fill("30000");
  await write(page, "await new Promise((done) => setTimeout(done, 25_000)); 'once'");
  await button(page, "Run").click();
  await expect.poll(() => runs).toBe(1);
  keys.revoke(revoked);
  await expect(result(page)).toContainText("The key is no longer valid");
  await expect(result(page)).toContainText("The script may have run all the same. Run starts it again.");
  await expect(field(page)).toBeVisible();
  await give(page, key);
  await expect(owner(page)).toContainText(idOf(key));
  await page.waitForResponse((response) => response.url().includes("/api/jobs?") && response.ok());
  await expect(button(page, "Run")).toBeEnabled();
  expect(runs).toBe(1);
  // A click is the user's own decision.
  await write(page, "'again'");
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  expect(runs).toBe(2);
  expect(complaints).toEqual([]);
});

for (const [loss, lose] of [
  ["a connection that broke", (route: Route) => route.abort("connectionreset")],
  ["a key that ended", (route: Route) => route.fulfill({ status: 401, json: { code: "key_ended", detail: "this key was revoked while its request was open" } })],
  ["a proxy that gave up", (route: Route) => route.fulfill({ status: 504, body: "<h1>Gateway Timeout</h1>" })],
] as const) {
  test(`a job whose response was lost with ${loss} is found again, and no second one is made`, async ({ page }) => {
    const complaints = await open(page);
    await give(page, key);
    await write(page, "'the one job'");
    const names = new Set<string | null>();
    let accepted = 0;
    await page.route("**/api/jobs", async (route) => {
      names.add(await route.request().headerValue("idempotency-key"));
      accepted += 1;
      if (accepted > 1) return route.continue();
      await route.fetch();
      return lose(route);
    });
    await button(page, "Submit as a job").click();
    await expect(result(page)).toContainText("The job may have been accepted all the same.");
    if (loss === "a key that ended") await give(page, key);
    const replayed = page.waitForResponse((response) => response.request().method() === "POST" && response.url().endsWith("/api/jobs"));
    await button(page, "Find or submit it").click();
    expect((await replayed).headers()["idempotency-replayed"]).toBe("true");
    await expect(result(page)).toContainText("finished");
    await expect(result(page)).toContainText("the one job");
    expect(names.size).toBe(1);
    expect([...names][0]).toMatch(/^[0-9a-f]{32}$/);
    // Another click is another job.
    await button(page, "Submit as a job").click();
    await expect(result(page)).toContainText("finished");
    expect(names.size).toBe(2);
    expect(complaints).toEqual([]);
  });
}

test("a key that expires is asked for again, with the time of its end", async ({ page }) => {
  const expiring = await newKey("read", "--expires", "20s");
  const complaints = await open(page);
  await give(page, expiring);
  await expect(owner(page)).toContainText(idOf(expiring));
  await expect(page.locator("#key-reason")).toHaveText(/^The key was rejected: this key expired at 20\S+Z\.$/);
  expect(await kept(page)).toEqual([null, null, 0]);
  expect(complaints).toEqual([]);
});

test("a key that may only read lists and follows, and is told which scope the rest needs", async ({ page }) => {
  const reader = await newKey("read");
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", prefer: "wait=10" };
  await fetch(`${house.url}/api/jobs`, { method: "POST", headers, body: JSON.stringify({ code: "1 + 2" }) });
  const complaints = await open(page);
  await give(page, reader);
  await expect(page.locator("#jobs table")).toBeVisible();
  await button(page, "Run").click();
  await expect(result(page)).toContainText("This key may not do that");
  await expect(result(page)).toContainText("this key does not have the scope `execute`");
  await expect(button(page, "Run")).toBeDisabled();
  await expect(button(page, "Network check")).toBeDisabled();
  await expect(page.locator("#scope-hint")).toHaveText("This key may not run scripts: it does not have the scope “execute”.");
  await button(page, "Submit as a job").click();
  await expect(button(page, "Submit as a job")).toBeDisabled();
  await expect(page.locator("#scope-hint")).toContainText("This key may not submit or stop jobs: it does not have the scope “jobs”.");
  await page.locator("#jobs").getByRole("link").first().click();
  await expect(result(page).locator(".badge").first()).toHaveText(/finished|cancelled/);
  // Another key may do what this one may not.
  await button(page, "Forget key").click();
  await give(page, key);
  await expect(page.locator("#scope-hint")).toBeHidden();
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  expect(complaints).toEqual([]);
});

test("a key that may only run is told why no jobs are listed", async ({ page }) => {
  const runner = await newKey("execute");
  const complaints = await open(page);
  await give(page, runner);
  await expect(page.locator("#jobs")).toContainText("Jobs are not listed: this key does not have the scope `read`.");
  await expect(page.getByLabel("State")).toBeDisabled();
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  expect(complaints).toEqual([]);
});

test("a snippet takes the key from the environment, and works there", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const complaints = await open(page);
  await give(page, key);
  await expect(owner(page)).toBeVisible();
  await write(page, "`it's ${6 * 7}`");
  for (const [kind, program, ...options] of [
    ["curl", "sh", "-c"],
    ["fetch", "node", "--input-type=module", "-e"],
    ["python", "python3", "-c"],
  ] as const) {
    await page.getByLabel("Copy as").selectOption(kind);
    await page.getByRole("button", { name: /^Cop(y|ied)$/ }).click();
    await expect(button(page, "Copied")).toBeVisible();
    const text = await page.evaluate(() => navigator.clipboard.readText());
    expect(text, kind).toContain("SANDPIPER_KEY");
    expect(text, kind).not.toContain(idOf(key));
    const said = execFileSync(program, [...options, text], { encoding: "utf8", env: { ...process.env, SANDPIPER_KEY: key } });
    expect(said, kind).toContain("it's 42");
  }
  expect(complaints).toEqual([]);
});

test("a field over plain http from another machine comes with a warning", async ({ launchOptions }) => {
  const args = [...(launchOptions.args ?? []), "--host-resolver-rules=MAP *.test 127.0.0.1"];
  const browser = await chromium.launch({ ...launchOptions, args });
  try {
    const page = await browser.newPage();
    const complaints = await open(page, "/", house.url.replace("127.0.0.1", "sandpiper.test"));
    await expect(field(page)).toBeVisible();
    await expect(page.locator("#key-warning")).toContainText("a key would be sent unencrypted");
    await expect(field(page)).toHaveAccessibleDescription(/unencrypted/);
    // Such a page has no clipboard: the snippet is shown.
    await button(page, "Copy").click();
    await expect(result(page).locator("pre")).toContainText("$SANDPIPER_KEY");
    // The browser says of such an origin that it ignores one of the headers.
    expect(complaints.filter((text) => !text.startsWith("The Cross-Origin-Opener-Policy header"))).toEqual([]);
  } finally {
    await browser.close();
  }
});

const BUDGETS = [
  { policy: "tenant-day", unit: "executions", limit: 1000, used: 12, remaining: 988, resetsAt: "2026-11-30T00:00:00Z" },
  { policy: "tenant-month-cpu", unit: "cpuSeconds", limit: 60, used: 57.25, remaining: 2.75, resetsAt: "2026-12-01T00:00:00Z" },
  { policy: "key-day-bytes", unit: "queuedBytes", limit: 10 * 1024 * 1024, used: 10 * 1024 * 1024, remaining: 0, resetsAt: "2026-11-30T00:00:00Z" },
];

async function stubUsage(page: Page, budgets: unknown[], tenant: string | null = "acme"): Promise<string[]> {
  const sent: string[] = [];
  await page.route("**/api/usage?*", async (route) => {
    const authorization = (await route.request().headerValue("authorization")) ?? "";
    sent.push(authorization);
    if (authorization !== `Bearer ${key}`) return route.continue();
    const totals = { executions: { succeeded: 1200, threw: 34 } };
    return route.fulfill({ json: { tenant, from: "2026-11-29T00:00:00Z", to: "2026-11-30T00:00:00Z", by: "day", periods: [], totals, budgets } });
  });
  return sent;
}

test("the owner of a key and its budgets are shown", async ({ page }) => {
  const sent = await stubUsage(page, BUDGETS);
  const complaints = await open(page);
  expect(sent).toEqual([]);
  await give(page, key);
  await expect(owner(page)).toContainText(`Tenant acme · key ${idOf(key)}`);
  const usage = page.locator("#usage");
  await expect(usage.locator("summary")).toHaveText("Usage · Key, today: 10.0 MiB of 10.0 MiB queued, used up");
  await expect(usage.getByRole("listitem")).toHaveCount(3);
  await expect(usage).toContainText("Tenant, today: 12 of 1,000 executions");
  await expect(usage).toContainText("Tenant, this month: 57.3 of 60 s of processor time");
  await expect(usage.getByRole("listitem").last()).toContainText("Used up. Resets");
  await expect(usage.getByRole("meter", { name: "Tenant, today: 12 of 1,000 executions" })).toHaveJSProperty("value", 12);
  await expect(usage.locator("time").first()).toHaveAttribute("datetime", "2026-11-30T00:00:00Z");
  await button(page, "Forget key").click();
  await expect(usage).toBeHidden();
  expect(complaints).toEqual([]);
});

test("a tenant without a budget has its executions shown", async ({ page }) => {
  await stubUsage(page, []);
  const complaints = await open(page);
  await give(page, key);
  await expect(page.locator("#usage summary")).toHaveText("Usage · today: 1,234 executions");
  expect(complaints).toEqual([]);
});

test("a key that reads all tenants is shown as such", async ({ page }) => {
  await stubUsage(page, [], null);
  const complaints = await open(page);
  await give(page, key);
  await expect(owner(page)).toContainText(`All tenants · key ${idOf(key)}`);
  expect(complaints).toEqual([]);
});

test("a service that tells no usage leaves the rest as it is", async ({ page }) => {
  let asked = 0;
  await page.route("**/api/usage?*", (route) => {
    asked += 1;
    return route.fulfill({ status: 404, json: { code: "not_found", detail: "no such route" } });
  });
  const complaints = await open(page);
  await give(page, key);
  await button(page, "Run").click();
  await expect(result(page)).toContainText("Succeeded");
  await expect(owner(page)).toHaveText(`key ${idOf(key)} · kept until this tab is closed`);
  await expect(page.locator("#usage")).toBeHidden();
  // The key was tried, and the usage asked for once.
  expect(asked).toBe(2);
  expect(complaints).toEqual([]);
});

test("a budget that is used up is told with the time of its end", async ({ page }) => {
  const complaints = await open(page);
  await give(page, key);
  await page.route("**/api/execute", (route) =>
    route.fulfill({ status: 429, headers: { "retry-after": "40000" }, json: { code: "quota_exceeded", detail: "the budget `tenant-day` is used up" } }),
  );
  await button(page, "Run").click();
  await expect(result(page)).toContainText("The budget is used up");
  await expect(result(page)).toContainText("Try again after");
  expect(complaints).toEqual([]);
});

test("what a key uses is counted against its budget, until the budget refuses a run", async ({ page }) => {
  const limited = await newKey("execute", "--budget", "day:executions=2", "--budget", "month:executions=1000");
  const complaints = await open(page);
  await give(page, limited);
  const usage = page.locator("#usage");
  await expect(owner(page)).toHaveText(`Tenant page · key ${idOf(limited)} · kept until this tab is closed`);
  await expect(usage).toContainText("Key, today: 0 of 2 executions");
  await expect(usage).toContainText("Key, this month: 0 of 1,000 executions");
  await button(page, "Run").click();
  await expect(usage).toContainText("Key, today: 1 of 2 executions");
  await button(page, "Run").click();
  await expect(usage.locator("summary")).toHaveText("Usage · Key, today: 2 of 2 executions, used up");
  await button(page, "Run").click();
  await expect(result(page)).toContainText("The budget is used up");
  await expect(result(page)).toContainText(/Try again (after|in)/);
  expect(complaints).toEqual([]);
});

test("events go on after the last one that arrived", async ({ page }) => {
  const complaints = await open(page);
  await give(page, key);
  await expect(owner(page)).toBeVisible();
  const id = "01a20d9b-2f62-7a51-9d3e-5c1b7b0f4a11";
  const resumed: (string | null)[] = [];
  const job = { id, state: "running", createdAt: "2026-11-24T12:51:51Z", startedAt: null, attempt: 1 };
  const entry = (text: string) => JSON.stringify({ type: "log", timestamp: "2026-11-24T12:51:51.042Z", data: [text] });
  await page.route(`**/api/jobs/${id}/events`, async (route) => {
    const request = route.request();
    expect(await request.headerValue("authorization")).toBe(`Bearer ${key}`);
    expect(await request.headerValue("accept")).toBe("text/event-stream");
    resumed.push(await request.headerValue("last-event-id"));
    const log = resumed.length === 1 ? `id: 1-0\nevent: log\ndata: ${entry("first part")}\n\n` : `id: 1-1\nevent: log\ndata: ${entry("second part")}\n\n`;
    const body = `retry: 50\n\nevent: state\ndata: ${JSON.stringify(job)}\n\n${resumed.length < 3 ? log : ""}`;
    return route.fulfill({ headers: { "content-type": "text/event-stream" }, body });
  });
  await page.goto(`${house.url}/#/jobs/${id}`);
  await expect(result(page).getByRole("log")).toContainText("first part");
  await expect(result(page).getByRole("log")).toContainText("second part");
  await expect.poll(() => resumed.slice(0, 3)).toEqual([null, "1-0", "1-1"]);
  expect(complaints).toEqual([]);
});

test("a stream that is open is closed with the view of its job", async ({ page }) => {
  const complaints = await open(page);
  await give(page, key);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, LOOP);
  await button(page, "Submit as a job").click();
  await expect(result(page).getByRole("log")).toContainText("line 3");
  const closed = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/events"));
  await page.evaluate(() => (location.hash = ""));
  expect((await closed).failure()?.errorText).toContain("ERR_ABORTED");
  await expect(button(page, "Run")).toBeEnabled();
  expect(complaints).toEqual([]);
});

test("what is said of a wrong key stays when an older request is answered", async ({ page }) => {
  await open(page);
  await expect(field(page)).toBeVisible();
  const held: Route[] = [];
  await page.route(/\/api\/jobs\?/, (route) => void held.push(route));
  await page.getByLabel("State").selectOption("queued");
  await expect.poll(() => held.length).toBe(1);
  await give(page, "wrong");
  await expect(page.locator("#key-reason")).toContainText("not known here");
  const answered = page.waitForResponse(/\/api\/jobs\?/);
  await held[0]?.continue();
  await (await answered).finished();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(done)));
  await expect(page.locator("#key-reason")).toContainText("not known here");
});

for (const scheme of ["light", "dark"] as const) {
  test(`the field and the budgets keep nobody out: ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await stubUsage(page, BUDGETS);
    await open(page);
    for (const width of [1280, 320]) {
      await page.setViewportSize({ width, height: 900 });
      await expect(field(page)).toBeVisible();
      await give(page, "wrong");
      await expect(page.locator("#key-reason")).toContainText("not known here");
      await check(page, `key-${scheme}-${width}`);
      await give(page, key);
      await expect(page.locator("#usage")).toBeVisible();
      await check(page, `owner-${scheme}-${width}`);
      await button(page, "Forget key").click();
    }
  });
}

async function check(page: Page, name: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([]);
  expect(await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)).toBe(false);
  await page.screenshot({ path: `test-results/${name}.png`, fullPage: true });
}
