// How the built Worker is run on workerd: what wrangler.toml says, in miniflare's words.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

export const dist =
  process.env.GEMINI_RELAY_WORKER_DIST ??
  path.resolve(import.meta.dirname, "../../../target/worker-dist");

// Options for a Worker out of the folder `from`; a `wrapper` is the path of a module that stands in front of it.
export function worker({ from = dist, wrapper, ...options }) {
  const module = (file) => ({
    type: file.endsWith(".wasm") ? "CompiledWasm" : "ESModule",
    // A wrapper stands beside what it wraps.
    path: path.join(from, path.basename(file)),
    contents: readFileSync(file),
  });
  const files = readdirSync(from).filter((name) => /\.(js|wasm)$/.test(name));
  // The first is the entry.
  files.sort((a, b) => (b === "index.js") - (a === "index.js"));
  const paths = files.map((name) => path.join(from, name));
  return {
    modules: (wrapper ? [wrapper, ...paths] : paths).map(module),
    modulesRoot: from,
    compatibilityDate: "2026-04-01",
    compatibilityFlags: ["enable_request_signal"],
    kvNamespaces: ["KV"],
    durableObjects: {
      POOL: { className: "PoolObject", useSQLite: true },
      EGRESS: { className: "EgressObject", useSQLite: true },
    },
    // Straight to the Worker: miniflare's own front door rewrites URLs.
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
    ...options,
  };
}
