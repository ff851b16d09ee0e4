// update-keys, as somebody runs it who has only what was published.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { CANARY, key, on } from "./stand.mjs";
import { dist } from "./workerd.mjs";

// A copy of what is published, and an npx that notes what it was asked.
async function published(act) {
  const folder = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
  try {
    cpSync(dist, folder, { recursive: true });
    const bin = path.join(folder, "bin");
    cpSync(path.join(import.meta.dirname, "npx.sh"), path.join(bin, "npx"));
    chmodSync(path.join(bin, "npx"), 0o755);
    const runWith = (more, program, ...words) => {
      const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH}`, ...more };
      const { status, stdout, stderr } = spawnSync(program, words, { env, encoding: "utf8" });
      assert.ok(!(stdout + stderr).includes(CANARY), "a key was shown");
      return { status, said: stdout + stderr };
    };
    const run = (...options) => runWith({}, "sh", path.join(folder, "update-keys.sh"), ...options);
    const write = (text) => writeFileSync(path.join(folder, "gemini-keys.json"), text);
    const asked = () => {
      const note = path.join(folder, "asked");
      return existsSync(note) ? readFileSync(note, "utf8").trim() : "";
    };
    await act({ run, runWith, write, asked, folder });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("without a list the example is put there, and nothing is sent", () =>
  published(({ run, asked, folder }) => {
    const first = run();
    assert.equal(first.status, 1);
    assert.match(first.said, /gemini-keys\.json was not there and is now/);
    assert.ok(existsSync(path.join(folder, "gemini-keys.json")));
    if (process.platform !== "win32") assert.equal(statSync(path.join(folder, "gemini-keys.json")).mode & 0o777, 0o600);
    assert.match(run().said, /still has the examples/);
    assert.equal(asked(), "");
  }));

test("without a list and without an example it is said what to write", () =>
  published(({ run, folder }) => {
    rmSync(path.join(folder, "gemini-keys.json.example"));
    const { status, said } = run();
    assert.equal(status, 1);
    assert.match(said, /^update-keys: there is no gemini-keys\.json, .*write \["KEY"/);
  }));

test("a list that cannot be read is told where, and not sent", () =>
  published(({ run, write, asked }) => {
    for (const [text, said] of [
      [`["${key(0)}",\n]`, /line 2/],
      [`[{"value": "${key(0)}", "proiect": "a"}]`, /line 1.*"project" was meant/],
      ["[]", /no keys/],
    ]) {
      write(text);
      const { status, said: words } = run();
      assert.equal(status, 1);
      assert.match(words, said);
    }
    assert.equal(asked(), "");
  }));

test("a good list is put where the Worker looks for it", () =>
  published(({ run, write, asked }) => {
    write(`["${key(0)}"]`);
    assert.equal(run("--check").status, 0);
    assert.equal(asked(), "");
    assert.equal(run().status, 0);
    assert.equal(asked(), "--yes wrangler kv key put --binding KV GEMINI_API_KEYS_CONFIG --path gemini-keys.json --remote");
  }));

// It is put as it is, so the Worker must read the bytes that were found good here.
for (const [coding, encode] of [
  ["UTF-16, as PowerShell writes it", (text) => Buffer.from(`\ufeff${text}`, "utf16le")],
  ["UTF-16 without a mark", (text) => Buffer.from(text, "utf16le")],
  ["UTF-8 with a mark, as Notepad writes it", (text) => Buffer.from(`\ufeff${text}`)],
]) {
  test(`what was put of a list in ${coding} is what the Worker reads`, () =>
    published(async ({ run, write, asked, folder }) => {
      write(encode(`["${key(0)}", "${key(1)}"]`));
      const { status, said } = run();
      assert.equal(status, 0, said);
      const [, name] = asked().match(/--path (\S+)/);
      const put = new Uint8Array(readFileSync(path.join(folder, name))).buffer;
      await on({ kv: { GEMINI_API_KEYS_CONFIG: put } }, async (one) => {
        for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
        assert.deepEqual(one.used(), { [key(0)]: 2, [key(1)]: 2 });
      });
    }));
}

test("without npx it says what to install, and not to log in", () =>
  published(({ runWith, write, folder }) => {
    write(`["${key(0)}"]`);
    const bin = path.join(folder, "bin");
    rmSync(path.join(bin, "npx"));
    const { status, said } = runWith({ PATH: bin }, process.execPath, path.join(folder, "update-keys.mjs"));
    assert.equal(status, 1);
    assert.match(said, /npx/);
    assert.doesNotMatch(said, /wrangler login/);
  }));

test("a folder whose name has a space and a percent sign is found", () =>
  published(({ runWith, write, folder }) => {
    const odd = path.join(folder, "with 100%25 space");
    mkdirSync(odd);
    for (const name of readdirSync(folder)) {
      if (name !== path.basename(odd)) cpSync(path.join(folder, name), path.join(odd, name), { recursive: true });
    }
    writeFileSync(path.join(odd, "gemini-keys.json"), `["${key(0)}"]`);
    write("none");
    // As on a Node before 20.11, which has no `import.meta.dirname`.
    const script = path.join(odd, "update-keys.mjs");
    writeFileSync(script, readFileSync(script, "utf8").replaceAll("import.meta.dirname", "undefined"));
    const { status, said } = runWith({}, process.execPath, script, "--check");
    assert.equal(status, 0, said);
  }));
