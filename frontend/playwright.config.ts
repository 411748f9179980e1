import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const debian = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

export default defineConfig({
  testDir: "tests",
  workers: 2, // each file has a service and an ingress of its own
  // Slower than anything here is on a busy machine, so that a hang is a failure and not a wait.
  timeout: 300_000,
  expect: { timeout: 60_000 },
  reporter: "list",
  outputDir: "test-results",
  use: {
    viewport: { width: 1280, height: 900 },
    launchOptions: { args: ["--no-sandbox"], ...(debian ? { executablePath: debian } : {}) },
  },
});
