// A service and an ingress of a test file's own, as `make build` or cargo left them.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BIN = process.env["SANDPIPER_BIN"] ?? join(ROOT, "bin");
const UP_WITHIN_MS = 60_000;

function start(program: string, args: string[]): Promise<{ process: ChildProcess; port: string }> {
  const child = spawn(join(BIN, program), ["serve", ...args], {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "pipe"],
  });
  return new Promise((up, down) => {
    let log = "";
    const late = setTimeout(() => down(new Error(`${program} did not start:\n${log}`)), UP_WITHIN_MS);
    child.stderr?.on("data", (data: Buffer) => {
      log += data.toString();
      const port = /listening on http:\/\/[^ ]*:(\d+)/.exec(log)?.[1];
      if (port) {
        clearTimeout(late);
        up({ process: child, port });
      }
    });
    child.on("exit", () => down(new Error(`${program} ended:\n${log}`)));
  });
}

export class House {
  private constructor(
    readonly url: string,
    readonly serviceUrl: string,
    private readonly folder: string,
    private readonly options: string[],
    private readonly port: string,
    private service: ChildProcess,
    private readonly ingress: ChildProcess,
  ) {}

  static async open(ingressOptions: string[] = [], serviceOptions = ["--executors", "2"]): Promise<House> {
    const folder = mkdtempSync(join(tmpdir(), "sandpiper-page-"));
    const options = ["--store", `sqlite:${join(folder, "jobs.db")}`, ...serviceOptions];
    const service = await start("sandpiper", ["--port", "0", ...options]);
    const ingress = await start("sandpiper-ingress", ["--port", "0", "--host", "127.0.0.1", "--api-port", service.port, ...ingressOptions]);
    return new House(`http://127.0.0.1:${ingress.port}`, `http://127.0.0.1:${service.port}`, folder, options, service.port, service.process, ingress.process);
  }

  /** The service again, where it was and with what it had. */
  async restartService(): Promise<void> {
    this.service = (await start("sandpiper", ["--port", this.port, ...this.options])).process;
  }

  killService(): void {
    this.service.kill("SIGKILL");
  }

  close(): void {
    this.ingress.kill("SIGKILL");
    this.service.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A keys file, with keys that `sandpiper-ingress key new` has made. */
export class Keys {
  private readonly folder = mkdtempSync(join(tmpdir(), "sandpiper-keys-"));
  readonly file = join(this.folder, "keys.json");

  create(scopes = "execute,jobs,read"): string {
    const program = join(BIN, "sandpiper-ingress");
    // One tenant, so that one key sees the jobs of another.
    const tenant = execFileSync(program, ["key", "new", "--help"], { encoding: "utf8" }).includes("--tenant") ? ["--tenant", "page"] : [];
    const options = ["key", "new", "--keys-file", this.file, "--name", scopes, "--scopes", scopes, ...tenant];
    return execFileSync(program, options, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  }

  /** Removes a key from the file; the ingress notices within two seconds. */
  revoke(key: string): void {
    const { keys } = JSON.parse(readFileSync(this.file, "utf8")) as { keys: { id: string }[] };
    writeFileSync(this.file, JSON.stringify({ keys: keys.filter(({ id }) => id !== idOf(key)) }));
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function idOf(key: string): string {
  return key.slice(3, 19);
}
