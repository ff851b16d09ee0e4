// The scenarios, for every library alike: each runs directly at the emulator first, with one
// healthy key, and what the library made of that is what it must make of the relay's answer.
//
// An adapter has `unary(model, prompt)` and `stream(model, prompt)`, which give what the library
// made of the answer, `hangUp(model, prompt)`, which reads the beginning of a stream and leaves,
// and `describe(error)`, the class, status and message of that library's exception. Retries
// inside the libraries are off: an error that the library would hide must be seen.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { HANG_UP_MS, shared, start } from "./harness.js";

const { models, pool_keys: poolKeys, many: load } = shared;

export function scenarios(name, Adapter) {
  describe(name, () => {
    let stack, direct, relay, stranger;

    before(async () => {
      stack = await start();
      direct = new Adapter(stack.direct);
      relay = new Adapter(stack.relay);
      stranger = new Adapter(stack.stranger);
    });

    after(async () => {
      assert.deepEqual((await stack?.stop()) ?? [], []);
    });

    it("gives the same answer", async () => {
      await stack.configure("healthy");
      const expected = await direct.unary(models.healthy, "[[echo]] one answer");
      assert.match(expected.chunks[0], /one answer/);
      assert.deepEqual(await relay.unary(models.healthy, "[[echo]] one answer"), expected);
    });

    it("gives the same stream, chunk by chunk", async () => {
      await stack.configure("healthy");
      const expected = await direct.stream(models.healthy, "[[chunks:7]] a stream");
      assert.ok(expected.chunks.length >= 7);
      assert.deepEqual(await relay.stream(models.healthy, "[[chunks:7]] a stream"), expected);
    });

    it("gives each of many at once its own", async () => {
      await stack.configure("healthy");
      await sameForMany(models.healthy);
    });

    it("hangs up upstream within a second of its client", async () => {
      await stack.configure("healthy");
      const prompt = (how) => `[[chunks:50]] [[delay:200ms]] hang up ${how}`;
      const expected = await direct.hangUp(models.healthy, prompt("directly"));
      const own = await stack.msUntilCancelled("hang up directly", 8000);
      assert.ok(own !== undefined, "the library did not hang up on the emulator itself");
      assert.deepEqual(await relay.hangUp(models.healthy, prompt("through the relay")), expected);
      const seen = await stack.msUntilCancelled("hang up through the relay", own + HANG_UP_MS);
      assert.ok(seen !== undefined, `upstream was not hung up on; directly it took ${own} ms`);
    });

    it("does not see a key running dry", async () => {
      await stack.configure("dry");
      await sameForMany(models.dry);
      if (!stack.fresh) return;
      for (const key of poolKeys.slice(0, 2)) {
        const answered = await stack.answered(key);
        assert.ok(answered[200] === 1 && answered[429] >= 1, JSON.stringify(answered));
      }
    });

    it("does not see a dead key", async () => {
      await stack.configure("dead");
      await sameForMany(models.dead);
      if (!stack.fresh) return;
      const answered = await stack.answered(poolKeys.at(-1));
      // Each of those at once may have met it before the first answer came back; nobody later.
      assert.ok(answered[400] >= 1 && answered[400] <= load.at_once && !answered[200], JSON.stringify(answered));
    });

    for (const how of ["unary", "stream"]) {
      it(`throws its own error for a client's own mistake (${how})`, async () => {
        await stack.configure("healthy");
        await stack.fault({ error: "invalid_argument" });
        const expected = await failure(direct, how, models.healthy);
        assert.equal(expected.status, 400);
        assert.deepEqual(await failure(relay, how, models.healthy), expected);
        // It cost no key anything: all of them go on.
        await stack.clearFaults();
        await sameForMany(models.healthy);
      });

      it(`throws its own error for a model that is not there (${how})`, async () => {
        await stack.configure("healthy");
        const expected = await failure(direct, how, models.missing);
        assert.equal(expected.status, 404);
        assert.deepEqual(await failure(relay, how, models.missing), expected);
      });

      it(`throws its own error for a wrong token, which costs no key (${how})`, async () => {
        // Of a wrong key Google says 400, of what is no key at all 401, as the relay does of a wrong token.
        await stack.configure("healthy");
        await stack.fault({ error: "expected_oauth" });
        const expected = await failure(direct, how, models.healthy);
        assert.equal(expected.status, 401);
        await stack.configure("healthy");
        const refused = await failure(stranger, how, models.healthy);
        assert.deepEqual([refused.class, refused.status], [expected.class, 401]);
        assert.deepEqual(await stack.received(), []);
      });

      it(`throws its own error when the pool has run dry (${how})`, async () => {
        await stack.configure("exhausted");
        const expected = await untilRefused(direct, how);
        const refused = await untilRefused(relay, how);
        assert.deepEqual([refused.class, refused.status], [expected.class, 429]);
        assert.equal(expected.status, 429);
        assert.match(refused.message, /Please retry in /);
        for (const key of poolKeys) assert.ok(!JSON.stringify(refused).includes(key));
        // Nobody is refused while a project has room: each served what it had. One key is dead.
        if (stack.fresh && how === "unary") {
          assert.deepEqual([expected.served, refused.served], [1, poolKeys.length - 1]);
        }
      });
    }

    async function sameForMany(model) {
      const expected = await many(direct, model);
      assert.deepEqual(await many(relay, model), expected);
    }
  });
}

/** Twenty requests, every second one streaming, a few at once: what each of them got. */
async function many(adapter, model) {
  const answers = [];
  let next = 0;
  const worker = async () => {
    while (next < load.requests) {
      const number = next++;
      answers[number] = await adapter[number % 2 ? "stream" : "unary"](model, `[[echo]] number ${number}`);
    }
  };
  await Promise.all(Array.from({ length: load.at_once }, worker));
  return answers;
}

async function failure(adapter, how, model) {
  try {
    await adapter[how](model, "a request that fails");
  } catch (error) {
    return adapter.describe(error);
  }
  assert.fail("no error was thrown");
}

/** Asks until an error comes, and tells how many answers came before it. */
async function untilRefused(adapter, how) {
  for (let served = 0; served < poolKeys.length + 2; served++) {
    try {
      await adapter[how](models.exhausted, "until none is left");
    } catch (error) {
      return { served, ...adapter.describe(error) };
    }
  }
  assert.fail("no answer was refused");
}
