// Puts gemini-keys.json into KV, where the Worker finds it within two minutes.
//
//   node update-keys.mjs [--check | --local]
//
// --check looks at the file and sends nothing; --local fills the KV of `wrangler dev`. The file is read by the
// very code that the Worker reads it with. No key is shown, whatever is wrong.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { as_text, initSync, wrong_with } from "./gemini_relay_worker.js";

// `import.meta.dirname` came with Node 20.11; a URL's path has %20 for a space, and /C:/ on Windows.
const here = path.dirname(fileURLToPath(import.meta.url));
const FILE = "gemini-keys.json";
const options = process.argv.slice(2);

function stop(why) {
  console.error(`update-keys: ${why}`);
  process.exit(1);
}

for (const option of options) {
  if (!["--check", "--local"].includes(option)) stop(`there is no option like that; use --check or --local`);
}
if (!existsSync(path.join(here, "wrangler.toml"))) stop("wrangler.toml is missing: run this in the folder that was published");
const file = path.join(here, FILE);
if (!existsSync(file)) {
  const example = path.join(here, `${FILE}.example`);
  if (!existsSync(example)) stop(`there is no ${FILE}, and no ${FILE}.example to begin with: write ["KEY", "KEY"] into ${FILE}`);
  // Keys will stand in it, which are nobody else's.
  writeFileSync(file, readFileSync(example), { mode: 0o600 });
  stop(`${FILE} was not there and is now, with examples in it: write your keys into it and run this again`);
}

initSync({ module: readFileSync(path.join(here, "gemini_relay_worker_bg.wasm")) });
const list = readFileSync(file);
const wrong = wrong_with(list);
if (wrong !== undefined) stop(`${FILE}: ${wrong}`);
if (as_text(list).includes("YOUR-KEY")) stop(`${FILE} still has the examples in it: write your keys in their place`);
console.log(`${FILE} can be read`);
if (options.includes("--check")) process.exit(0);

const where = options.includes("--local") ? "--local" : "--remote";
const put = ["--yes", "wrangler", "kv", "key", "put", "--binding", "KV", "GEMINI_API_KEYS_CONFIG", "--path", FILE, where];
const windows = process.platform === "win32";
const NO_NPX = "npx does not run: install Node 20 or newer from https://nodejs.org, which brings it";
// Windows runs npx.cmd by a shell only, and a shell that finds no program ends like a program that failed.
if (windows && spawnSync("where", ["npx.cmd"], { stdio: "ignore" }).status !== 0) stop(NO_NPX);
const { status, error } = spawnSync(windows ? "npx.cmd" : "npx", put, { cwd: here, stdio: "inherit", shell: windows });
if (error) stop(`${NO_NPX} (${error.code})`);
if (status !== 0) stop("wrangler did not take it: see above. Log in with `npx wrangler login`, and deploy once before the first keys");
console.log("the Worker has them within two minutes");
