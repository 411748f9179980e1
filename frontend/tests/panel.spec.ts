// The result, the draft and the list of jobs, as a person uses them: for long, with a keyboard, and on a phone.

import AxeBuilder from "@axe-core/playwright";
import { type Locator, type Page, expect, test } from "@playwright/test";
import { House } from "./house";

const PHONE = { width: 390, height: 844 };
const FAILING = "let x = 1;\nnull.y";

let house: House;
test.beforeAll(async () => {
  house = await House.open();
});
test.afterAll(() => house.close());

/** Opens the page, and fails on whatever the browser complains of. */
async function open(page: Page, path = "/"): Promise<string[]> {
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(house.url + path);
  await expect(page.locator("#status")).toContainText("isolation L");
  return complaints;
}

const result = (page: Page) => page.locator("#result");
const log = (page: Page) => result(page).getByRole("log");
const links = (page: Page) => page.locator("#jobs").getByRole("link");
const marks = (page: Page) => page.locator("#editor .cm-lintRange-error, #editor .cm-lintPoint-error");
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

async function write(page: Page, code: string): Promise<void> {
  await button(page, "Clear").click();
  await page.getByRole("textbox", { name: "Script" }).click();
  await page.keyboard.insertText(code);
}

/** Submits a job without the page, and returns its id. */
async function submit(code: string, wait = true): Promise<string> {
  const headers = { "content-type": "application/json", ...(wait ? { prefer: "wait=20" } : {}) };
  const body = JSON.stringify({ code, limits: { timeoutMs: 20_000 } });
  const response = await fetch(`${house.url}/api/jobs`, { method: "POST", headers, body });
  return ((await response.json()) as { id: string }).id;
}

async function stateOf(id: string): Promise<string> {
  return ((await (await fetch(`${house.url}/api/jobs/${id}`)).json()) as { state: string }).state;
}

/** Returns code that logs lines for a while. */
function lines(count: number, everyMs: number): string {
  return `for (let n = 0; n < ${count}; n += 1) { console.log("line", n); await new Promise((done) => setTimeout(done, ${everyMs})); } "all said"`;
}

test("an error of a job is marked only in an editor that holds the job's script", async ({ page }) => {
  const complaints = await open(page);
  const foreign = await submit(FAILING);
  await page.evaluate((id) => (location.hash = `#/jobs/${id}`), foreign);
  await expect(result(page)).toContainText("TypeError: cannot read property 'y' of null");
  await expect(result(page)).toContainText("(code, line 2)");
  await expect(result(page).getByRole("button", { name: "code, line 2" })).toHaveCount(0);
  await expect(marks(page)).toHaveCount(0);
  // The job of this script.
  await button(page, "Back to the script").click();
  await write(page, FAILING);
  await button(page, "Submit as a job").click();
  await expect(result(page).getByRole("button", { name: "code, line 2" })).toBeVisible();
  await expect(marks(page)).toHaveCount(1);
  // Another script, with as many lines.
  const own = new URL(page.url()).hash;
  await button(page, "Back to the script").click();
  await write(page, "const fine = 1;\nfine");
  await page.evaluate((hash) => (location.hash = hash), own);
  await expect(result(page)).toContainText("(code, line 2)");
  await expect(marks(page)).toHaveCount(0);
  expect(complaints).toEqual([]);
});

test("an error that comes after an edit is not marked in the new script", async ({ page }) => {
  const complaints = await open(page);
  await write(page, "await new Promise((done) => setTimeout(done, 1_500));\nnull.y");
  await button(page, "Run").click();
  await write(page, "const fine = 1;\nfine");
  await expect(result(page)).toContainText("(code, line 2)");
  await expect(marks(page)).toHaveCount(0);
  expect(complaints).toEqual([]);
});

