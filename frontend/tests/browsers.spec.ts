// What a page of another origin can do in a real browser: nothing but write into the void.

import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, type Page, chromium, expect, test } from "@playwright/test";
import { House } from "./house";

let house: House;
let elsewhere: Server;
let evil: Browser;
let evilPort: number;

test.beforeAll(async ({ launchOptions }) => {
  // The evil page asks for its own name at the ingress's port too: that is DNS rebinding.
  house = await House.open(["--cors-origins", "http://listed.test:1"]);
  elsewhere = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>evil</title>"));
  await new Promise<void>((up) => elsewhere.listen(0, "127.0.0.1", up));
  evilPort = (elsewhere.address() as AddressInfo).port;
  const args = [...(launchOptions.args ?? []), "--host-resolver-rules=MAP *.test 127.0.0.1"];
  evil = await chromium.launch({ ...launchOptions, args });
});

test.afterAll(async () => {
  await evil.close();
  elsewhere.close();
  house.close();
});

/** How many jobs there are, whatever became of them. */
async function jobs(): Promise<number> {
  const response = await fetch(`${house.url}/api/jobs?limit=200`);
  return ((await response.json()) as { jobs: unknown[] }).jobs.length;
}

async function pageAt(url: string): Promise<Page> {
  const page = await evil.newPage();
  await page.goto(url);
  return page;
}

/** Sends every kind of request that a page may send without asking first, and says what came of each. */
async function attack(page: Page, target: string): Promise<Record<string, string>> {
  return page.evaluate(async (base) => {
    const body = '{"code":"1+2"}';
    const form = new FormData();
    form.set("code", "1+2");
    const blind = (path: string, init: RequestInit): Promise<Response> => fetch(base + path, { mode: "no-cors", ...init });
    const tries: Record<string, () => Promise<Response>> = {
      blob: () => blind("/api/jobs", { method: "POST", body: new Blob([body]) }),
      typedBlob: () => blind("/api/jobs", { method: "POST", body: new Blob([body], { type: "application/json" }) }),
      text: () => blind("/api/jobs", { method: "POST", body }),
      form: () => blind("/api/jobs", { method: "POST", body: form }),
      urlencoded: () => blind("/api/jobs", { method: "POST", body: new URLSearchParams({ code: "1+2" }) }),
      empty: () => blind("/api/jobs?file=simple.js", { method: "POST" }),
      json: () => fetch(`${base}/api/jobs`, { method: "POST", headers: { "content-type": "application/json" }, body }),
      read: () => fetch(`${base}/api/jobs`),
    };
    const ends: Record<string, string> = {};
    for (const [name, attempt] of Object.entries(tries)) {
      ends[name] = await attempt().then(
        (response) => `${response.type} ${response.status}`,
        () => "blocked",
      );
    }
    navigator.sendBeacon(`${base}/api/jobs`, form);
    const image = new Image();
    image.src = `${base}/api/netcheck`;
    await new Promise((done) => (image.onload = image.onerror = done));
    return ends;
  }, target);
}

async function submitForm(page: Page, target: string): Promise<void> {
  await page.evaluate((action) => {
    const form = document.createElement("form");
    Object.assign(form, { action, method: "post", enctype: "multipart/form-data" });
    const field = document.createElement("input");
    Object.assign(field, { name: "code", value: "1+2" });
    form.append(field);
    document.body.append(form);
    form.submit();
  }, target);
  await page.waitForURL(target);
}

for (const [what, origin] of [
  ["another port of the same machine", () => `http://127.0.0.1:${evilPort}`],
  ["another site", () => `http://evil.test:${evilPort}`],
] as const) {
  test(`a page of ${what} runs nothing`, async () => {
    const before = await jobs();
    const page = await pageAt(origin());
    const ends = await attack(page, house.url);
    expect(ends["json"]).toBe("blocked");
    expect(ends["read"]).toBe("blocked");
    for (const [name, end] of Object.entries(ends)) expect(end, name).toMatch(/^(opaque 0|blocked)$/);
    await submitForm(page, `${house.url}/api/jobs`);
    await expect(page.locator("body")).toContainText("cross_origin");
    expect(await jobs()).toBe(before);
    await page.close();
  });
}

test("the same page runs nothing at the service itself", async () => {
  const page = await pageAt(`http://evil.test:${evilPort}`);
  await attack(page, house.serviceUrl);
  await submitForm(page, `${house.serviceUrl}/api/jobs`);
  await expect(page.locator("body")).toContainText("cross_origin");
  const listed = (await (await fetch(`${house.serviceUrl}/api/jobs`)).json()) as { jobs: unknown[] };
  expect(listed.jobs).toEqual([]);
  await page.close();
});

test("a page whose name comes to lead here is told that the name is not answered", async () => {
  for (const url of [house.url, house.serviceUrl]) {
    const rebound = url.replace("127.0.0.1", "evil.test");
    const page = await evil.newPage();
    const response = await page.goto(`${rebound}/api/jobs`);
    expect(response?.status()).toBe(421);
    await expect(page.locator("body")).toContainText("host_not_allowed");
    // Of the same origin as far as the browser knows: it may read, and what it reads is the refusal.
    const ends = await page.evaluate(async () => {
      const submit = { method: "POST", headers: { "content-type": "application/json" }, body: '{"code":"1"}' };
      const asked = [fetch("/api/jobs"), fetch("/api/jobs", submit), fetch("/api/jobs/1", { method: "DELETE" })];
      return Promise.all(asked.map(async (response) => (await response).status));
    });
    expect(ends).toEqual([421, 421, 421]);
    await page.close();
  }
  expect(await jobs()).toBe(0);
});

test("a response of the API cannot be embedded by another origin", async () => {
  const page = await pageAt(`http://evil.test:${evilPort}`);
  const embedded = await page.evaluate(
    (source) =>
      new Promise<string>((done) => {
        const script = document.createElement("script");
        script.onload = () => done("loaded");
        script.onerror = () => done("blocked");
        script.src = source;
        document.head.append(script);
      }),
    `${house.url}/api/scripts/simple.js`,
  );
  expect(embedded).toBe("blocked");
  await page.close();
});

test("a page of a listed origin uses the API with every header that is documented", async () => {
  const listed = await House.open(["--cors-origins", `http://app.test:${evilPort}`]);
  const page = await pageAt(`http://app.test:${evilPort}`);
  const seen = await page.evaluate(async (base) => {
    const headers = {
      "content-type": "application/json",
      "idempotency-key": "a",
      prefer: "wait=10",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "x-request-id": "mine",
    };
    const submit = (): Promise<Response> => fetch(`${base}/api/jobs`, { method: "POST", headers, body: '{"code":"1+2"}' });
    const first = await submit();
    const again = await submit();
    const job = (await first.json()) as { execution: { result: number } };
    const names = ["location", "ratelimit", "x-request-id"];
    return [job.execution.result, again.headers.get("idempotency-replayed"), ...names.map((name) => first.headers.has(name))];
  }, listed.url);
  expect(seen).toEqual([3, "true", true, true, true]);
  await page.close();
  listed.close();
});

test("the page of a demonstration runs code and lists nothing", async ({ page }) => {
  const demonstration = await House.open(["--open"]);
  await page.goto(demonstration.url);
  await expect(page.locator("#status")).toContainText("isolation L");
  await expect(page.locator("#jobs")).toContainText("Jobs are not listed here");
  await expect(page.locator("#job-state")).toBeDisabled();
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await expect(page.locator("#result")).toContainText("Succeeded");
  demonstration.close();
});
