// Runs a libtest executable compiled for wasm32-unknown-unknown: `node wasm-runner.mjs FILE.wasm`.
// That target has no output and cannot unwind, so a failed test is a trap: its stack names the test.
import { readFile } from "node:fs/promises";

const module = await WebAssembly.compile(await readFile(process.argv[2]));
const imports = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  throw new Error(`core imports ${from}.${name}: it must need nothing`);
}
const { exports } = await WebAssembly.instantiate(module, imports);
try {
  const status = exports.main(0, 0);
  if (status !== 0) throw new Error(`the tests ended with status ${status}`);
} catch (error) {
  const frames = String(error.stack).split("\n").filter((line) => /gemini_relay_core/.test(line));
  console.error(`a test failed on wasm32: ${error.message}\n${frames.join("\n") || error.stack}`);
  process.exit(1);
}
