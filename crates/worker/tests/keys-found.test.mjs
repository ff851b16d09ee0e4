// Where keys come from, and what becomes of them when KV is slow, full for the day, or holds something broken.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { googleKey, key, keyList, on, outcome, until } from "./stand.mjs";

// Bytes by themselves: miniflare takes no view into more of them.
const exactly = (buffer) => new Uint8Array(buffer).buffer;

const secret = { GEMINI_API_KEYS: `${key(7)}, ${key(8)}` };

for (const how of ["throws", "hangs"]) {
  test(`keys of the secret are used when KV ${how}`, () =>
    on({ kv: {}, bindings: secret }, async (one) => {
      // Before the first request: the object reads its keys when it is made.
      await one.look(`kv=${how}`);
      for (let at = 0; at < 4; at += 1) {
        const { status, text } = await outcome(one.base, { limit: 15_000 });
        assert.equal(status, 200, text);
      }
      assert.deepEqual(Object.keys(one.used()).sort(), [key(7), key(8)]);
    }));
}

test("KV is listed no oftener than a day's free lists last", () =>
  on({ kv: {}, bindings: secret }, async (one) => {
    for (let minute = 0; minute < 25; minute += 1) {
      assert.equal((await one.ask()).status, 200);
      await one.look("ahead=60000");
    }
    // A thousand a day are one in 86 seconds.
    const { lists } = await one.look();
    assert.ok(lists <= (25 * 60) / 86, `${lists} lists`);
  }));

for (const how of ["as it is", "deployed anew", "asked by short lives"]) {
  test(`first keys that are put as entries are found with the next list, the Worker ${how}`, async () => {
    const keep = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
    try {
      await on({ keep, kv: {} }, async (one) => {
        assert.equal((await one.ask()).status, 503);
        await one.namespace.put("first", googleKey(0));
        await one.namespace.put("second", googleKey(1));
        if (how === "deployed anew") await one.restart();
        for (let at = 0; at < 10 && how === "asked by short lives"; at += 1) {
          await one.look("evict&ahead=9000");
          await one.ask();
        }
        await one.look("ahead=101000");
        await until(async () => (await one.ask()).status === 200);
        assert.ok((await one.look()).lists <= 3);
      });
    } finally {
      rmSync(keep, { recursive: true });
    }
  });
}

for (const [what, entries] of [
  ["that there are none", {}],
  ["of entries", { first: googleKey(0), second: googleKey(1) }],
]) {
  // Such an object has lives of some ten seconds; each of them listed, and each isolate.
  test(`what is listed ${what} outlasts the object and is told to isolates`, async () => {
    const keep = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
    try {
      await on({ keep, kv: entries, bindings: secret }, async (one) => {
        const used = async () => {
          one.asked.length = 0;
          for (let at = 0; at < 8; at += 1) assert.equal((await one.ask()).status, 200);
          return Object.keys(one.used()).sort();
        };
        const keys = [...Object.values(entries), key(7), key(8)];
        assert.deepEqual(await used(), keys);
        const { reads } = await one.look();
        for (let at = 0; at < 10; at += 1) {
          await one.look("evict");
          for (let again = 0; again < 2; again += 1) assert.equal((await one.ask()).status, 200);
        }
        const looked = await one.look();
        assert.deepEqual([looked.lists, looked.evicted, looked.reads - reads], [1, 10, 10]);
        // Another isolate, on a day whose lists are used up.
        await one.restart();
        await one.look("kv=no-lists");
        assert.deepEqual(await used(), keys);
        assert.equal((await one.look()).lists, 0);
        await one.look("ahead=3600000");
        assert.deepEqual(await used(), keys);
        assert.ok((await one.look()).lists > 0);
      });
    } finally {
      rmSync(keep, { recursive: true });
    }
  });
}

test("keys of entries are found while the object is away", () =>
  on({ kv: { first: googleKey(0), second: googleKey(1) } }, async (one) => {
    await one.look("away");
    for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(one.used(), { [googleKey(0)]: 2, [googleKey(1)]: 2 });
  }));

test("keys of entries are found while the object is slow", () =>
  on({ kv: { first: googleKey(0), second: googleKey(1) } }, async (one) => {
    await one.look("slow=20000");
    const { status, text } = await outcome(one.base);
    assert.equal(status, 200, text);
  }));

