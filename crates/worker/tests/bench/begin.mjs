// Says in milliseconds how long the script's WebAssembly takes to be compiled and started, in a process that has not
// seen it yet.

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [dist] = process.argv.slice(2);
const bytes = readFileSync(path.join(dist, "gemini_relay_worker_bg.wasm"));
const { initSync } = await import(pathToFileURL(path.join(dist, "gemini_relay_worker.js")));
const begun = performance.now();
initSync({ module: new WebAssembly.Module(bytes) });
process.stdout.write(String(performance.now() - begun));
