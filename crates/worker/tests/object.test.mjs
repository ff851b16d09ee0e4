// The pool object: how often it is asked, how even it makes the shares, and what becomes of requests and of what
// is known when it is slow, dies, or cannot write.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crowd, dead, key, keyList, on, outcome, pause, quota, until } from "./stand.mjs";

const EVEN = 1000 / 3;

// Within one in a hundred of a share.
function even(one) {
  const shares = Object.values(one.used());
  assert.ok(shares.length === 3 && shares.every((count) => Math.abs(count - EVEN) <= EVEN / 100), JSON.stringify(one.used()));
}

const ok = (one) => async () => {
  const answer = await one.ask();
  assert.equal(answer.status, 200);
  await answer.arrayBuffer();
};

test("ten thousand requests are shared evenly, with one call of the object each and no write to KV", (context) =>
  on({}, async (one) => {
    await crowd(1000, 50, ok(one));
    even(one);
    await crowd(9000, 50, ok(one));
    const { calls, writes } = await one.look();
    context.diagnostic(`${calls} calls of the object, ${writes} writes to KV`);
    assert.ok(calls <= 12_000, `${calls} calls`);
    assert.equal(writes, 0);
  }));

test("half of the attempts refused, the object is called at most 1.2 times a request", (context) => {
  // Each other attempt, so that every request has something to tell.
  let attempts = 0;
  const google = () => (attempts++ % 2 === 0 ? quota(2) : undefined);
  return on({ google, kv: { GEMINI_API_KEYS_CONFIG: keyList(40) } }, async (one) => {
    await crowd(300, 50, ok(one));
    await pause(6000);
    const { calls, writes } = await one.look();
    context.diagnostic(`${calls / 300} calls of the object a request`);
    assert.ok(calls <= 360, `${calls} calls for 300 requests`);
    assert.equal(writes, 0);
  });
});

test("one who asks every 1.3 seconds, half of the attempts refused, makes at most 1.2 calls a request", (context) => {
  let attempts = 0;
  const google = () => (attempts++ % 2 === 0 ? quota(2) : undefined);
  return on({ google, kv: { GEMINI_API_KEYS_CONFIG: keyList(40) } }, async (one) => {
    await ok(one)();
    await pause(6000);
    const before = (await one.look()).calls;
    for (let at = 0; at < 16; at += 1) {
      await ok(one)();
      await pause(1300);
    }
    const calls = (await one.look()).calls - before;
    context.diagnostic(`${calls / 16} calls of the object a request`);
    assert.ok(calls <= 1.2 * 16, `${calls} calls for 16 requests`);
    // Each request had something to tell, so what the last one learned was told by itself.
    await pause(6000);
    assert.ok((await one.look()).calls - before > 16, "the last news were told");
  });
});

test("an object that dies again and again while it is asked loses no request, and turns stay even", (context) =>
  on({}, async (one) => {
    await crowd(1000, 50, async (at) => {
      // Fifty calls die with it, and an object that does not answer is not asked for a while: that has passed.
      if (at % 45 === 20) await one.look("evict&ahead=30000");
      await ok(one)();
    });
    const { evicted } = await one.look();
    context.diagnostic(`killed ${evicted} times`);
    assert.ok(evicted >= 20, `killed ${evicted} times`);
    assert.equal(one.asked.length, 1000);
    even(one);
  }));

test("an object that becomes slow while it is asked loses no request, and nobody waits for it", (context) =>
  on({}, async (one) => {
    const took = [];
    const timed = async () => {
      const begun = Date.now();
      await ok(one)();
      took.push(Date.now() - begun);
    };
    const crowding = crowd(1000, 50, timed);
    await until(() => one.asked.length >= 100);
    await one.look("slow=2000");
    await crowding;
    assert.equal(one.asked.length, 1000);
    const longest = Math.max(...took);
    context.diagnostic(`the longest took ${longest} ms`);
    assert.ok(longest < 2000, `${longest} ms`);
    await one.look("slow=0");
    await ok(one)();
  }));

