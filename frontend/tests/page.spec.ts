// The page in a real browser, with a real service behind a real ingress.

import { execFileSync } from "node:child_process";
import AxeBuilder from "@axe-core/playwright";
import { type Page, expect, test } from "@playwright/test";
import { House } from "./house";

const EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

let house: House;
test.beforeAll(async () => {
  house = await House.open();
});
test.afterAll(() => house.close());

/** Opens the page, and fails on whatever the browser complains of. */
async function open(page: Page, path = "/"): Promise<string[]> {
  const complaints: string[] = [];
  page.on("console", (message) => {
    // A refused request is the page's to tell; the browser says so in its own words too.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(house.url) && !request.url().startsWith("data:")) complaints.push(request.url());
  });
  await page.goto(house.url + path);
  await expect(page.locator("#status")).toContainText("isolation L");
  return complaints;
}

async function write(page: Page, code: string): Promise<void> {
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("textbox", { name: "Script" }).click();
  // As a paste would: brackets are not closed by themselves.
  await page.keyboard.insertText(code);
}

async function run(page: Page, code: string): Promise<void> {
  await write(page, code);
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.getByRole("button", { name: "Run", exact: true })).toBeEnabled();
}

test("the first thing there is can be run with the keyboard, and says what it came to", async ({ page }) => {
  const complaints = await open(page);
  await page.getByRole("textbox", { name: "Script" }).click();
  await page.keyboard.press("Control+Enter");
  const result = page.locator("#result");
  await expect(result).toContainText("Succeeded");
  await expect(result).toContainText("Hello from a process of its own");
  await expect(result).toContainText("sum: 129");
  await expect(result).toContainText("of 2000 ms");
  await result.getByRole("button", { name: "As text" }).click();
  await expect(result.locator("pre")).toContainText('"sum": 129');
  expect(complaints).toEqual([]);
});

test("an error is marked at its line, and a click goes there", async ({ page }) => {
  const complaints = await open(page);
  await run(page, "let x = 1;\nnull.y");
  const result = page.locator("#result");
  await expect(result).toContainText("TypeError: cannot read property 'y' of null");
  await expect(page.locator("#editor .cm-lintRange-error, #editor .cm-lintPoint-error")).toHaveCount(1);
  await page.locator("#editor .cm-lintRange-error, #editor .cm-lintPoint-error").hover();
  await expect(page.locator("#editor .cm-tooltip")).toContainText("cannot read property");
  await result.getByRole("button", { name: "code, line 2" }).click();
  await expect(page.getByRole("textbox", { name: "Script" })).toBeFocused();
  expect(complaints).toEqual([]);
});

test("a function and a module run, and a script that should be one gets a hint", async ({ page }) => {
  const complaints = await open(page);
  await run(page, "return 6 * 7");
  await expect(page.locator("#result")).toContainText('"kind": "function"');
  await page.getByLabel("Kind").selectOption("function");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.locator("#result")).toContainText("42");
  await page.getByLabel("Kind").selectOption("module");
  await run(page, "export default () => 'of a module'");
  await expect(page.locator("#result")).toContainText("of a module");
  await page.getByLabel("Example").selectOption({ index: 1 });
  await expect(page.getByLabel("Kind")).toHaveValue("script");
  expect(complaints).toEqual([]);
});

test("TypeScript runs once it is chosen, is kept through a reload, and its errors have their places", async ({ page }) => {
  const complaints = await open(page);
  const code = "interface Row { id: number }\nconst row: Row = { id: 42 };\nrow.id as number";
  await run(page, code);
  await expect(page.locator("#result")).toContainText('"language": "typescript"');
  await page.getByLabel("Language").selectOption("typescript");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.locator("#result")).toContainText("42");
  await expect(page.locator("#editor .cm-content")).toContainText("interface Row");
  await page.reload();
  await expect(page.getByLabel("Language")).toHaveValue("typescript");
  await run(page, "type A = string;\nenum B { C }");
  await expect(page.locator("#result")).toContainText("`enum` cannot be erased");
  await page.locator("#result").getByRole("button", { name: "code, line 2" }).click();
  await page.getByLabel("Example").selectOption({ index: 1 });
  await expect(page.getByLabel("Language")).toHaveValue("javascript");
  expect(complaints).toEqual([]);
});

