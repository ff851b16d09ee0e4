// A Worker to test on workerd, and a Google of the test's own behind it.

import { Log, LogLevel, Miniflare } from "miniflare";
import { createServer } from "node:http";
import path from "node:path";
import { worker } from "./workerd.mjs";

export const MODEL = "gemini-2.5-flash";
export const CALL = `/v1beta/models/${MODEL}:generateContent`;
export const HELLO = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "hello" }] }] });

// What every key of these tests begins with: it must be found in nothing that comes out.
export const CANARY = "made-up-key-of-a-canary";
export const key = (at) => `${CANARY}-${at}`;
export const keyList = (count) =>
  JSON.stringify(Array.from({ length: count }, (_, at) => ({ value: key(at), project: `project-${at}` })));

export const served = {
  candidates: [{ content: { role: "model", parts: [{ text: "hi" }] }, finishReason: "STOP", index: 0 }],
  usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 },
};

// `google(key, request, body)` gives `[status, JSON]`, or nothing for an answer as it should be. With `keep`, a folder,
// what is stored outlasts a restart.
export async function stand({ google = () => undefined, bindings = {}, kv, upgrade, keep } = {}) {
  const asked = [];
  const server = createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const body = Buffer.concat(pieces);
      const shown = request.headers["x-goog-api-key"];
      asked.push({ key: shown, url: request.url, headers: request.headers, length: body.length });
      const [status, answer] = google(shown, request, body) ?? [200, served];
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
