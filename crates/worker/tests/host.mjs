// Runs one built Worker on workerd until standard input ends.
//
//   node host.mjs DIST '{"bindings": {…}, "kv": {…}}'
//
// Says its base URL in the first line it writes. What the Worker logs follows.

import { Log, LogLevel, Miniflare } from "miniflare";
import { readdirSync } from "node:fs";
import path from "node:path";

const [dist, given] = process.argv.slice(2);
const { bindings = {}, kv = {} } = JSON.parse(given);

const files = readdirSync(dist).filter((name) => /\.(js|wasm)$/.test(name));
files.sort((a, b) => (b === "index.js") - (a === "index.js"));
const modules = files.map((name) => ({
  type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule",
  path: path.join(dist, name),
}));

const miniflare = new Miniflare({
  log: new Log(LogLevel.ERROR),
  modules,
  modulesRoot: dist,
  compatibilityDate: "2026-04-01",
  compatibilityFlags: ["enable_request_signal"],
  bindings,
  kvNamespaces: ["KV"],
  durableObjects: {
    POOL: { className: "PoolObject", useSQLite: true },
    EGRESS: { className: "EgressObject", useSQLite: true },
  },
  // Straight to the Worker: miniflare's own front door rewrites URLs.
  unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
});

await miniflare.ready;
const namespace = await miniflare.getKVNamespace("KV");
for (const [name, text] of Object.entries(kv)) await namespace.put(name, text);
const url = await miniflare.unsafeGetDirectURL();
process.stdout.write(`${url.origin}\n`);

process.stdin.resume();
process.stdin.on("end", async () => {
  await miniflare.dispose();
  process.exit(0);
});
