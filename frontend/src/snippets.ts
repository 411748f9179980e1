// Renders the request as a snippet for another program.

import type { Request } from "./api";

function quoteForShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Returns the request as code. With `needsKey` the code takes the API key from the variable `SANDPIPER_KEY`. */
export function snippet(kind: string, origin: string, request: Request, needsKey: boolean): string {
  const url = `${origin}/api/execute`;
  const body = JSON.stringify(request);
  if (kind === "fetch") {
    return [
      `const response = await fetch(${JSON.stringify(url)}, {`,
      `  method: "POST",`,
      needsKey
        ? '  headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.SANDPIPER_KEY}` },'
        : '  headers: { "Content-Type": "application/json" },',
      `  body: JSON.stringify(${JSON.stringify(request, null, 2).replaceAll("\n", "\n  ")}),`,
      `});`,
      `console.log(await response.json());`,
    ].join("\n");
  }
  if (kind === "python") {
    // JSON in a string, because Python spells `true` and `null` differently.
    const authorization = needsKey ? `, "Authorization": "Bearer " + os.environ["SANDPIPER_KEY"]` : "";
    return [
      `import json, ${needsKey ? "os, " : ""}urllib.request`,
      "",
      `body = ${JSON.stringify(body)}`,
      `request = urllib.request.Request(${JSON.stringify(url)}, body.encode(), {"Content-Type": "application/json"${authorization}})`,
      "print(json.dumps(json.load(urllib.request.urlopen(request)), indent=2))",
    ].join("\n");
  }
  const authorization = needsKey ? ` -H "Authorization: Bearer $SANDPIPER_KEY"` : "";
  return `curl -s ${quoteForShell(url)}${authorization} -H 'Content-Type: application/json' -d ${quoteForShell(body)}`;
}
