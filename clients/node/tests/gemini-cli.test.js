// gemini-cli through the same scenarios as the libraries, with fewer requests: each is a process
// of its own. It repeats some refusals by itself, but neither of those that it must not see here:
// a day's quota and an invalid key are both final to it.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { GeminiCli, makeHome } from "../adapters/gemini-cli.js";
import { HANG_UP_MS, shared, start } from "../harness.js";

const { models, pool_keys: poolKeys } = shared;
const AT_ONCE = 2;

describe("gemini-cli", () => {
  let stack, home, direct, relay, stranger;

  before(async () => {
    stack = await start();
    home = makeHome();
    direct = new GeminiCli(stack.direct, home.home);
    relay = new GeminiCli(stack.relay, home.home);
    stranger = new GeminiCli(stack.stranger, home.home);
  });

  after(async () => {
    home?.remove();
    assert.deepEqual((await stack?.stop()) ?? [], []);
  });

  it("gives the same answer", async () => {
    await stack.configure("healthy");
    const expected = await direct.unary(models.healthy, "one answer");
    assert.ok(expected.chunks[0].length > 0);
    assert.deepEqual(await relay.unary(models.healthy, "one answer"), expected);
  });

  it("gives the same stream, chunk by chunk", async () => {
    await stack.configure("healthy");
    const expected = await direct.stream(models.healthy, "[[chunks:7]] a stream");
    assert.ok(expected.chunks.length >= 7);
    assert.deepEqual(await relay.stream(models.healthy, "[[chunks:7]] a stream"), expected);
  });

  it("gives each of several at once its own", async () => {
    await stack.configure("healthy");
    const prompts = [1, 2, 3].map((n) => `[[chunks:${n + 2}]] number ${n}`);
    const all = (adapter) => several(prompts, (prompt) => adapter.stream(models.healthy, prompt));
    const expected = await all(direct);
    assert.deepEqual(await all(relay), expected);
  });

  it("hangs up upstream within a second of its being killed", async () => {
    await stack.configure("healthy");
    const prompt = (how) => `[[chunks:50]] [[delay:200ms]] hang up ${how}`;
    const expected = await direct.hangUp(models.healthy, prompt("directly"));
    const own = await stack.msUntilCancelled("hang up directly", 8000);
    assert.ok(own !== undefined, "it did not hang up on the emulator itself");
    assert.deepEqual(await relay.hangUp(models.healthy, prompt("through the relay")), expected);
    const seen = await stack.msUntilCancelled("hang up through the relay", own + HANG_UP_MS);
    assert.ok(seen !== undefined, `upstream was not hung up on; directly it took ${own} ms`);
  });

  it("does not see a key running dry", async () => {
    await stack.configure("dry");
    await sameForAll(models.dry, poolKeys.length + 2);
    if (!stack.fresh) return;
    const answered = await stack.answered(poolKeys[1]);
    // The day's quota is the one it would give up at.
    assert.ok(answered[200] === 1 && answered[429] >= 1, JSON.stringify(answered));
  });

  it("does not see a dead key", async () => {
    await stack.configure("dead");
    await sameForAll(models.dead, poolKeys.length + 1);
    if (!stack.fresh) return;
    const answered = await stack.answered(poolKeys.at(-1));
    assert.ok(answered[400] >= 1 && answered[400] <= AT_ONCE && !answered[200], JSON.stringify(answered));
  });

  it("ends with its own error for a client's own mistake", async () => {
    await stack.configure("healthy");
    await stack.fault({ error: "invalid_argument" });
    const expected = await failure(direct, models.healthy);
    assert.deepEqual(await failure(relay, models.healthy), expected);
    await stack.clearFaults();
    await sameForAll(models.healthy, 1);
  });

  it("ends with its own error for a model that is not there", async () => {
    await stack.configure("healthy");
    const expected = await failure(direct, models.missing);
    assert.deepEqual(await failure(relay, models.missing), expected);
  });

  it("ends with its own error for a wrong token, which costs no key", async () => {
    await stack.configure("healthy");
    assert.equal((await failure(stranger, models.healthy)).code, 401);
    assert.deepEqual(await stack.received(), []);
  });

  it("ends with its own error when the pool has run dry", async () => {
    await stack.configure("exhausted");
    const [expected, refused] = [await untilRefused(direct), await untilRefused(relay)];
    assert.deepEqual([refused.exit, refused.class, refused.code], [expected.exit, expected.class, 429]);
    for (const key of poolKeys) assert.ok(!refused.message.includes(key));
    // Nobody is refused while a project has room: each served what it had. One key is dead.
    if (stack.fresh) assert.deepEqual([expected.served, refused.served], [1, poolKeys.length - 1]);
  });

  /** So many prompts through the relay, each with the outcome of the direct one. */
  async function sameForAll(model, count) {
    const prompt = "the same for all";
    const expected = await direct.unary(model, prompt);
    const got = await several(Array(count).fill(prompt), (p) => relay.unary(model, p));
    assert.deepEqual(got, Array(count).fill(expected));
  }
});

async function several(prompts, run) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < prompts.length) {
      const number = next++;
      results[number] = await run(prompts[number]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

async function failure(adapter, model) {
  try {
    await adapter.unary(model, "a request that fails");
  } catch (error) {
    return adapter.describe(error);
  }
  assert.fail("it did not fail");
}

async function untilRefused(adapter) {
  for (let served = 0; served < poolKeys.length + 2; served++) {
    try {
      await adapter.unary(models.exhausted, "until none is left");
    } catch (error) {
      return { served, ...adapter.describe(error) };
    }
  }
  assert.fail("no prompt was refused");
}