test("a reload keeps the script, the input and the limits, and each tab has its own", async ({ page, context }) => {
  const complaints = await open(page);
  const editor = (at: Page): Locator => at.locator("#editor .cm-content");
  await write(page, "'my long work'");
  await page.getByLabel("Input, as JSON").fill('{ "a": 1 }');
  await page.getByLabel("Time, ms").fill("1234");
  // At once, before the pause after which a draft is written.
  await page.reload();
  await expect(editor(page)).toHaveText("'my long work'");
  await expect(page.getByLabel("Input, as JSON")).toHaveValue('{ "a": 1 }');
  await expect(page.getByLabel("Time, ms")).toHaveValue("1234");
  const other = await context.newPage();
  const others = await open(other);
  await expect(editor(other)).toHaveText("'my long work'");
  await write(other, "'work of another tab'");
  await other.reload();
  await expect(editor(other)).toHaveText("'work of another tab'");
  await page.reload();
  await expect(editor(page)).toHaveText("'my long work'");
  // An empty editor stays empty.
  await button(page, "Clear").click();
  await page.reload();
  await expect(editor(page)).toHaveText("");
  expect([...complaints, ...others]).toEqual([]);
});

test("a draft that is damaged or denied leaves the page as it is", async ({ page }) => {
  await page.addInitScript(() => {
    sessionStorage.setItem("sandpiper-draft", '{"code":7}');
    localStorage.setItem("sandpiper-draft", "not JSON");
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  const complaints = await open(page);
  await expect(page.locator("#editor .cm-content")).toContainText("Hello from");
  await write(page, "'typed'");
  await button(page, "Run").click();
  await expect(result(page)).toContainText("typed");
  expect(complaints).toEqual([]);
});

test("the focus and a selection stay while the list of jobs is refreshed", async ({ page }) => {
  const before = await submit("'before'");
  const running = await submit(lines(25, 200), false);
  const complaints = await open(page);
  const row = page.locator("#jobs tbody tr").filter({ hasText: running });
  await expect(row).toContainText(/running|queued/);
  const link = links(page).filter({ hasText: before });
  await link.focus();
  await page.evaluate((id) => {
    const chosen = [...document.querySelectorAll("#jobs a")].find((a) => a.textContent === id);
    if (chosen) getSelection()?.selectAllChildren(chosen);
  }, running);
  const added = await submit("'added'");
  await expect(links(page).first()).toHaveText(added);
  await expect(row).toContainText("Succeeded");
  await expect(link).toBeFocused();
  expect(await page.evaluate(() => getSelection()?.toString())).toBe(running);
  expect(complaints).toEqual([]);
});

test("a job is left without stopping it, the script runs meanwhile, and the address follows", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, lines(60, 200));
  await button(page, "Submit as a job").click();
  await expect(log(page)).toContainText("line 3");
  const address = page.url();
  const id = address.split("/").pop() ?? "";
  // The script can be run while its job is followed.
  await write(page, "'beside the job'");
  await button(page, "Run").click();
  await expect(result(page)).toContainText("beside the job");
  expect(new URL(page.url()).hash).toBe("");
  expect(await stateOf(id)).toBe("running");
  // Back to the job, and forward to the result.
  await page.goBack();
  expect(page.url()).toBe(address);
  await expect(log(page)).toContainText("line 5");
  await page.goForward();
  await expect(result(page)).toContainText("beside the job");
  // The same job again, from the list.
  const link = links(page).filter({ hasText: id });
  await link.click();
  await expect(log(page)).toContainText("line 7");
  await button(page, "Back to the script").click();
  await expect(result(page)).toContainText("beside the job");
  await expect(button(page, "Run")).toBeFocused();
  await link.click();
  await expect(log(page)).toContainText("line 9");
  expect(await stateOf(id)).toBe("running");
  await button(page, "Stop job").click();
  await expect(result(page)).toContainText("cancelled");
  await expect(button(page, "Stop job")).toBeDisabled();
  expect(complaints).toEqual([]);
});

test("a run goes on while a job is looked at", async ({ page }) => {
  const looked = await submit("'looked at'");
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, "await new Promise((done) => setTimeout(done, 3_000)); 'went on'");
  await button(page, "Run").click();
  await links(page).filter({ hasText: looked }).click();
  await expect(result(page)).toContainText("looked at");
  await expect(button(page, "Stop")).toBeEnabled();
  await expect(button(page, "Run")).toBeEnabled();
  await expect(result(page)).toContainText("looked at");
  await button(page, "Back to the script").click();
  await expect(result(page)).toContainText("went on");
  expect(complaints).toEqual([]);
});