test("a day whose lists are used up is met once in a hundred seconds, not by each request", () =>
  on({ kv: { first: googleKey(0) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.look("kv=no-lists&ahead=101000");
    for (let at = 0; at < 10; at += 1) {
      assert.equal((await one.ask()).status, 200);
      await one.look("ahead=3000");
    }
    assert.equal((await one.look()).lists, 2);
  }));

test("a list that never ends is given up, and the next one is another", () =>
  on({ kv: { first: googleKey(0) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.look("kv=hangs-lists&ahead=101000");
    assert.equal((await one.ask()).status, 200);
    await until(async () => (await one.look()).lists > 1);
    await one.look("kv=");
    await one.namespace.put("second", googleKey(1));
    await until(async () => {
      await one.look("ahead=10000");
      assert.equal((await one.ask()).status, 200);
      return one.used()[googleKey(1)] > 0;
    });
  }));

test("entries are kept no longer than there is no one list", () =>
  on({ kv: { first: googleKey(0) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    assert.equal((await one.look("keeps")).keeps, true);
    await one.namespace.put("GEMINI_API_KEYS_CONFIG", keyList(2));
    await one.look("ahead=60000");
    await until(async () => {
      await one.ask();
      return !(await one.look("keeps")).keeps;
    });
    // And the other way round.
    await one.namespace.delete("GEMINI_API_KEYS_CONFIG");
    await one.look("ahead=60000");
    await until(async () => {
      one.asked.length = 0;
      for (let at = 0; at < 3; at += 1) assert.equal((await one.ask()).status, 200);
      return one.used()[googleKey(0)] === 3;
    });
  }));

test("KV that is out for the day is not asked every five seconds", () =>
  on({ kv: {}, bindings: secret }, async (one) => {
    await one.look("kv=throws");
    for (let at = 0; at < 60; at += 1) {
      assert.equal((await one.ask()).status, 200);
      await one.look("ahead=5000");
    }
    const { reads } = await one.look();
    assert.ok(reads <= 20, `${reads} reads`);
  }));

test("a changed entry is taken up when a list is due for all, whoever read when", () =>
  on({ kv: { first: googleKey(0) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    // Both the isolate and the object read the one list that is not there, and would in fifty seconds again.
    await one.look("ahead=90000");
    assert.equal((await one.ask()).status, 200);
    await one.namespace.put("second", googleKey(1));
    await one.look("ahead=12000");
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return one.used()[googleKey(1)] > 0;
    });
    // One list took it up, the object's and the isolate's.
    assert.equal((await one.look()).lists, 2);
  }));

test("a list that breaks takes no key away, with a secret beside it too", () =>
  on({ bindings: { GEMINI_API_KEYS: key(7) } }, async (one) => {
    const before = [key(0), key(1), key(2), key(7)];
    for (let at = 0; at < 8; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(Object.keys(one.used()).sort(), before);
    await one.namespace.put("GEMINI_API_KEYS_CONFIG", keyList(3).slice(0, -1));
    await one.look("ahead=120000");
    await until(async () => {
      await one.ask();
      return (await one.look()).lines.some((line) => line.includes("GEMINI_API_KEYS_CONFIG: line 1"));
    });
    one.asked.length = 0;
    for (let at = 0; at < 8; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(Object.keys(one.used()).sort(), before);
  }));

test("an entry that breaks takes no key away", () =>
  on({ kv: { first: googleKey(0), second: `["${googleKey(1)}"]` } }, async (one) => {
    for (let at = 0; at < 4; at += 1) await one.ask();
    await one.namespace.put("second", `["${googleKey(1)}"`);
    await one.look("ahead=180000");
    await until(async () => {
      await one.ask();
      return (await one.look()).lines.some((line) => line.includes('KV entry "second"'));
    });
    one.asked.length = 0;
    for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(one.used(), { [googleKey(0)]: 2, [googleKey(1)]: 2 });
  }));

// The original Worker kept its place in the rotation beside the keys. It was taken for a broken list, for ever.
const others = {
  GEMINI_KEY_ROTATION_STATE: '{"currentIndex":3}',
  STATE: '{"keys":[1,2]}',
  THEMES: '["dark-mode","light-mode"]',
  TOKEN: "s3ss10n-secret-of-another-app",
  UPDATED: "2026-11-23T12:00:00.000Z",
};

test("what others keep beside the keys goes nowhere, stands in the way of no change, and is named", () =>
  on({ kv: { first: googleKey(0), second: googleKey(1), ...others } }, async (one) => {
    for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(one.used(), { [googleKey(0)]: 2, [googleKey(1)]: 2 });
    await one.namespace.delete("first");
    await one.namespace.put("third", googleKey(2));
    await until(async () => {
      await one.look("ahead=110000");
      one.asked.length = 0;
      for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
      return one.used()[googleKey(1)] === 2 && one.used()[googleKey(2)] === 2;
    });
    assert.ok((await one.look()).lines.some((line) => line.includes('KV entry "GEMINI_KEY_ROTATION_STATE"')));
  }));

for (const [what, text] of [
  ["a log, a JSON a line,", `{"t":1,"k":"${googleKey(50)}"}\n{"t":2}`],
  ["a log's line", `[2026-11-23T12:00:00Z] GET /maps?key=${googleKey(50)} 200`],
  ["a settings file", `{apiKey: "${googleKey(50)}"}`],
]) {
  test(`a key in ${what} of another app stands in the way of no change`, () =>
    on({ kv: { first: googleKey(0), second: googleKey(1), "zz-app": text } }, async (one) => {
      for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
      await one.namespace.put("third", googleKey(2));
      await one.namespace.delete("first");
      await until(async () => {
        await one.look("ahead=101000");
        one.asked.length = 0;
        for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
        return one.used()[googleKey(1)] === 2 && one.used()[googleKey(2)] === 2;
      });
    }));
}

test("pages of another app that have a key in them are not kept, and KV is listed no oftener for them", async () => {
  const keep = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
  try {
    const page = `<script src="https://maps.example/js?key=${googleKey(60)}"></script>`.padEnd(60_000, "x");
    const pages = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`page-${at}`, page]));
    await on({ keep, kv: { first: googleKey(0), ...pages } }, async (one) => {
      assert.equal((await one.ask()).status, 200);
      for (let life = 0; life < 9; life += 1) {
        await one.look("evict&ahead=10000");
        for (let at = 0; at < 2; at += 1) assert.equal((await one.ask()).status, 200);
      }
      const { lists, lines } = await one.look();
      assert.equal(lists, 1);
      assert.ok(!lines.some((line) => line.includes("cannot be written down")));
    });
  } finally {
    rmSync(keep, { recursive: true });
  }
});

test("a hundred lists of many keys each are kept as far as they may be, and it is said", () => {
  const list = JSON.stringify(Array.from({ length: 1000 }, (_, at) => googleKey(at)));
  const lists = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`list-${at}`, list]));
  return on({ kv: lists }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    const { keeps, lines } = await one.look("keeps");
    assert.ok(keeps && !lines.some((line) => line.includes("cannot be written down")));
    assert.ok(lines.some((line) => /WARN.*more entries/.test(line)));
  });
});

