// update-keys, as somebody runs it who has only what was published.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { CANARY, key } from "./stand.mjs";
import { dist } from "./workerd.mjs";

// A copy of what is published, and an npx that notes what it was asked.
function published(act) {
  const folder = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
  try {
    cpSync(dist, folder, { recursive: true });
    const bin = path.join(folder, "bin");
    cpSync(path.join(import.meta.dirname, "npx.sh"), path.join(bin, "npx"));
    chmodSync(path.join(bin, "npx"), 0o755);
    const run = (...options) => {
      const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH}` };
      const { status, stdout, stderr } = spawnSync("sh", [path.join(folder, "update-keys.sh"), ...options], { env, encoding: "utf8" });
      assert.ok(!(stdout + stderr).includes(CANARY), "a key was shown");
      return { status, said: stdout + stderr };
    };
    const write = (text) => writeFileSync(path.join(folder, "gemini-keys.json"), text);
    const asked = () => {
      const note = path.join(folder, "asked");
      return existsSync(note) ? readFileSync(note, "utf8").trim() : "";
    };
    act({ run, write, asked, folder });
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
    assert.match(run().said, /still has the examples/);
    assert.equal(asked(), "");
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
