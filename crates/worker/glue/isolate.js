// What the requests of an isolate share: the engine, and its keys.

import { as_text, initSync, Isolate } from "./gemini_relay_worker.js";
import wasm from "./gemini_relay_worker_bg.wasm";
import { pool } from "./index.js";

initSync({ module: wasm });

let shared = null;

// The engine, made by the first request: before it there is no clock and no chance.
export async function open(env, ctx) {
  const now = Date.now();
  if (shared === null) shared = new Shared(env, now);
  const isolate = shared;
  const age = now - isolate.readAt;
  if (age > KEYS_EVERY) {
    isolate.readAt = now;
    const reading = isolate.readKeys(env);
    ctx.waitUntil(reading);
    if (!isolate.ready) isolate.ready = reading;
    // After a pause a key may long be gone; whoever asks all the time does not wait.
    if (isolate.hasKeys && age > KEYS_STALE) await within(reading, KEYS_PATIENCE);
  }
  if (!isolate.hasKeys) await isolate.ready;
  return isolate;
}

// Waits for something, so long and no longer.
export async function within(promise, millis, late) {
  let timer;
  const over = new Promise((resolve) => {
    timer = setTimeout(resolve, millis, late);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

class Shared {
  constructor(env, now) {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    this.engine = new Isolate(variables(env), high, low, now);
    this.readAt = 0;
    this.ready = null;
    this.hasKeys = false;
    this.flushing = false;
    this.last = "";
  }

  async readKeys(env) {
    try {
      const found = await findKeys(env);
      if (found !== this.last) {
        this.last = found;
        this.engine.keys(found, Date.now());
      }
      this.hasKeys = true;
    } catch (error) {
      // What was read before still holds; the next request but a few tries again.
      this.readAt = Date.now() - KEYS_EVERY + 5000;
      if (!this.hasKeys) this.ready = null;
      console.error(`keys cannot be read: ${error.name}`);
    }
  }

  // A failure inside the relay. One of the engine itself leaves its memory not to be trusted any more.
  failed(error, flight) {
    console.error(`a request failed inside the relay: ${error.name}`);
    if (error instanceof WebAssembly.RuntimeError) {
      if (shared === this) shared = null;
      over(flight);
    } else {
      leave(flight);
    }
    const body = { error: { code: 500, message: "gemini-relay failed. Please try again.", status: "INTERNAL" } };
    return Response.json(body, { status: 500 });
  }
}

// Nothing more is done for a request.
export function over(flight) {
  flight.over = true;
  flight.done();
}

// A client that went away while something was done for it, or a request that is given up.
export function leave(flight) {
  if (flight.over) return;
  over(flight);
  flight.stop?.abort();
  flight.engine.gone(flight.handle, Date.now());
  settle(flight);
}

// Sees to it that what was learned is reported: at once if it is much, else with the next plan, or in a
// second if there is none.
export function settle({ isolate, engine, env, ctx }) {
  const waiting = engine.waiting();
  if (waiting === 0 || (isolate.flushing && waiting < MANY)) return;
  const wait = waiting < MANY ? FLUSH_AFTER : 0;
  isolate.flushing = true;
  ctx.waitUntil(flush(isolate, engine, env, wait));
}

async function flush(isolate, engine, env, wait) {
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  isolate.flushing = false;
  const report = engine.report();
  if (report === "") return;
  try {
    await pool(env).report(report);
  } catch {
    engine.unreported(report);
  }
}

// Everything of the project's own among the variables and secrets.
export function variables(env) {
  const found = {};
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith("GEMINI_RELAY_") && typeof value === "string") found[name] = value;
  }
  return JSON.stringify(found);
}

// The keys, wherever they are: one list, or an entry each, and a secret. Bytes, since some editors write UTF-16.
export async function findKeys(env) {
  const read = async (name) => {
    const bytes = await env.KV.get(name, "arrayBuffer");
    return bytes === null ? null : as_text(new Uint8Array(bytes));
  };
  const config = env.KV ? await read("GEMINI_API_KEYS_CONFIG") : null;
  const entries = [];
  let more = false;
  if (config === null && env.KV) {
    const { keys, list_complete } = await env.KV.list({ limit: MOST_ENTRIES });
    more = !list_complete;
    const values = await Promise.all(keys.map(({ name }) => read(name)));
    keys.forEach(({ name }, at) => {
      if (values[at] !== null) entries.push([name, values[at]]);
    });
  }
  return JSON.stringify({ config, entries, more, secret: env.GEMINI_API_KEYS ?? null });
}

// KV shows a change after up to a minute; two in all were promised.
export const KEYS_EVERY = 50_000;

// Older than this they are read before they are used, if that takes no longer than the latter.
export const KEYS_STALE = 58_000;
export const KEYS_PATIENCE = 1000;

// Each is a request of its own, and a request may make fifty.
const MOST_ENTRIES = 40;

const FLUSH_AFTER = 1000;
const MANY = 8;