test("another app's small entries push no key out, and are read so seldom that a day's reads last", () => {
  const kv = Object.fromEntries(Array.from({ length: 6 }, (_, at) => [`key-${at}`, googleKey(at)]));
  for (let at = 0; at < 250; at += 1) kv[`cache-${at}`] = "17";
  return on({ kv }, async (one) => {
    for (let at = 0; at < 12; at += 1) assert.equal((await one.ask()).status, 200);
    assert.equal(Object.keys(one.used()).length, 6);
    assert.ok(!(await one.look()).lines.some((line) => line.includes("more entries")));
    await one.look("ahead=200000");
    await one.ask();
    assert.equal((await one.look()).lists, 1);
    await one.namespace.put("key-7", googleKey(7));
    await one.look("ahead=57000");
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return one.used()[googleKey(7)] > 0;
    });
  });
});

test("what others keep may be more than comes with one request, and is not kept", () => {
  const large = Object.fromEntries([12, 4, 12].map((millions, at) => [`large-${at}`, "x ".repeat(millions * 1e6)]));
  return on({ kv: { first: googleKey(0), ...large, second: googleKey(1) } }, async (one) => {
    for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(one.used(), { [googleKey(0)]: 2, [googleKey(1)]: 2 });
    const { keeps, lines, reads } = await one.look("keeps");
    assert.ok(keeps && !lines.some((line) => line.includes("cannot be written down")), lines.join("\n"));
    assert.ok(reads <= 12, `${reads} reads`);
  });
});

