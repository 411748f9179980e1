// Renders the request as a snippet for another program.

import type { Request } from "./api";

function quoteForShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function snippet(kind: string, origin: string, request: Request): string {
  const url = `${origin}/api/execute`;
  const body = JSON.stringify(request);
  if (kind === "fetch") {
    return [
      `const response = await fetch(${JSON.stringify(url)}, {`,
      `  method: "POST",`,
      `  headers: { "Content-Type": "application/json" },`,
      `  body: JSON.stringify(${JSON.stringify(request, null, 2).replaceAll("\n", "\n  ")}),`,
      `});`,
      `console.log(await response.json());`,
    ].join("\n");
  }
  if (kind === "python") {
    // JSON in a string, because Python spells `true` and `null` differently.
    return [
      "import json, urllib.request",
      "",
      `body = ${JSON.stringify(body)}`,
      `request = urllib.request.Request(${JSON.stringify(url)}, body.encode(), {"Content-Type": "application/json"})`,
      "print(json.dumps(json.load(urllib.request.urlopen(request)), indent=2))",
    ].join("\n");
  }
  return `curl -s ${quoteForShell(url)} -H 'Content-Type: application/json' -d ${quoteForShell(body)}`;
}
