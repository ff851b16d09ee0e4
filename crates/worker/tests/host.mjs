// Runs one built Worker on workerd until standard input ends.
//
//   node host.mjs DIST '{"bindings": {…}, "kv": {…}}'
//
// Says its base URL in the first line it writes. What the Worker logs follows.

import { Log, LogLevel, Miniflare } from "miniflare";
import { worker } from "./workerd.mjs";

const [from, given] = process.argv.slice(2);
const { bindings = {}, kv = {} } = JSON.parse(given);

const miniflare = new Miniflare(worker({ from, bindings, log: new Log(LogLevel.ERROR) }));

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
