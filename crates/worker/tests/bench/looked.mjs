// What it costs to look into one body, and at one answer, in milliseconds: ten are all that a request may take on the
// free plan. Node has workerd's engine, and its clock moves.

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const SIZES = [1, 5, 20];
const TIMES = 7;

const fill = (text, size) => text.repeat(Math.ceil(size / text.length));
const part = (inside) => `{"contents":[{"role":"user","parts":[${inside}]}]}`;
const turns = '{"role":"user","parts":[{"text":"hello hello"}]},{"role":"model","parts":[{"text":"hi"}]},';

const bodies = {
  "a picture": (size) => part(`{"inlineData":{"data":"${fill("A", size)}"}}`),
  "text with escapes": (size) => part(`{"text":"${fill("word \\n ", size)}"}`),
  "many small turns": (size) => `{"contents":[${fill(turns, size)}{}]}`,
  "numbers (`0.12345678,`)": (size) => `{"input":[${fill("0.12345678,", size)}1]}`,
  "empty objects (`{},`)": (size) => `{"contents":[${fill("{},", size)}1]}`,
  "white space": (size) => `{"contents":${fill(" ", size)}[]}`,
};

const event = 'data: {"candidates":[{"content":{"parts":[{"text":"hello there, friend\\n"}],"role":"model"},"index":0}]}\r\n\r\n';
const answers = {
  "an answer that is a picture": (size) => `data: {"candidates":[{"content":{"parts":[{"inlineData":{"data":"${fill("A", size)}"}}]}}]}\r\n\r\n`,
  "an answer of small events": (size) => fill(event, size),
};

// Rows of a name and the least of several runs for each size.
export async function looked(dist) {
  const built = await import(pathToFileURL(path.join(dist, "gemini_relay_worker.js")));
  built.initSync({ module: readFileSync(path.join(dist, "gemini_relay_worker_bg.wasm")) });
  const now = Date.now();
  const variables = { GEMINI_RELAY_ALLOW_ANONYMOUS: "on", GEMINI_RELAY_LOG_LEVEL: "off" };
  const engine = new built.Isolate(JSON.stringify(variables), 1, 2, now);
  engine.keys(JSON.stringify({ config: '["made-up-key-0"]', entries: [], secret: null }), now);
  const begin = (action) =>
    engine
      .begin(`POST\nhttps://relay.example/v1beta/models/gemini-2.5-flash:${action}\ncontent-type:application/json\n`, now)
      .slice(1)
      .split("\n")
      .map(Number);

  const body = (bytes) => {
    const begun = performance.now();
    const [handle, , shown] = begin("generateContent");
    engine.body(handle, bytes.subarray(0, shown), 0, true, now);
    const took = performance.now() - begun;
    engine.gone(handle, now);
    return took;
  };
  const answer = (bytes) => {
    const [handle] = begin("streamGenerateContent?alt=sse");
    engine.body(handle, Buffer.from("{}"), 2, true, now);
    engine.planned(handle, "", now);
    engine.answered(handle, 200, "content-type:text/event-stream\n", now);
    const begun = performance.now();
    let passes = false;
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      if (!passes) passes = engine.piece(handle, piece, false, false, now)[0] === "P";
      if (passes) engine.see(handle, piece, now);
    }
    const took = performance.now() - begun;
    if (!passes) throw new Error("the answer was not passed on");
    engine.gone(handle, now);
    return took;
  };
  const least = (of) => (make) => SIZES.map((megabytes) => {
    const bytes = Buffer.from(make(megabytes * 1e6));
    return Math.min(...Array.from({ length: TIMES }, () => of(bytes)));
  });
  const rows = (kinds, of) => Object.entries(kinds).map(([name, make]) => [name, least(of)(make)]);
  return { sizes: SIZES, bodies: rows(bodies, body), answers: rows(answers, answer) };
}

// As workerd hands them on.
const PIECE = 16_384;
