// A Worker to test on workerd, and a Google of the test's own behind it.

import assert from "node:assert/strict";
import { Log, LogLevel, Miniflare } from "miniflare";
import { createServer, request as send } from "node:http";
import { connect } from "node:net";
import path from "node:path";
import { worker } from "./workerd.mjs";

export const MODEL = "gemini-2.5-flash";
export const CALL = `/v1beta/models/${MODEL}:generateContent`;
export const STREAM = CALL.replace(":generateContent", ":streamGenerateContent?alt=sse");
export const HELLO = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "hello" }] }] });

// What every key of these tests begins with: it must be found in nothing that comes out.
export const CANARY = "made-up-key-of-a-canary";
export const key = (at) => `${CANARY}-${at}`;
// As the keys look that Google gives out, which entries of KV must.
export const googleKey = (at) => `AIza-${key(at)}`;
export const keyList = (count) =>
  JSON.stringify(Array.from({ length: count }, (_, at) => ({ value: key(at), project: `project-${at}` })));

export const served = {
  candidates: [{ content: { role: "model", parts: [{ text: "hi" }] }, finishReason: "STOP", index: 0 }],
  usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 },
};

// `google(key, request, body)` gives `[status, JSON]`, or a function that answers by itself, or nothing for an answer as
// it should be. With `keep`, a folder, what is stored outlasts a restart.
export async function stand({ google = () => undefined, bindings = {}, kv, upgrade, keep } = {}) {
  const asked = [];
  const server = createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const body = Buffer.concat(pieces);
      const shown = request.headers["x-goog-api-key"];
      const one = { key: shown, url: request.url, headers: request.headers, length: body.length, body, letGo: false };
      asked.push(one);
      response.on("close", () => (one.letGo = !response.writableFinished));
      const said = google(shown, request, body) ?? [200, served];
      if (typeof said === "function") return said(response);
      const [status, answer] = said;
      const text = JSON.stringify(answer);
      response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
      response.end(text);
    });
  });
  if (upgrade) server.on("upgrade", upgrade);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const upstream = `http://127.0.0.1:${server.address().port}`;

  const begin = async () => {
    const miniflare = new Miniflare(
      worker({
        wrapper: path.join(import.meta.dirname, "wrapped.js"),
        bindings: { GEMINI_RELAY_UPSTREAM: upstream, GEMINI_RELAY_ALLOW_ANONYMOUS: "on", ...bindings },
        defaultPersistRoot: keep,
        log: new Log(LogLevel.NONE),
      }),
    );
    await miniflare.ready;
    return { miniflare, base: (await miniflare.unsafeGetDirectURL()).origin };
  };
  let running = await begin();
  const namespace = await running.miniflare.getKVNamespace("KV");
  for (const [name, text] of Object.entries(kv ?? { GEMINI_API_KEYS_CONFIG: keyList(3) })) {
    await namespace.put(name, text);
  }
  return {
    get base() {
      return running.base;
    },
    asked,
    namespace,
    used: () => asked.reduce((counts, { key }) => ({ ...counts, [key]: (counts[key] ?? 0) + 1 }), {}),
    ask: (init = {}) =>
      fetch(running.base + CALL, { method: "POST", body: HELLO, headers: { "content-type": "application/json" }, ...init }),
    look: async (what = "") => (await fetch(`${running.base}/test?${what}`)).json(),
    // Ends workerd, and begins another.
    async restart() {
      await running.miniflare.dispose();
      running = await begin();
    },
    async stop() {
      await running.miniflare.dispose();
      server.closeAllConnections();
      server.close();
    },
  };
}

// The test that has a stand, and looks afterwards whether a key was logged.
export async function on(options, act) {
  const one = await stand(options);
  try {
    await act(one);
    const { lines } = await one.look();
    assert.ok(!lines.join("\n").includes(CANARY), "a key was logged");
  } finally {
    await one.stop();
  }
}

// Looks until it holds.
export async function until(holds, what = "it") {
  const begun = Date.now();
  while (!(await holds())) {
    assert.ok(Date.now() - begun < 20_000, `${what}: not in time`);
    await pause(10);
  }
}

export const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

// What becomes of a request, to the last byte or to the cut: `fetch` would not say how long it took to break.
export function outcome(base, { path: target = CALL, body = HELLO, headers = {}, limit = 10_000, act } = {}) {
  const begun = Date.now();
  return new Promise((resolve) => {
    let answer = null;
    let text = "";
    const done = (ending) => {
      clearTimeout(timer);
      const { statusCode: status = null, headers = {} } = answer ?? {};
      resolve({ ending, status, headers, text, took: Date.now() - begun });
    };
    const { hostname, port } = new URL(base);
    const length = Buffer.byteLength(body);
    const options = { hostname, port, path: target, method: "POST", agent: false };
    const asking = send({ ...options, headers: { "content-type": "application/json", "content-length": length, ...headers } });
    const timer = setTimeout(() => (done("hung"), asking.destroy()), limit);
    asking.on("response", (came) => {
      answer = came;
      came.setEncoding("utf8").on("data", (piece) => (text += piece));
      came.on("end", () => done("whole")).on("error", () => done("cut"));
    });
    asking.on("error", () => done("cut"));
    if (act) act(asking, body);
    else asking.end(body);
  });
}

// A client that sends all of `body` or only `sent` bytes of it, and goes away: `how` is "fin", what a closed program
// does, or "rst". With `after`, that happens when so much time has passed; else once something came.
export function hangUp(base, { path: target = CALL, body = HELLO, sent = body.length, how, after, headers = "" }) {
  const { hostname, port } = new URL(base);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    const leave = () => (how === "rst" ? socket.resetAndDestroy() : socket.destroy());
    socket.on("error", () => {}).on("close", resolve);
    if (after === undefined) socket.once("data", leave);
    else socket.resume();
    socket.on("connect", () => {
      const head = `POST ${target} HTTP/1.1\r\nhost: relay.example\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n`;
      socket.write(head + body.slice(0, sent));
      if (after !== undefined) setTimeout(leave, after);
    });
  });
}

// A stream that says something every so often, until somebody stops it.
export const drip = (every = 100) => async (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (let at = 0; at < 200 && !response.destroyed; at += 1) {
    response.write(`data: {"candidates":[{"index":${at}}]}\r\n\r\n`);
    await pause(every);
  }
  response.end();
};

// Runs `count` times, so many at once.
export async function crowd(count, atOnce, act) {
  let next = 0;
  const one = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

export const quota = (seconds) => [
  429,
  {
    error: {
      code: 429,
      message: `You exceeded your current quota.\nPlease retry in ${seconds}s.`,
      status: "RESOURCE_EXHAUSTED",
      details: [
        {
          "@type": "type.googleapis.com/google.rpc.QuotaFailure",
          violations: [
            {
              quotaMetric: "generativelanguage.googleapis.com/generate_content_free_tier_requests",
              quotaId: "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
              quotaDimensions: { model: MODEL, location: "global" },
              quotaValue: "10",
            },
          ],
        },
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: `${seconds}s` },
      ],
    },
  },
];

export const dead = [
  400,
  {
    error: {
      code: 400,
      message: "API key not valid. Please pass a valid API key.",
      status: "INVALID_ARGUMENT",
      details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID", domain: "googleapis.com" }],
    },
  },
];

export const nowhere = [
  400,
  { error: { code: 400, message: "User location is not supported for the API use.", status: "FAILED_PRECONDITION" } },
];
