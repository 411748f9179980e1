import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { constants, brotliCompressSync, gzipSync } from "node:zlib";
import { type Plugin, defineConfig } from "vite";

// The ingress serves the compressed file to clients that accept it.
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => void (folder = join(config.root, config.build.outDir)),
    closeBundle: () => {
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(html|css|js|svg|txt)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const content = readFileSync(path);
        writeFileSync(`${path}.gz`, gzipSync(content, { level: constants.Z_BEST_COMPRESSION }));
        writeFileSync(`${path}.br`, brotliCompressSync(content));
      }
    },
  };
}

// The licences of what is built in, as they ask for.
function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const packages = new Set<string>();
      for (const id of this.getModuleIds()) {
        const found = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1];
        if (found) packages.add(found);
      }
      const texts = [...packages].sort().map((path) => {
        const { name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as Record<string, string>;
        const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
        if (!file) throw new Error(`${name} has no licence`);
        return `${name} ${version}\n\n${readFileSync(join(path, file), "utf8")}`;
      });
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n\n") });
    },
  };
}

// Hashed names below /assets, which the ingress lets browsers keep for ever; nothing inline, which its policy forbids.
export default defineConfig({
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  plugins: [licences(), compressed()],
  // `make dev`: calls of the API go to the ingress, as if from its own page.
  server: { proxy: { "^/(api|ingress)(/|$)": { target: "http://localhost:8080", changeOrigin: true, headers: { origin: "http://localhost:8080" } } } },
});
