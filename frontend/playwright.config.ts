import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const debian = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

export default defineConfig({
  testDir: "tests",
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: "line",
  outputDir: "test-results",
  use: {
    viewport: { width: 1280, height: 900 },
    launchOptions: { args: ["--no-sandbox"], ...(debian ? { executablePath: debian } : {}) },
  },
});