for (const how of ["there", "away"]) {
  test(`keys in UTF-16 take no more requests than others, the object being ${how}`, () => {
    const pictures = Array.from({ length: 30 }, (_, at) => [`a-picture-${at}`, exactly(Buffer.from([0, 0xff, 0xd8, at]))]);
    const keys = Array.from({ length: 60 }, (_, at) => [`key-${at}`, exactly(Buffer.from(`\ufeff${googleKey(at)}\r\n`, "utf16le"))]);
    return on({ kv: Object.fromEntries([...pictures, ...keys]) }, async (one) => {
      await one.look(how);
      for (let at = 0; at < 60; at += 1) assert.equal((await one.ask()).status, 200);
      assert.equal(Object.keys(one.used()).length, 60);
      assert.ok((await one.look()).reads <= 4);
    });
  });
}

// By itself an isolate has fewer requests to spare than the object, and took what it could read for all there was.
test("no key goes away with the object while some entries take more requests than an isolate may make", () => {
  const large = Object.fromEntries([20, 20, 20, 20].map((millions, at) => [`key-${at}-large`, "x".repeat(millions * 1e6)]));
  const keys = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`key-${at}`, googleKey(at)]));
  return on({ kv: { ...keys, ...large } }, async (one) => {
    const used = async () => {
      one.asked.length = 0;
      for (let at = 0; at < 16; at += 1) assert.equal((await one.ask()).status, 200);
      return Object.keys(one.used()).length;
    };
    assert.equal(await used(), 8);
    const { lists } = await one.look("away&ahead=101000");
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return (await one.look("away")).lists > lists;
    });
    await until(async () => (await one.look("away")).lines.some((line) => /WARN.*cannot all be read/.test(line)));
    assert.equal(await used(), 8);
  });
});

// Each of these is read twice: in UTF-16, and more than a key alone.
const odd = (at) => exactly(Buffer.from(`\ufeff[{"label": "khóa ${at}", "value": "${googleKey(at)}"}]`, "utf16le"));

test("the object, too, tells what it read before while it cannot read all", async () => {
  const keep = mkdtempSync(path.join(tmpdir(), "gemini-relay-"));
  try {
    const kv = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`key-${at}`, odd(at)]));
    await on({ keep, kv }, async (one) => {
      const used = async () => {
        one.asked.length = 0;
        for (let at = 0; at < 16; at += 1) assert.equal((await one.ask()).status, 200);
        return Object.keys(one.used()).sort();
      };
      const keys = Array.from({ length: 8 }, (_, at) => googleKey(at));
      assert.deepEqual(await used(), keys);
      // Their names come first, and they are as many as can be read.
      for (let at = 10; at < 55; at += 1) await one.namespace.put(`a-${at}`, odd(at));
      await one.look("ahead=101000");
      await until(async () => {
        assert.equal((await one.ask()).status, 200);
        return (await one.look()).lines.some((line) => /WARN.*cannot all be read/.test(line));
      });
      assert.deepEqual(await used(), keys);
      await one.restart();
      assert.deepEqual(await used(), keys);
      assert.equal((await one.look()).lists, 0, "what was read is kept");
    });
  } finally {
    rmSync(keep, { recursive: true });
  }
});

test("first keys are used though there are more entries than can be read", () =>
  on({ kv: {} }, async (one) => {
    assert.equal((await one.ask()).status, 503);
    for (let at = 10; at < 55; at += 1) await one.namespace.put(`a-${at}`, odd(at));
    await until(async () => {
      await one.look("ahead=101000");
      return (await one.ask()).status === 200;
    });
  }));

