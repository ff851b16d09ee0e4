// Where requests go out from, when Google does not serve the place where the Worker runs. What comes through an
// egress object has its region in `x-region`, which only these tests set.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crowd, hangUp, nowhere, on, outcome, until } from "./stand.mjs";

const regions = { GEMINI_RELAY_EGRESS_REGION: "wnam, weur" };
const servedIn = (...served) => (_, { headers }) => (served.includes(headers["x-region"]) ? undefined : nowhere);
const went = (one) => one.asked.map(({ headers }) => headers["x-region"] ?? "here");

// Each moved the others on once: whoever was refused in the first region found the second "tried already".
for (const served of ["wnam", "weur"]) {
  test(`twenty at once are all served when only ${served} is, and nobody sees a refusal`, () =>
    on({ google: servedIn(served), bindings: regions }, async (one) => {
      await crowd(40, 20, async () => assert.equal((await one.ask()).status, 200));
      one.asked.length = 0;
      await crowd(10, 5, async () => assert.equal((await one.ask()).status, 200));
      assert.deepEqual([...new Set(went(one))], [served], "it is remembered");
    }));
}

test("when no region serves, the refusal is passed on after each was asked once", () =>
  on({ google: servedIn(), bindings: regions }, async (one) => {
    assert.equal((await one.ask()).status, 400);
    assert.deepEqual(went(one), ["here", "wnam", "weur"]);
  }));

test("a body that cannot be sent again tells the next one to go elsewhere", () =>
  on({ google: servedIn("wnam"), bindings: { ...regions, GEMINI_RELAY_REPLAY_LIMIT: "10KB" } }, async (one) => {
    const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "word ".repeat(20_000) }] }] });
    const first = await outcome(one.base, { body });
    assert.deepEqual([first.status, first.headers["x-gemini-relay-reason"]], [400, "body-past-replay-limit"]);
    assert.equal((await outcome(one.base, { body })).status, 200);
    assert.deepEqual(went(one), ["here", "wnam"]);
    assert.ok(one.asked.every(({ length }) => length === body.length));
  }));

test("what is given up on the way through a region is let go upstream", () => {
  const google = (asked, { headers }) => (headers["x-region"] ? () => {} : nowhere);
  return on({ google, bindings: { ...regions, GEMINI_RELAY_FIRST_BYTE_TIMEOUT: "2s" } }, async (one) => {
    await hangUp(one.base, { how: "rst", after: 700 });
    await until(() => one.asked.at(-1).letGo, "whoever leaves ends it");
    const before = one.asked.length;
    assert.equal((await outcome(one.base)).status, 504);
    await until(() => one.asked.slice(before).every(({ letGo }) => letGo), "silence ends it");
  });
});
