// A proxy in Bun before the Deno server at BACKEND, and the parent of that server.
const backend = process.env.BACKEND;

Bun.serve({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  idleTimeout: 60,
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (!pathname.startsWith("/api")) return new Response('{"code":"not_found"}', { status: 404 });
    try {
      return await fetch(backend + pathname, { method: request.method, headers: { "content-type": "application/json" }, body: await request.arrayBuffer() });
    } catch {
      return new Response('{"code":"service_unreachable"}', { status: 502 });
    }
  },
});
