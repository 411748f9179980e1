// What all peers share: the answer's shape, which is the service's first five fields, and the limits, which are its defaults.

export const LIMITS = { timeoutMs: 2_000, memoryBytes: 32 * 1024 * 1024, stackBytes: 1024 * 1024, bodyBytes: 2 * 1024 * 1024, outputBytes: 1024 * 1024 };

// `result` is JSON text already; so is `data` of each entry.
export function succeeded(result, log, begun) {
  return `{"status":"success","result":${result},"error":false,"log":${logText(log)},"executionTime":${Math.round(performance.now() - begun)}}`;
}

export function failed(error, log, begun) {
  const { name = "Error", message = String(error), stack = "" } = error ?? {};
  return `{"status":"error","result":null,"error":${JSON.stringify({ name, message, stack })},"log":${logText(log)},"executionTime":${Math.round(performance.now() - begun)}}`;
}

function logText(log) {
  return `[${log.map((entry) => `{"type":"${entry.type}","timestamp":"${entry.timestamp}","data":${entry.data}}`).join(",")}]`;
}

// Gathers what a script logs, up to the limit on output.
export class Log {
  entries = [];
  #bytes = 0;
  add(type, data) {
    this.#bytes += data.length;
    if (this.#bytes <= LIMITS.outputBytes) this.entries.push({ type, timestamp: new Date().toISOString(), data });
  }
}