test("input is checked as JSON, and limits are sent and shown when they are hit", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Input, as JSON").fill("{ a: 1 }");
  await run(page, "input.a * 2");
  await expect(page.locator("#input-error")).toContainText("The input is not JSON");
  await page.getByLabel("Input, as JSON").fill('{ "a": 21 }');
  await run(page, "input.a * 2");
  await expect(page.locator("#result")).toContainText("42");
  await page.getByLabel("Time, ms").fill("50");
  await run(page, "for (;;);");
  await expect(page.locator("#result")).toContainText("Ran out of time");
  await expect(page.locator("#result")).toContainText("Limit hit: timeoutMs");
  await page.getByLabel("Time, ms").fill("60000");
  await run(page, "1");
  await expect(page.locator("#result")).toContainText("above this service's ceiling of 30000");
  expect(complaints).toEqual([]);
});

test("what runs is stopped, and being offline is told", async ({ page, context }) => {
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, "for (;;);");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.locator("#status")).toContainText("1 of 2 executors busy");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.locator("#result")).toContainText("Stopped.");
  // The service hears of it too.
  await expect(page.locator("#status")).toContainText("0 of 2 executors busy");
  await context.setOffline(true);
  await run(page, "1");
  await expect(page.locator("#result")).toContainText("Offline");
  await expect(page.locator("#status")).toContainText("Offline");
  await context.setOffline(false);
  await run(page, "1");
  await expect(page.locator("#result")).toContainText("Succeeded");
  expect(complaints).toEqual([]);
});

test("a job is followed while it runs, has an address of its own, and can be stopped", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, "for (let n = 0; ; n += 1) { console.log('line', n); await new Promise((done) => setTimeout(done, 100)); }");
  await page.getByRole("button", { name: "Submit as a job" }).click();
  const result = page.locator("#result");
  await expect(result).toContainText("running");
  await expect(result.getByRole("log")).toContainText("line 5");
  const address = page.url();
  expect(address).toMatch(/#\/jobs\/[0-9a-f-]{36}$/);
  await page.getByRole("button", { name: "Stop job" }).click();
  await expect(result).toContainText("cancelled");
  await expect(result).toContainText("Stopped");
  await expect(page.locator("#jobs")).toContainText("Stopped");
  // Anybody who has the address sees the same.
  await page.goto("about:blank");
  await open(page, new URL(address).hash);
  await expect(page.locator("#result").getByRole("log")).toContainText("line 5");
  expect(complaints).toEqual([]);
});

test("what a script says is text, wherever it comes out", async ({ page }) => {
  const complaints = await open(page);
  const text = JSON.stringify(EVIL);
  await run(page, `console.log(${text}); console.error({ [${text}]: ${text} }); ({ [${text}]: [${text}] })`);
  await expect(page.locator("#result")).toContainText("onerror");
  await run(page, `throw new Error(${text})`);
  await expect(page.locator("#result")).toContainText("onerror");
  await run(page, `throw Object.assign(new Error("x"), { name: ${text} })`);
  await expect(page.locator("#result")).toContainText("onerror");
  await page.goto(`${house.url}/#/jobs/${encodeURIComponent(EVIL)}`);
  await expect(page.locator("#result")).toContainText("invalid_path");
  expect(await page.title()).toBe("Sandpiper");
  expect(await page.locator("#result img, #result script, #jobs img").count()).toBe(0);
  expect(complaints).toEqual([]);
});

test("what the service is made to say is text too: names of scripts, jobs and states", async ({ page }) => {
  const scripts = [{ name: EVIL, description: EVIL, expect: EVIL, bytes: 1 }];
  const job = { id: EVIL, state: EVIL, outcome: EVIL, createdAt: EVIL, startedAt: null, finishedAt: null, expiresAt: null, attempt: EVIL };
  await page.route("**/api/scripts", (route) => route.fulfill({ json: { scripts } }));
  await page.route("**/api/jobs?*", (route) => route.fulfill({ json: { jobs: [job], nextCursor: EVIL } }));
  const complaints = await open(page);
  await expect(page.locator("#jobs")).toContainText("onerror");
  await page.getByLabel("Example").selectOption(EVIL);
  expect(await page.title()).toBe("Sandpiper");
  expect(await page.locator("main img, main script").count()).toBe(0);
  expect(complaints).toEqual([]);
});