test("the log of a job that ends stays where its reader is", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, 'for (let n = 0; n < 200; n += 1) console.log("line", n); await new Promise((done) => setTimeout(done, 3_000)); "all said"');
  await button(page, "Submit as a job").click();
  await expect(log(page)).toContainText("line 199");
  await log(page).focus();
  const read = await log(page).evaluate((element) => (element.scrollTop = 500));
  await expect(result(page)).toContainText("all said");
  expect(await log(page).evaluate((element) => element.scrollTop)).toBe(read);
  await expect(log(page)).toBeFocused();
  // A log that was followed to its end is at its end.
  await write(page, 'for (let n = 0; n < 200; n += 1) console.log("line", n); await new Promise((done) => setTimeout(done, 1_500)); "said again"');
  await button(page, "Submit as a job").click();
  await expect(result(page)).toContainText("said again");
  const left = await log(page).evaluate(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight);
  expect(left).toBeLessThan(30);
  expect(complaints).toEqual([]);
});

test("a long log that lost its beginning on the page is whole at its end, and stays where its reader is", async ({ page }) => {
  const complaints = await open(page);
  await page.getByLabel("Time, ms").fill("20000");
  await write(page, 'for (let n = 0; n < 3000; n += 1) console.log("line", n); await new Promise((done) => setTimeout(done, 3_000)); "all said"');
  await button(page, "Submit as a job").click();
  const last = log(page).locator(".line").last();
  await expect(last).toContainText("line 2999");
  await expect(log(page).locator(".line")).toHaveCount(2000);
  const seen = () =>
    log(page).evaluate((element) => {
      const { top } = element.getBoundingClientRect();
      return [...element.children].find((line) => line.getBoundingClientRect().bottom > top + 1)?.lastElementChild?.textContent;
    });
  await log(page).evaluate((element) => (element.scrollTop = 2_000));
  const read = await seen();
  await expect(result(page)).toContainText("all said");
  await expect(log(page).locator(".line")).toHaveCount(3000);
  expect(await seen()).toBe(read);
  expect(complaints).toEqual([]);
});

test.describe("far from UTC", () => {
  test.use({ timezoneId: "America/New_York", locale: "en-US" });

  test("every time is that of the reader's clock, with the exact time beside it", async ({ page }) => {
    const complaints = await open(page);
    await write(page, "console.log('now')");
    await button(page, "Submit as a job").click();
    await expect(result(page)).toContainText("finished");
    const logged = log(page).locator("time");
    const exact = (await logged.getAttribute("datetime")) ?? "";
    expect(exact).toMatch(/^20\d\d-\S+\.\d{3}Z$/);
    await expect(logged).toHaveAttribute("title", exact);
    const local = new Date(exact).toLocaleTimeString("en-GB", { timeZone: "America/New_York", hour12: false });
    await expect(logged).toHaveText(`${local}.${exact.slice(20, 23)}`);
    const submitted = page.locator("#jobs tbody time").first();
    await expect(submitted).toHaveText(/^(just now|\d+ s ago)$/);
    expect(await submitted.getAttribute("title")).toBe(await submitted.getAttribute("datetime"));
    expect(complaints).toEqual([]);
  });

  test("a time of another day has its date", async ({ page }) => {
    const ages: [string, number, RegExp | string][] = [
      ["a", 90, "1 min ago"],
      ["b", 3 * 3600 + 60, "3 h ago"],
      ["c", 40 * 86_400, /^[A-Z][a-z]{2} \d{1,2}, 20\d\d, \d\d:\d\d$/],
    ];
    const jobs = ages.map(([id, seconds]) => ({
      id,
      state: "finished",
      outcome: "succeeded",
      createdAt: new Date(Date.now() - seconds * 1_000).toISOString(),
      startedAt: null,
      attempt: 1,
    }));
    await page.route("**/api/jobs?*", (route) => route.fulfill({ json: { jobs, nextCursor: null } }));
    const complaints = await open(page);
    for (const [id, , words] of ages) await expect(page.getByRole("row").filter({ has: page.getByRole("link", { name: id, exact: true }) }).locator("time")).toHaveText(words);
    expect(complaints).toEqual([]);
  });
});

