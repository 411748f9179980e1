// A service and an ingress of a test file's own, as `make build` or cargo left them.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
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

  /** Creates a key of the tenant `page`. */
  create(scopes = "execute,jobs,read", ...options: string[]): string {
    return this.run("new", "--name", scopes, "--tenant", "page", "--scopes", scopes, ...options).trim();
  }

  revoke(key: string): void {
    this.run("revoke", idOf(key));
  }

  private run(command: string, ...options: string[]): string {
    const words = ["key", command, "--keys-file", this.file, ...options];
    return execFileSync(join(BIN, "sandpiper-ingress"), words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function idOf(key: string): string {
  return key.slice(3, 19);
}
