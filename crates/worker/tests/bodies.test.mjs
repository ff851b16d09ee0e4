// What is held of bodies, and for how long.

import assert from "node:assert/strict";
import { connect } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { CALL, HELLO, keyList, on, outcome, pause, quota, served, until } from "./stand.mjs";
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

// A body of `length` bytes, or of what does not say how many, of which `size` come.
function sent({ length, size }) {
  let left = size;
  const body = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const { byobRequest: asked } = controller;
      const piece = Math.min(asked.view.length, left, 1000);
      left -= piece;
      if (piece === 0) controller.close();
      asked.respond(piece);
    },
  });
  return { method: "POST", body, arrayBuffer: async () => new ArrayBuffer(size), headers: new Headers(length ? { "content-length": String(length) } : {}) };
}

async function gathered(request, limit, shown, room = () => true) {
  const { gather } = await import(pathToFileURL(path.resolve(dist, "body.js")));
  return gather(request, limit, shown, 1000, room);
}

test("a body is held up to its limit and as far as there is room", async () => {
  for (const [length, size, limit, room, held, whole] of [
    [10_000, 10_000, 10_000, Infinity, 10_000, true],
    [undefined, 10_000, 12_000, Infinity, 10_000, true],
    [300, 300, 500, 0, 300, true],
    // Only what is looked into is waited for.
    [900_000, 900_000, 500_000, Infinity, 250_000, false],
    [undefined, 900_000, 500_000, Infinity, 500_000, false],
    [undefined, 900_000, 500_000, 40_000, 32_768, false],
    [100_000, 100_000, 500_000, 40_000, 32_768, false],
  ]) {
    let asked = Math.min(4096, size);
    const body = await gathered(sent({ length, size }), limit, 250_000, (bytes) => bytes <= room && (asked = bytes) > 0);
    assert.deepEqual([body.kept, body.whole], [held, whole], `${length} ${size} ${limit} ${room}`);
    assert.equal(body.shown.length, Math.min(held, 250_000));
    assert.ok(asked >= Math.min(held, 4096) && asked <= 2 * size);
  }
  assert.deepEqual((await gathered(sent({ size: 5 }), 100, 0)).bytes, new Uint8Array(5));
  const none = await gathered(sent({ size: 0 }), 100, 100);
  assert.deepEqual([none.kept, none.whole, none.next()], [0, true, null]);
});

test("what is held of a body that passes through is given back when nobody takes it any more", async () => {
  const passing = await gathered(sent({ size: Infinity }), 2500, 0);
  let given = 0;
  const stream = passing.next((bytes) => (given += bytes));
  assert.deepEqual([passing.kept, given], [3000, 0]);
  await stream.cancel();
  assert.equal(given, 3000);
});

// A client that begins a body and goes on no more.
function begun(base, head, body, line = `POST ${CALL}`) {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  let came = "";
  socket.on("error", () => {}).on("data", (piece) => (came += piece));
  socket.write(`${line} HTTP/1.1\r\nhost: relay.example\r\ncontent-type: application/json\r\n${head}\r\n\r\n${body}`);
  return { socket, came: () => came };
}

test("bodies that begin and never end take no retry from others", () => {
  let refused = null;
  const google = (shown) => {
    refused ??= shown;
    return shown === refused ? quota(30) : undefined;
  };
  return on({ google }, async (one) => {
    const sockets = [];
    for (let at = 0; at < 120; at += 1) {
      const head = at % 2 ? "transfer-encoding: chunked" : "content-length: 5100000";
      sockets.push(begun(one.base, head, at % 2 ? "1\r\n{\r\n" : "{").socket);
    }
    await pause(1000);
    for (const size of [100, 100_000]) {
      refused = null;
      const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "w".repeat(size) }] }] });
      const { status, headers } = await outcome(one.base, { body });
      assert.deepEqual([status, headers["x-gemini-relay-attempts"]], [200, "2"]);
    }
    for (const socket of sockets) socket.destroy();
  });
});

for (const [what, replay, head, body] of [
  ["a body of unsaid length that stops", "1MB", "transfer-encoding: chunked", "1\r\n{\r\n"],
  ["a body that stops before its end", "1MB", "content-length: 100", "{"],
  ["a large body that stops before its end", "1MB", "content-length: 100000", "{"],
  ["a body that stops on its way to Google", "0", "content-length: 100", "{"],
]) {
  test(`${what} is answered with 408`, () =>
    on({ bindings: { GEMINI_RELAY_BODY_TIMEOUT: "500ms", GEMINI_RELAY_REPLAY_LIMIT: replay } }, async (one) => {
      const { socket, came } = begun(one.base, head, body);
      await until(() => came().includes("DEADLINE_EXCEEDED"), "the answer");
      assert.match(came(), /^HTTP\/1\.1 408 [^]*x-gemini-relay-reason: body-timeout/i);
      assert.ok((await one.look()).lines.some((line) => /status=408 reason=body-timeout/.test(line)));
      socket.destroy();
      assert.equal((await one.ask()).status, 200);
      assert.equal(one.asked.length, 1);
    }));
}

for (const method of ["GET", "HEAD"]) {
  test(`${method} goes out without the body that it has`, () =>
    on({}, async (one) => {
      for (const [head, body] of [["content-length: 2", "{}"], ["transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"]]) {
        const { socket, came } = begun(one.base, head, body, `${method} /v1beta/models`);
        await until(() => came() !== "", "the answer");
        assert.match(came(), /^HTTP\/1\.1 200 [^]*x-gemini-relay-attempts: 1/i);
        socket.destroy();
      }
      assert.deepEqual(one.asked.map(({ length }) => length), [0, 0]);
    }));
}

test("a slow body has its time", () =>
  on({ bindings: { GEMINI_RELAY_BODY_TIMEOUT: "700ms" } }, async (one) => {
    const slowly = async (asking, body) => {
      for (const letter of [body.slice(0, 1), body.slice(1, 2), body.slice(2, 3), body.slice(3)]) {
        asking.write(letter);
        await pause(400);
      }
      asking.end();
    };
    const body = HELLO.padEnd(5000);
    assert.equal((await outcome(one.base, { body, act: slowly })).status, 200);
  }));

test("a body of unsaid length is sent again as it came", () => {
  let refused = null;
  const google = (shown) => {
    refused ??= shown;
    return shown === refused ? quota(30) : undefined;
  };
  // Each size costs a key.
  return on({ google, kv: { GEMINI_API_KEYS_CONFIG: keyList(6) } }, async (one) => {
    for (const size of [10, 4096, 100_000]) {
      refused = null;
      one.asked.length = 0;
      const text = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "w".repeat(size) }] }] }).slice(0, size);
      const { status } = await one.ask({ body: new Blob([text]).stream(), duplex: "half" });
      assert.deepEqual([status, one.asked.map(({ body }) => String(body) === text)], [200, [true, true]], `${size}`);
    }
  });
});
