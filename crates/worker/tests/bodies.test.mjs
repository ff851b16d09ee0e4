// What is held of bodies, and for how long.

import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { keyList, on, quota, served, until } from "./stand.mjs";
import { dist } from "./workerd.mjs";

test("large bodies that Google has and thinks about take no retry from a small one", () => {
  const thinking = [];
  let refused = null;
  const google = (shown, request, body) => {
    if (body.length > 1_000_000) return (response) => thinking.push(response);
    refused ??= shown;
    return shown === refused ? quota(30) : undefined;
  };
  // Four that are held would fill it.
  const bindings = { GEMINI_RELAY_REPLAY_LIMIT: "1MB", GEMINI_RELAY_REPLAY_TOTAL: "4MB" };
  return on({ google, bindings, kv: { GEMINI_API_KEYS_CONFIG: keyList(4) } }, async (one) => {
    const picture = { inlineData: { mimeType: "image/png", data: "A".repeat(3_000_000) } };
    const body = JSON.stringify({ contents: [{ role: "user", parts: [picture] }] });
    const large = [];
    for (let at = 1; at <= 6; at += 1) {
      large.push(one.ask({ body }));
      await until(() => thinking.length === at, "at Google");
    }
    const small = await one.ask();
    assert.deepEqual([small.status, small.headers.get("x-gemini-relay-attempts")], [200, "2"]);
    for (const response of thinking) response.end(JSON.stringify(served));
    for (const answer of await Promise.all(large)) {
      assert.equal(answer.status, 200);
      await answer.text();
    }
    const { lines } = await one.look();
    const all = lines.filter((line) => line.includes(`received=${body.length} `));
    assert.equal(all.length, 6, lines.join("\n"));
  });
});

test("what is held of a body that passes through is given back when nobody takes it any more", async () => {
  const { gather } = await import(pathToFileURL(path.resolve(dist, "body.js")));
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)) });
  const request = new Request("https://relay.example", { method: "POST", body: endless, duplex: "half" });
  const passing = await gather(request, 2500, 0);
  let given = 0;
  const stream = passing.next((bytes) => (given += bytes));
  assert.deepEqual([passing.kept, given], [3000, 0]);
  await stream.cancel();
  assert.equal(given, 3000);
});
