// What is the Worker's own and has no file of its own. What every relay must do is in the native
// relay's conformance scenarios, which are run against the Worker too.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { CANARY, crowd, dead, googleKey, key, keyList, nowhere, on, outcome, quota, stand, until } from "./stand.mjs";

test("a disabled key is tried by one request after a quarter of an hour, by one after an hour, and then it is back", () => {
  let isDead = true;
  const google = (shown) => (shown === key(1) && isDead ? dead : undefined);
  return on({ google }, async (one) => {
    const crowded = () => crowd(60, 20, async () => assert.equal((await one.ask()).status, 200));
    for (let at = 0; at < 3; at += 1) assert.equal((await one.ask()).status, 200);
    await crowded();
    assert.equal(one.used()[key(1)], 1);
    await one.look(`ahead=${15 * 60_000 + 1000}`);
    await crowded();
    assert.equal(one.used()[key(1)], 2, "nobody but one found out");
    await one.look(`ahead=${15 * 60_000 + 1000}`);
    await crowded();
    assert.equal(one.used()[key(1)], 2, "the next time is in an hour");
    isDead = false;
    await one.look(`ahead=${60 * 60_000}`);
    await crowded();
    // What was found out is with the pool object after one more request.
    const before = one.used()[key(1)];
    await crowded();
    assert.ok(one.used()[key(1)] - before >= 19, JSON.stringify(one.used()));
  });
});

test("a Worker that is started again knows who is out and whose turn it is", async () => {
  const google = (shown) => ({ [key(1)]: quota(600), [key(2)]: dead })[shown];
  const keep = mkdtempSync(path.join(tmpdir(), "gemini-relay-worker-"));
  try {
    await on({ google, keep, kv: { GEMINI_API_KEYS_CONFIG: keyList(5) } }, async (one) => {
      for (let at = 0; at < 7; at += 1) assert.equal((await one.ask()).status, 200);
      assert.deepEqual([one.used()[key(1)], one.used()[key(2)]], [1, 1]);
      await one.look("save");
      const before = one.asked.length;
      await one.restart();
      for (let at = 0; at < 6; at += 1) assert.equal((await one.ask()).status, 200);
      // Three are left, in the order in which they were before.
      const served = one.asked.map(({ key }) => key).filter((shown) => google(shown) === undefined);
      assert.equal(one.asked.length, before + 6, "nobody was asked in vain");
      for (let at = 5; at < served.length; at += 1) assert.equal(served[at], served[at - 3], `request ${at}: ${served}`);
    });
  } finally {
    rmSync(keep, { recursive: true });
  }
});

test("a Worker without client tokens refuses and explains, and asks nobody", () =>
  on({ bindings: { GEMINI_RELAY_ALLOW_ANONYMOUS: "off" } }, async (one) => {
    const answer = await one.ask();
    assert.equal(answer.status, 503);
    const { error } = await answer.json();
    assert.match(error.message, /GEMINI_RELAY_TOKENS/);
    assert.match(error.message, /GEMINI_RELAY_ALLOW_ANONYMOUS/);
    assert.equal((await fetch(`${one.base}/-/healthy`)).status, 200);
    assert.equal(one.asked.length, 0);
  }));

test("keys are found as one list, as an entry each, and in a secret", async () => {
  const entries = { first: googleKey(0), second: googleKey(1), "old-index": "17" };
  for (const [options, count] of [
    [{ kv: { GEMINI_API_KEYS_CONFIG: keyList(2) } }, 2],
    [{ kv: { GEMINI_API_KEYS_CONFIG: `${key(0)}\n${key(1)}\n` } }, 2],
    [{ kv: entries }, 2],
    [{ kv: {}, bindings: { GEMINI_API_KEYS: `${key(0)}, ${key(1)}, ${key(2)}` } }, 3],
  ]) {
    await on(options, async (one) => {
      for (let at = 0; at < 6; at += 1) assert.equal((await one.ask()).status, 200);
      assert.equal(Object.keys(one.used()).length, count);
      assert.ok(Object.values(one.used()).every((used) => used === 6 / count));
    });
  }
});

test("settings that wrangler.toml has without quotes count, and the log's level is for all lines", () => {
  const dead = [400, { error: { code: 400, message: "API key not valid. Please pass a valid API key.", status: "INVALID_ARGUMENT" } }];
  const bindings = { GEMINI_RELAY_ATTEMPTS: 1, GEMINI_RELAY_RESPONSE_HEADERS: true, GEMINI_RELAY_LOG_LEVEL: "error" };
  return on({ google: () => dead, bindings }, async (one) => {
    const answer = await one.ask();
    assert.equal(answer.headers.get("x-gemini-relay-attempts"), "1");
    assert.equal(one.asked.length, 1);
    assert.deepEqual((await one.look()).lines, []);
  });
});

const token = (shown) => ({ headers: { "x-goog-api-key": shown } });