test("an object that is out is called a few times, and not at each request that has something to tell", (context) => {
  let attempts = 0;
  const google = () => (attempts++ % 2 === 0 ? quota(2) : undefined);
  return on({ google, kv: { GEMINI_API_KEYS_CONFIG: keyList(40) } }, async (one) => {
    await one.look("away");
    const begun = Date.now();
    await crowd(300, 5, ok(one));
    const rounds = 1 + Math.floor((Date.now() - begun) / 10_000);
    const { calls } = await one.look("away");
    context.diagnostic(`${calls} calls of the object`);
    assert.ok(calls <= 20 * rounds, `${calls} calls for 300 requests`);
  });
});

test("an object that dies in between knows what it wrote down", () =>
  on({ google: (shown) => (shown === key(1) ? quota(600) : undefined) }, async (one) => {
    await crowd(6, 1, ok(one));
    assert.equal(one.used()[key(1)], 1);
    // The report goes with the next plan.
    await ok(one)();
    await one.look("save");
    await one.look("evict");
    await crowd(40, 10, ok(one));
    assert.equal(one.used()[key(1)], 1, "it was not asked again");
    assert.equal(one.asked.length, 48);
    assert.equal((await one.look()).evicted, 1);
  }));

// One failure ended all writing for good: the object went on believing that an alarm was set, and what it had taken
// out of its memory to be written was nowhere.
test("an alarm that cannot be set is set by the next request", () =>
  on({}, async (one) => {
    await one.look("alarms-fail=1");
    await ok(one)();
    await until(async () => (await one.look()).unset === 1);
    await ok(one)();
    // Some seconds later; that an alarm rang is not yet that it has written.
    await until(async () => (await one.look("rows")).rows.length > 0);
    const { rows, lines } = await one.look("rows");
    const ids = rows.map(({ id }) => id).filter((id) => !id.endsWith(" gemini"));
    assert.deepEqual(ids, ["turns"], "beside where keys were served");
    assert.ok(lines.some((line) => line.includes("no alarm can be set")));
  }));

test("a row that cannot be written keeps no other from it, and is written the next time", () =>
  on({ google: (shown) => (shown === key(1) ? quota(600) : undefined) }, async (one) => {
    await crowd(6, 1, ok(one));
    const all = (rows) => rows.map(({ id }) => id.replace(/^\w+ /, "")).sort();
    await one.look("rows-fail=1");
    await one.look("save");
    const { rows: first, lines, unwritten } = await one.look("rows");
    assert.equal(unwritten, 1);
    assert.ok(lines.some((line) => line.includes("cannot be written down")));
    await one.look("save");
    const { rows } = await one.look("rows");
    assert.equal(rows.length, first.length + 1, JSON.stringify(all(rows)));
    assert.ok(rows.some(({ id }) => id === "turns") && rows.some(({ text }) => text.includes("minute")), JSON.stringify(rows));
  }));

// Names of 10 KB made the row of turns too large to be written, and with it nothing was.
test("whatever models are called, what was learned outlasts the object", () =>
  on({ google: (shown, { url }) => (url.includes("made-up") ? [404, {}] : shown === key(1) ? quota(600) : undefined) }, async (one) => {
    await crowd(256, 8, (at) => outcome(one.base, { path: `/v1beta/models/${`made-up-${at}-`.padEnd(10_000, "m")}:generateContent` }));
    await crowd(6, 1, ok(one));
    await one.look("save");
    const { rows, lines } = await one.look("rows");
    assert.ok(rows.some(({ id }) => id === "turns") && rows.some(({ text }) => text.includes("minute")), JSON.stringify(lines.filter((line) => line.includes("cannot"))));
  }));

test("a mended key whose trial proved nothing is back a minute later", () => {
  let now = "dead";
  const google = (shown) => {
    if (shown !== key(1) || now === "well") return undefined;
    if (now === "dead") return dead;
    now = "well";
    return [503, { error: { code: 503, message: "The model is overloaded. Please try again later.", status: "UNAVAILABLE" } }];
  };
  return on({ google }, async (one) => {
    const six = () => crowd(6, 1, () => outcome(one.base));
    await six();
    await one.look(`ahead=${15 * 60_000 + 1000}`);
    now = "mended";
    await six();
    assert.equal(now, "well", "it was tried");
    // What came of it is told with later questions.
    await crowd(12, 1, () => outcome(one.base));
    await one.look("ahead=61000");
    one.asked.length = 0;
    await crowd(12, 1, () => outcome(one.base));
    assert.ok(one.used()[key(1)] > 2, JSON.stringify(one.used()));
  });
});
