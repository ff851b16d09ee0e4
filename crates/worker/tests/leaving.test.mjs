// A client that goes away: what is done for it ends, the log says so, and what was kept for it is given back. It
// leaves by FIN, as a program that is closed, or by RST, as one that crashed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crowd, drip, hangUp, key, on, outcome, pause, quota, STREAM, until } from "./stand.mjs";

const silence = () => {};
const big = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "w".repeat(90_000) }] }] });
const cancelled = (lines) => lines.filter((line) => line.includes("ending=cancelled")).length;

// What workerd's own HTTP server does not tell a Worker, whatever `ctx.waitUntil` holds open (tried: ten of each, with and
// without it): a FIN in a stream ends everything of that request, upstream with it, without `cancel` or `abort`, so there
// is no line; a FIN in silence is not seen before there is something to send, so nothing is asserted of that one; and a
// client that leaves with its first byte is told of about every other time. A RST is told of, but for that.
test("a client that leaves in silence by rst ends it upstream, with a line in the log", () =>
  on({ google: () => silence }, async (one) => {
    await hangUp(one.base, { how: "rst", after: 500 });
    await until(() => one.asked[0].letGo, "upstream is let go");
    await until(async () => cancelled((await one.look()).lines) === 1, "the line");
    const line = (await one.look()).lines.find((line) => line.includes("ending=cancelled"));
    assert.match(line, /key=key_0 attempts=1 /, "it says whom it was asked of");
  }));

for (const how of ["fin", "rst"]) {
  test(`a client that leaves a stream by ${how} ends it upstream${how === "rst" ? ", with a line in the log" : ""}`, () =>
    on({ google: () => drip() }, async (one) => {
      await hangUp(one.base, { path: STREAM, how, after: 700 });
      await until(() => one.asked[0].letGo, "upstream is let go");
      if (how === "rst") await until(async () => cancelled((await one.look()).lines) === 1, "the line");
    }));

  test(`bodies of clients that left by ${how} are given back`, () => {
    // The pool of kept bodies has room for eleven of these.
    let streams = true;
    let refused = false;
    const google = () => {
      if (streams) return drip();
      if (refused) return undefined;
      refused = true;
      return quota(600);
    };
    const bindings = { GEMINI_RELAY_REPLAY_TOTAL: "1MB", GEMINI_RELAY_MAX_WAIT: "0" };
    return on({ google, bindings }, async (one) => {
      await crowd(14, 7, () => hangUp(one.base, { path: STREAM, body: big, how }));
      await crowd(14, 7, () => hangUp(one.base, { path: STREAM, body: big, sent: 50_000, how, after: 300 }));
      streams = false;
      const { status, headers } = await outcome(one.base, { body: big });
      assert.equal(status, 200);
      assert.equal(headers["x-gemini-relay-attempts"], "2", "its body was kept");
    });
  });
}

test("a client that leaves while it waits is not sent again", () =>
  on({ google: () => quota(3), bindings: { GEMINI_RELAY_MAX_WAIT: "30s" } }, async (one) => {
    await hangUp(one.base, { how: "rst", after: 1000 });
    const before = one.asked.length;
    await pause(4500);
    assert.equal(one.asked.length, before);
    assert.equal(cancelled((await one.look()).lines), 1);
  }));

// Handles were given again once: when a client left while its plan was awaited, the next request got its handle, and
// then the first one's body under its own path and key. It takes a report that waits, which keeps the context of the
// one who left alive.
test("one client's body is never sent as another's request", () => {
  let learned = false;
  const google = (shown) => {
    if (shown !== key(1) || learned) return undefined;
    learned = true;
    return quota(600);
  };
  return on({ google }, async (one) => {
    while (!learned) await one.ask();
    one.asked.length = 0;
    await one.look("slow=3000");
    // Its timer must have rung when the one leaves, or nothing keeps that context.
    await pause(500);
    const said = (who) => JSON.stringify({ contents: [{ role: "user", parts: [{ text: `said by ${who}` }] }] });
    const ask = (who) => ({ path: `/v1beta/models/made-up-${who}:generateContent`, body: said(who) });
    const staying = async () => {
      await pause(800);
      assert.equal((await outcome(one.base, { ...ask("b"), headers: { "x-who": "b" } })).status, 200);
    };
    await Promise.all([hangUp(one.base, { ...ask("a"), headers: "x-who: a\r\n", how: "rst", after: 700 }), staying()]);
    // Long enough for what was left of the first one to come back from the object.
    await pause(1500);
    const went = one.asked.map(({ url, headers, body }) => [url, headers["x-who"], String(body)]);
    assert.deepEqual(went, [[ask("b").path, "b", said("b")]], "the one who stayed, once, and nobody who left");
  });
});