// `alice = "…"` under [vars.GEMINI_RELAY_TOKENS], and `name = "alice"`, `secret = "…"` under [[vars.GEMINI_RELAY_TOKENS]].
for (const [what, tokens] of [
  ["table", { alice: "made-up-secret-1" }],
  ["list", [{ name: "alice", secret: "made-up-secret-1" }]],
]) {
  test(`a ${what} of tokens is names and secrets, and nobody else is let in`, () => {
    const bindings = { GEMINI_RELAY_TOKENS: tokens, GEMINI_RELAY_MAX_WAIT: { a: 1 }, GEMINI_RELAY_ALLOW_ANONYMOUS: "on" };
    return on({ bindings }, async (one) => {
      assert.equal((await one.ask()).status, 401);
      assert.equal((await one.ask(token("alice"))).status, 401);
      assert.equal((await one.ask(token("made-up-secret-1"))).status, 200);
      assert.ok((await one.look()).lines.some((line) => line.includes("GEMINI_RELAY_MAX_WAIT")));
    });
  });
}

test("a table that makes no token lets nobody in, and it is said", () =>
  on({ bindings: { GEMINI_RELAY_TOKENS: { alice: null } } }, async (one) => {
    for (const shown of ["null", "alice"]) assert.equal((await one.ask(token(shown))).status, 503);
    assert.ok((await one.look()).lines.some((line) => /WARN.*GEMINI_RELAY_TOKENS.*nobody is let in/.test(line)));
  }));

test("tokens under a name in small letters leave nobody's door open", () =>
  on({ bindings: { gemini_relay_tokens: "alice=made-up-and-long-1", GEMINI_RELAY_ALLOW_ANONYMOUS: "on" } }, async (one) => {
    assert.equal((await one.ask()).status, 503);
    assert.ok((await one.look()).lines.some((line) => /WARN.*gemini_relay_tokens.*GEMINI_RELAY_TOKENS/.test(line)));
  }));

test("a key under a native name is noticed, and the setting to use is named", () =>
  on({ bindings: { GEMINI_API_KEY: key(7) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    assert.equal(one.used()[key(7)], undefined);
    assert.ok((await one.look()).lines.some((line) => /WARN.* GEMINI_API_KEY .*GEMINI_API_KEYS/.test(line)));
  }));

test("a host's name that makes no sense does not let in whoever uses another", () =>
  on({ bindings: { GEMINI_RELAY_ALLOW_HOST: "https://relay.example" } }, async (one) => {
    const { status } = await outcome(one.base, { headers: { host: "stranger.example" } });
    assert.equal(status, 503);
    assert.ok((await one.look()).lines.some((line) => /WARN.*GEMINI_RELAY_ALLOW_HOST.*nobody is let in/.test(line)));
  }));

test("keys may be a variable that is a list", () =>
  on({ bindings: { GEMINI_API_KEYS: [{ value: key(7) }, key(8)] }, kv: {} }, async (one) => {
    for (let at = 0; at < 2; at += 1) assert.equal((await one.ask()).status, 200);
    assert.deepEqual(Object.keys(one.used()).sort(), [key(7), key(8)]);
  }));

test("a changed list is taken up within two minutes, and a broken one takes no key away", () =>
  on({ kv: { GEMINI_API_KEYS_CONFIG: keyList(1) } }, async (one) => {
    assert.equal((await one.ask()).status, 200);
    await one.namespace.put("GEMINI_API_KEYS_CONFIG", keyList(2));
    await one.look("ahead=60000");
    await until(async () => {
      await one.ask();
      return one.used()[key(1)] > 0;
    });
    await one.namespace.put("GEMINI_API_KEYS_CONFIG", `["${key(1)}",`);
    await one.look("ahead=60000");
    await until(async () => {
      assert.equal((await one.ask()).status, 200);
      return (await one.look()).lines.some((line) => line.includes("GEMINI_API_KEYS_CONFIG: line 1"));
    });
    assert.equal((await one.ask()).status, 200);
  }));

test("where Google does not serve this place requests go out from another, and no key is blamed", () => {
  // Whoever comes through the object is told apart by nothing on the wire: the first answer is the only refusal.
  let refused = 0;
  const google = () => (refused++ === 0 ? nowhere : undefined);
  return on({ google, bindings: { GEMINI_RELAY_EGRESS_REGION: "wnam, weur" } }, async (one) => {
    for (let at = 0; at < 3; at += 1) {
      const answer = await one.ask();
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get("x-gemini-relay-attempts"), "1");
    }
    assert.equal((await one.look()).egress.length, 3);
    assert.equal(one.asked[0].key, one.asked[1].key, "the same key was asked again");
  });
});

test("without a region the refusal of the place is passed on as it came", () => {
  return on({ google: () => nowhere }, async (one) => {
    const answer = await one.ask();
    assert.equal(answer.status, 400);
    assert.deepEqual(await answer.json(), nowhere[1]);
    assert.equal(one.asked.length, 1);
    assert.ok((await one.look()).lines.some((line) => line.includes("GEMINI_RELAY_EGRESS_REGION")));
  });
});