test("a key that is also a client token is never sent to Google", () =>
  on({ bindings: { GEMINI_RELAY_TOKENS: `alice=${key(0)}` } }, async (one) => {
    for (let at = 0; at < 4; at += 1) assert.equal((await one.ask({ headers: { "x-goog-api-key": key(0) } })).status, 200);
    assert.deepEqual(one.used(), { [key(1)]: 2, [key(2)]: 2 });
    assert.ok((await one.look()).lines.some((line) => /WARN.*client token alice/.test(line)));
  }));

test("keys that were all taken away are still used, and it is said", () =>
  on({ kv: { GEMINI_API_KEYS_CONFIG: keyList(1) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.namespace.delete("GEMINI_API_KEYS_CONFIG");
    await one.look("ahead=60000");
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return (await one.look()).lines.some((line) => line.includes("read before are still used"));
    });
    assert.ok(!(await one.look()).lines.some((line) => line.includes("there are no keys")));
  }));

test("more entries than are read are said in the log", () =>
  on({ kv: Object.fromEntries(Array.from({ length: 105 }, (_, at) => [`name-${at}`, googleKey(at)])) }, async (one) => {
    for (let at = 0; at < 200; at += 1) assert.equal((await one.ask()).status, 200);
    assert.equal(Object.keys(one.used()).length, 100);
    assert.ok((await one.look()).lines.some((line) => /WARN.*more entries/.test(line)));
  }));

// What PowerShell's `>` and Notepad's "Unicode" make.
for (const [coding, bytes] of [
  ["UTF-16LE with a mark", (text) => Buffer.from(`\ufeff${text}`, "utf16le")],
  ["UTF-16BE with a mark", (text) => Buffer.from(`\ufeff${text}`, "utf16le").swap16()],
  ["UTF-8 with a mark", (text) => Buffer.from(`\ufeff${text}`)],
]) {
  test(`a list in ${coding} is read`, () =>
    on({ kv: { GEMINI_API_KEYS_CONFIG: exactly(bytes(keyList(2))) } }, async (one) => {
      for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
      assert.deepEqual(one.used(), { [key(0)]: 2, [key(1)]: 2 });
    }));

  test(`an entry of one key in ${coding} is read`, () =>
    on({ kv: { first: googleKey(0), second: exactly(bytes(googleKey(1))) } }, async (one) => {
      for (let at = 0; at < 4; at += 1) assert.equal((await one.ask()).status, 200);
      assert.deepEqual(one.used(), { [googleKey(0)]: 2, [googleKey(1)]: 2 });
    }));
}

test("entries of a key each are read with one request for all", () =>
  on({ kv: Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`name-${at}`, googleKey(at)])) }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    const { reads, calls } = await one.look();
    // The one list that is not there, and the entries, for the isolate and for the object.
    assert.ok(reads <= 4, `${reads} reads`);
    // One for the request, one for the entries, which the object asks itself for too.
    assert.equal(calls, 3);
  }));

test("after a pause a request is sent with what is known, and the next with what was read meanwhile", () =>
  on({ kv: { GEMINI_API_KEYS_CONFIG: keyList(1) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.namespace.put("GEMINI_API_KEYS_CONFIG", JSON.stringify([key(5)]));
    await one.look(`ahead=${6 * 3600_000}`);
    const { reads } = await one.look();
    assert.equal((await one.ask()).status, 200);
    await until(async () => (await one.look()).reads === reads + 2);
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return one.asked.at(-1).key === key(5);
    });
    assert.ok(one.asked.length <= 5, `${one.asked.length} requests`);
  }));

test("once keys are known no request waits for KV", () =>
  on({}, async (one) => {
    assert.equal((await one.ask()).status, 200);
    for (let at = 0; at < 3; at += 1) {
      await one.look("kv=hangs&ahead=120000");
      const { status, took } = await outcome(one.base);
      assert.equal(status, 200);
      assert.ok(took < 450, `${took} ms`);
    }
  }));

// Nor for a new life of the object, which knows none, longer than KV usually takes.
test("a new life of the object whose KV hangs is not waited for as long as one that does not answer", () =>
  on({}, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.look("kv=hangs&evict");
    assert.equal((await one.ask()).status, 200);
    const { status, took } = await outcome(one.base);
    assert.equal(status, 200);
    assert.ok(took < 950, `${took} ms`);
  }));