test.describe("on a phone", () => {
  test.use({ viewport: PHONE, hasTouch: true, isMobile: true });

  const isAtTop = async (page: Page): Promise<void> => {
    await expect.poll(async () => (await page.locator("#result-title").boundingBox())?.y ?? -1).toBeLessThan(PHONE.height / 2);
    await expect.poll(async () => (await page.locator("#result-title").boundingBox())?.y ?? -1).toBeGreaterThanOrEqual(0);
  };

  test("Run is at hand while the script is edited, and its result comes into sight", async ({ page }) => {
    const complaints = await open(page);
    await expect(button(page, "Run")).toBeInViewport({ ratio: 1 });
    await button(page, "Run").tap();
    await isAtTop(page);
    await expect(result(page)).toContainText("Succeeded");
    await expect(result(page).locator(".badge")).toBeInViewport();
    await page.screenshot({ path: "test-results/phone-run.png" });
    expect(complaints).toEqual([]);
  });

  test("a job of the list comes into sight", async ({ page }) => {
    for (let count = 0; count < 12; count += 1) await submit(`'job ${count}'`);
    const complaints = await open(page);
    const last = links(page).nth(8);
    await last.scrollIntoViewIfNeeded();
    await last.tap();
    await isAtTop(page);
    await expect(result(page)).toContainText("job 3");
    await page.screenshot({ path: "test-results/phone-job.png" });
    expect(complaints).toEqual([]);
  });

  test("no field is so small that the browser zooms in on it", async ({ page }) => {
    await open(page);
    const sizes = await page.evaluate(() => {
      const code = document.querySelector("#editor")?.shadowRoot?.querySelector(".cm-content");
      const fields = [...document.querySelectorAll("input, select, textarea"), ...(code ? [code] : [])];
      return fields.map((field) => [field.id || field.className, parseFloat(getComputedStyle(field).fontSize)] as const);
    });
    expect(sizes.length).toBeGreaterThan(8);
    expect(sizes.filter(([, size]) => size < 16)).toEqual([]);
  });

  test("the description of the API is no wider than the phone", async ({ page }) => {
    for (const scheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.goto(`${house.url}/api/docs`);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(width).toBeLessThanOrEqual(PHONE.width);
      await page.screenshot({ path: `test-results/phone-docs-${scheme}.png` });
    }
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([]);
  });
});

/** Returns the contrast of the border of an element with what is inside and outside of it, the lower of the two. */
async function borderContrast(element: Locator): Promise<number> {
  return element.evaluate((shown) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    if (!canvas) throw new Error("no canvas");
    const luminance = (colour: string): number => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [red = 0, green = 0, blue = 0] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const contrast = (one: number, other: number): number => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const style = getComputedStyle(shown);
    const border = luminance(style.borderTopColor);
    const inside = luminance(style.backgroundColor === "rgba(0, 0, 0, 0)" ? getComputedStyle(document.body).backgroundColor : style.backgroundColor);
    const outside = luminance(getComputedStyle(document.body).backgroundColor);
    return Math.min(contrast(border, inside), contrast(border, outside));
  });
}

for (const scheme of ["light", "dark"] as const) {
  test(`the edges of controls are seen, and what scrolls can be scrolled by keyboard: ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page);
    for (const selector of ["#input", "#timeoutMs", "#examples", "#copy", "#editor"]) {
      expect(await borderContrast(page.locator(selector)), selector).toBeGreaterThan(3);
    }
    await write(page, Array.from({ length: 80 }, (_, number) => `console.log(${number}, "${"x".repeat(300)}");`).join("\n"));
    await button(page, "Run").click();
    await expect(result(page)).toContainText("Succeeded");
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([]);
    await page.screenshot({ path: `test-results/long-${scheme}.png`, fullPage: true });
  });
}

test("a service that is not ready is told in the colour of errors", async ({ page }) => {
  const complaints = await open(page);
  const status = page.locator("#status");
  const fine = await status.evaluate((element) => getComputedStyle(element).color);
  await page.route("**/api/health/ready", (route) => route.fulfill({ status: 503, json: { status: "DOWN", isolation: "L4", reasons: [] } }));
  await expect(status).toContainText("DOWN");
  const bad = await status.evaluate((element) => [getComputedStyle(element).color, getComputedStyle(document.body).color]);
  expect(bad).not.toContain(fine);
  expect(bad[0]).not.toBe(bad[1]);
  expect(complaints).toEqual([]);
});