test("a log of a mebibyte is shown without a stop", async ({ page }) => {
  const complaints = await open(page);
  await run(page, "for (let n = 0; n < 9_000; n += 1) console.log(n, 'x'.repeat(60)); 'all said'");
  await expect(page.locator("#result")).toContainText("all said");
  // The page still takes a click.
  await page.getByRole("button", { name: "Info" }).click();
  await expect(page.getByRole("dialog")).toContainText("quickjs-ng");
  expect(complaints).toEqual([]);
});

test("info, health and the network check show what the service says", async ({ page }) => {
  const complaints = await open(page);
  for (const [button, said] of [
    ["Info", "isolation"],
    ["Health", "uptime"],
    ["Network check", "restricted"],
  ] as const) {
    await page.getByRole("button", { name: button }).click();
    await expect(page.getByRole("dialog")).toContainText(said);
    await page.getByRole("button", { name: "Close" }).click();
  }
  expect(complaints).toEqual([]);
});

test("the pace of the service is told and drawn", async ({ page }) => {
  const complaints = await open(page);
  for (let count = 0; count < 5; count += 1) await run(page, "1");
  await expect(page.locator("#pace")).toContainText(/executions \d+(\.\d)? \/s/);
  await expect(page.locator("#pace")).toContainText(/mean \d+(\.\d)? ms/);
  await expect(page.locator("#pace polyline").first()).toHaveAttribute("points", /,.* .*,/);
  expect(complaints).toEqual([]);
});

test("two samples of the pace at one moment draw nothing wrong", async ({ page }) => {
  await page.addInitScript(() => {
    performance.now = () => 1_000;
  });
  let told = 0;
  page.on("response", (response) => {
    if (response.url().endsWith("/api/health/ready")) told += 1;
  });
  const complaints = await open(page);
  await expect.poll(() => told).toBeGreaterThanOrEqual(3);
  expect(complaints).toEqual([]);
});

test("a request can be taken along as a command, as JavaScript and as Python, and works there", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const complaints = await open(page);
  await write(page, "`it's ${input.a}`");
  await page.getByLabel("Input, as JSON").fill('{ "a": "\\"quoted\\"" }');
  await page.getByLabel("Language").selectOption("typescript");
  for (const [kind, command] of [
    ["curl", (text: string) => ["sh", "-c", text]],
    ["fetch", (text: string) => ["node", "--input-type=module", "-e", text]],
    ["python", (text: string) => ["python3", "-c", text]],
  ] as const) {
    await page.getByLabel("Copy as").selectOption(kind);
    await page.getByRole("button", { name: /^Cop(y|ied)$/ }).click();
    await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
    const text = await page.evaluate(() => navigator.clipboard.readText());
    const [program = "", ...words] = command(text);
    const said = execFileSync(program, words, { encoding: "utf8" });
    expect(said, kind).toContain("it's");
    expect(said, kind).toContain("quoted");
    expect(said, kind).toContain("succeeded");
    expect(text, kind).toContain("typescript");
  }
  expect(complaints).toEqual([]);
});

test("an example is picked and runs", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Example").selectOption({ index: 1 });
  await expect(page.locator("#editor .cm-content")).not.toContainText("Hello from");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.locator("#result .badge")).toBeVisible();
  expect(complaints).toEqual([]);
});

