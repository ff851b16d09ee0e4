// Limits hold in every phase of an answer, not only until its head: FIRST_BYTE_TIMEOUT until there is something
// to pass on, IDLE_TIMEOUT inside a stream. They held for the head alone once. And what is kept of bodies is bounded
// while they come in, not once they are here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { keyList, on, outcome, pause, quota, STREAM } from "./stand.mjs";

const limits = { GEMINI_RELAY_FIRST_BYTE_TIMEOUT: "1s", GEMINI_RELAY_IDLE_TIMEOUT: "1s", GEMINI_RELAY_MAX_WAIT: "0" };
const json = { "content-type": "application/json" };
const EVENT = 'data: {"candidates":[{"index":0}]}\r\n\r\n';

// What an upstream does that says something and then nothing more.
const begins = (status, headers, text) => (response) => {
  response.writeHead(status, headers);
  response.flushHeaders();
  if (text) response.write(text);
};

for (const [name, path, script, expected] of [
  ["an answer that never begins", undefined, () => {}, 504],
  ["an error whose body stalls", undefined, begins(429, { ...json, "content-length": 500 }, '{"error":'), 504],
  ["a small answer that stalls", undefined, begins(200, { ...json, "content-length": 500 }, '{"candidates":'), 504],
  ["a head and no byte", undefined, begins(200, json), 504],
  ["a stream's head and no event", STREAM, begins(200, { "content-type": "text/event-stream" }), 504],
  ["a stream's head and half an event", STREAM, begins(200, { "content-type": "text/event-stream" }, "data: {"), 504],
  ["a stream that falls silent", STREAM, begins(200, { "content-type": "text/event-stream" }, EVENT), "cut"],
]) {
  test(`${name} is over within the limit`, () =>
    on({ google: () => script, bindings: limits }, async (one) => {
      const { ending, status, took, headers } = await outcome(one.base, { path });
      if (expected === "cut") {
        // workerd's HTTP server ends a stream of unknown length cleanly though the Worker broke it: the log knows.
        assert.notEqual(ending, "hung");
        assert.equal(status, 200);
        await lines(one, /ending=cut/);
      } else {
        assert.deepEqual([ending, status], ["whole", expected]);
        assert.equal(headers["x-gemini-relay-reason"], "first-byte-timeout");
        await lines(one, /status=504/);
      }
      // One limit, and not one for each phase or attempt.
      assert.ok(took >= 900 && took < 2500, `${took} ms`);
      await letGo(one);
    }));
}

test("an error that breaks off does not pass for a whole one", () => {
  const said = '{"error":{"code":400,"message":"the parts of';
  const google = () => (response) => {
    response.writeHead(400, json);
    response.write(said, () => setTimeout(() => response.destroy(), 100));
  };
  return on({ google }, async (one) => {
    const { ending, status } = await outcome(one.base);
    // As above, workerd may end it cleanly.
    assert.notEqual(ending, "hung");
    assert.equal(status, 400);
    await lines(one, /status=400.*ending=cut/);
  });
});

test("an error that comes a byte at a time is over within the limit", () => {
  const google = () => async (response) => {
    response.writeHead(400, { ...json, "content-length": 500 });
    while (!response.destroyed) {
      response.write(" ");
      await pause(200);
    }
  };
  return on({ google, bindings: limits }, async (one) => {
    const { ending, status, took } = await outcome(one.base);
    assert.deepEqual([ending, status], ["whole", 504]);
    assert.ok(took < 2500, `${took} ms`);
    await letGo(one);
  });
});

for (const status of [600, 999]) {
  test(`status ${status}, which the runtime would not pass on, is a 502 of the relay's with a line in the log`, () => {
    const google = () => (response) => response.writeHead(status, json).end("{}");
    return on({ google, bindings: { ...limits, GEMINI_RELAY_ALLOW_ORIGIN: "https://app.example" } }, async (one) => {
      const { status, headers, text } = await outcome(one.base, { headers: { origin: "https://app.example" } });
      assert.equal(status, 502);
      assert.equal(headers["access-control-allow-origin"], "https://app.example");
      assert.ok(headers["x-gemini-relay-request-id"]);
      assert.equal(JSON.parse(text).error.code, 502);
      await lines(one, /INFO request id=.*status=502/);
    });
  });
}

test("bodies that come in at the same time keep to the limit for all of them", () => {
  // Whoever is here for the first time is refused: to be sent again its body must have been kept.
  const met = new Set();
  const google = (_, { headers }) => (met.has(headers["x-who"]) ? undefined : (met.add(headers["x-who"]), quota(600)));
  const bindings = { GEMINI_RELAY_REPLAY_LIMIT: "80KB", GEMINI_RELAY_REPLAY_TOTAL: "100KB", GEMINI_RELAY_MAX_WAIT: "0" };
  return on({ google, bindings, kv: { GEMINI_API_KEYS_CONFIG: keyList(30) } }, async (one) => {
    const text = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "w".repeat(75_000) }] }] });
    // Each begins, and all have begun before any goes on.
    let begun = 0;
    const slowly = (asking, body) => {
      asking.write(body.slice(0, 10));
      begun += 1;
      const rest = setInterval(() => {
        if (begun < 10) return;
        clearInterval(rest);
        setTimeout(() => asking.end(body.slice(10)), 500);
      }, 10);
    };
    const many = Array.from({ length: 10 }, (_, at) =>
      outcome(one.base, { body: text, headers: { "x-who": String(at) }, act: slowly }),
    );
    const came = await Promise.all(many);
    const [served, refused] = [200, 429].map((status) => came.filter((one) => one.status === status));
    assert.equal(served.length + refused.length, 10, JSON.stringify(came.map(({ status }) => status)));
    assert.ok(served.length <= 1, `${served.length} were kept`);
    for (const { headers } of refused) assert.equal(headers["x-gemini-relay-reason"], "body-past-replay-limit");
    assert.ok(one.asked.every(({ length }) => length === text.length), "all went through whole");
    // All of it was given back.
    met.clear();
    const { status } = await outcome(one.base, { body: text, headers: { "x-who": "later" } });
    assert.equal(status, 200);
  });
});

async function lines(one, what) {
  const { lines } = await one.look();
  assert.ok(lines.some((line) => what.test(line)), lines.join("\n"));
}

// Nothing is left open at the upstream.
async function letGo(one) {
  const begun = Date.now();
  while (!one.asked.every(({ letGo }) => letGo)) {
    assert.ok(Date.now() - begun < 2000, "the upstream was not let go");
    await pause(10);
  }
}