test("a suspended key, which Google quotes, is in no answer and no line of the log", () => {
  const google = (shown) => [403, { error: { code: 403, message: `Permission denied: Consumer 'api_key:${shown}' has been suspended.`, status: "PERMISSION_DENIED", details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "CONSUMER_SUSPENDED", metadata: { containerInfo: shown } }] } }];
  return on({ google }, async (one) => {
    for (let at = 0; at < 2; at += 1) {
      const answer = await one.ask();
      const text = [...answer.headers].join("\n") + (await answer.text());
      assert.equal(answer.status, 503);
      assert.ok(!text.includes(CANARY), text);
    }
    assert.equal(one.asked.length, 3);
  });
});

test("a body past the replay limit goes through once, whole, and is not tried again", () =>
  on({ google: (shown) => (shown === key(0) ? quota(60) : undefined), bindings: { GEMINI_RELAY_REPLAY_LIMIT: "10KB" } }, async (one) => {
    const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "word ".repeat(20_000) }] }] });
    const answer = await one.ask({ body });
    assert.equal(answer.status, 429);
    assert.equal(answer.headers.get("x-gemini-relay-reason"), "body-past-replay-limit");
    assert.deepEqual(one.asked.map(({ length }) => length), [body.length]);
    assert.equal((await one.ask({ body })).status, 200);
    assert.equal(one.asked[1].length, body.length);
  }));

test("a client's address and what Cloudflare says of it are not passed on", () =>
  on({}, async (one) => {
    await one.ask({ headers: { "content-type": "application/json", "cf-connecting-ip": "192.0.2.7", "x-forwarded-for": "192.0.2.7", "x-of-the-client": "1" } });
    const { headers } = one.asked[0];
    assert.ok(!JSON.stringify(headers).includes("192.0.2.7"));
    assert.equal(headers["x-of-the-client"], "1");
  }));

test("a listed web page gets the CORS headers with every answer, another none", () =>
  on({ bindings: { GEMINI_RELAY_ALLOW_ORIGIN: "https://app.example" } }, async (one) => {
    const from = (origin) => ({ headers: { "content-type": "application/json", origin } });
    const answer = await one.ask(from("https://app.example"));
    assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example");
    const foreign = await one.ask(from("https://elsewhere.example"));
    assert.equal(foreign.status, 403);
    assert.equal(foreign.headers.get("access-control-allow-origin"), null);
  }));

test("of a small answer that is no text only the key is changed", () => {
  const about = (shown) => Buffer.concat([Buffer.from([0xff, 0xfe, 0, 10, 10]), Buffer.from(shown), Buffer.from([0xff, 0xe9])]);
  const google = (shown) => (response) => response.writeHead(200, { "content-length": about(shown).length }).end(about(shown));
  return on({ google }, async (one) => {
    const answer = await one.ask();
    const body = Buffer.from(await answer.arrayBuffer());
    assert.deepEqual(body, about("*".repeat(key(0).length)));
  });
});

test("two Workers that point at each other are found out after one round", async () => {
  let rounds = 0;
  const between = createServer((came, response) => {
    rounds += 1;
    const { hostname, port } = new URL(rounds % 2 === 1 ? other.base : one.base);
    const passed = request({ hostname, port, path: came.url, method: came.method, headers: came.rawHeaders, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    if (rounds > 8) return response.writeHead(200).end("{}");
    came.pipe(passed.on("error", () => response.destroy()));
  });
  await new Promise((resolve) => between.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${between.address().port}`;
  const one = await stand({ bindings: { GEMINI_RELAY_UPSTREAM: url } });
  // Its mark is another's, since its upstream is.
  const other = await stand({ bindings: { GEMINI_RELAY_UPSTREAM: `${url}/other` } });
  try {
    assert.equal((await one.ask()).status, 508);
    assert.equal(rounds, 2);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
    between.closeAllConnections();
    between.close();
  }
});

test("a WebSocket is handed over with the pool's key and without the client's", async () => {
  const heads = [];
  const upgrade = (request, socket) => {
    heads.push({ url: request.url, headers: request.headers });
    import("node:crypto").then(({ createHash }) => {
      const accept = createHash("sha1")
        .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest("base64");
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      // One unmasked text frame.
      socket.write(Buffer.from([0x81, 2, 0x68, 0x69]));
    });
  };
  await on({ upgrade }, async (one) => {
    const { default: WebSocket } = await import("ws");
    const url = `${one.base.replace("http", "ws")}//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=of-the-client`;
    const socket = new WebSocket(url);
    const said = await new Promise((resolve, reject) => {
      socket.on("message", (data) => resolve(String(data)));
      socket.on("error", reject);
    });
    socket.terminate();
    assert.equal(said, "hi");
    assert.equal(heads[0].headers["x-goog-api-key"], key(0));
    assert.ok(!heads[0].url.includes("of-the-client"));
  });
});