for (const scheme of ["light", "dark"] as const) {
  test(`nothing keeps anybody out: ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page);
    await run(page, "console.warn('careful'); ({ a: [1, 'two', null, true] })");
    await expect(page.locator("#result")).toContainText("Succeeded");
    const fine = await new AxeBuilder({ page }).analyze();
    expect(fine.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([]);
    await page.screenshot({ path: `test-results/${scheme}.png`, fullPage: true });
    await run(page, "null.y");
    await page.screenshot({ path: `test-results/${scheme}-error.png`, fullPage: true });
    const wrong = await new AxeBuilder({ page }).analyze();
    expect(wrong.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([]);
  });
}

test("it is read on a telephone", async ({ page }) => {
  await page.setViewportSize({ width: 375, height: 740 });
  await open(page);
  await run(page, "({ long: 'x'.repeat(500) })");
  const overflows = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  expect(overflows).toBe(false);
  await page.screenshot({ path: "test-results/telephone.png", fullPage: true });
});

test("it is small, and comes from few files", async ({ page }) => {
  let bytes = 0;
  let files = 0;
  page.on("response", (response) => {
    if (new URL(response.url()).pathname.startsWith("/api")) return;
    files += 1;
    bytes += Number(response.headers()["content-length"] ?? 0);
  });
  await page.goto(house.url);
  await expect(page.getByRole("textbox", { name: "Script" })).toBeVisible();
  expect(files).toBeLessThan(10);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(300_000);
});

test("a quota that is used up is told with its time, and a service that is gone is told too", async ({ page }) => {
  const strict = await House.open(["--run-quota", "1/m:1"]);
  try {
    await page.goto(strict.url);
    await expect(page.locator("#status")).toContainText("isolation L");
    await run(page, "1");
    await run(page, "2");
    await expect(page.locator("#result")).toContainText("Too many requests");
    await expect(page.locator("#result")).toContainText(/Try again (in \d+ s|now)/);
    strict.killService();
    await expect(page.locator("#status")).toHaveClass("error");
    await run(page, "3");
    await expect(page.locator("#result .refused")).toBeVisible();
  } finally {
    strict.close();
  }
});

test("a service that is full says so, and when to come again", async ({ page }) => {
  const full = await House.open([], ["--executors", "1", "--queue-interactive", "1"]);
  try {
    await page.goto(full.url);
    await expect(page.locator("#status")).toContainText("isolation L");
    // One runs, one waits.
    await page.evaluate(() => {
      const body = JSON.stringify({ code: "for (;;);", limits: { timeoutMs: 20_000 } });
      for (let count = 0; count < 2; count += 1) {
        void fetch("/api/execute", { method: "POST", headers: { "content-type": "application/json" }, body });
      }
    });
    await expect(page.locator("#status")).toContainText("1 waiting");
    await run(page, "1");
    await expect(page.locator("#result")).toContainText("The service takes no more work now");
    await expect(page.locator("#result")).toContainText(/Try again (in \d+ s|now)/);
  } finally {
    full.close();
  }
});

test("a job is followed on through the death of its service", async ({ page }) => {
  const mortal = await House.open();
  try {
    await page.goto(mortal.url);
    await expect(page.locator("#status")).toContainText("isolation L");
    await page.getByLabel("Time, ms").fill("20000");
    await write(page, "for (let n = 0; n < 60; n += 1) { console.log('line', n); await new Promise((done) => setTimeout(done, 100)); } 'to its end'");
    await page.getByRole("button", { name: "Submit as a job" }).click();
    await expect(page.locator("#result").getByRole("log")).toContainText("line 3");
    mortal.killService();
    await expect(page.locator("#result")).toContainText("The events broke off");
    await mortal.restartService();
    await expect(page.locator("#result")).toContainText("running");
    await expect(page.locator("#result")).toContainText("to its end");
    await expect(page.locator("#jobs tbody tr").first()).toContainText("2");
  } finally {
    mortal.close();
  }
});

test("all of it is done with the keyboard", async ({ page }) => {
  const complaints = await open(page);
  await page.getByRole("textbox", { name: "Script" }).focus();
  await page.keyboard.press("Control+a");
  await page.keyboard.type("x(");
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText("input.a + 1");
  // Tab belongs to the editor, until Escape gives it back.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  await expect(page.getByLabel("Input, as JSON")).toBeFocused();
  await page.keyboard.type('{ "a": 41 }');
  for (let count = 0; count < 4; count += 1) await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "Run", exact: true })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("#result")).toContainText("42");
  expect(complaints).toEqual([]);
});

test("jobs are looked through by state and by page", async ({ page }) => {
  const complaints = await open(page);
  const ids = await page.evaluate(async () => {
    const found: string[] = [];
    for (let count = 0; count < 15; count += 1) {
      const body = JSON.stringify({ code: String(count) });
      const answer = await fetch("/api/jobs", { method: "POST", headers: { "content-type": "application/json", prefer: "wait=10" }, body });
      found.push(((await answer.json()) as { id: string }).id);
    }
    return found;
  });
  const jobs = page.locator("#jobs");
  await page.getByLabel("State").selectOption("finished");
  await expect(jobs.getByRole("link").first()).toHaveText(ids[14] ?? "");
  await expect(jobs.getByRole("link")).toHaveCount(12);
  await page.getByRole("button", { name: "Older" }).click();
  await expect(jobs.getByRole("link").first()).toHaveText(ids[2] ?? "");
  await page.getByRole("button", { name: "Newest" }).click();
  await expect(jobs.getByRole("link").first()).toHaveText(ids[14] ?? "");
  await page.getByLabel("State").selectOption("lost");
  await expect(jobs).toContainText("No job in this state");
  expect(complaints).toEqual([]);
});
