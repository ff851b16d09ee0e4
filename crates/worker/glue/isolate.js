// What the requests of an isolate share: the engine, and its keys.

import { as_text, initSync, Isolate, kept } from "./gemini_relay_worker.js";
import wasm from "./gemini_relay_worker_bg.wasm";
import { pool } from "./index.js";
import { within } from "./within.js";

initSync({ module: wasm });

let shared = null;

// The engine, made by the first request: before it there is no clock and no chance.
export async function open(env, ctx) {
  const now = Date.now();
  if (shared === null) shared = new Shared(env, now);
  const isolate = shared;
  if (now - isolate.readAt > KEYS_EVERY) {
    isolate.readAt = now;
    const reading = isolate.readKeys(env);
    ctx.waitUntil(reading);
    isolate.ready ??= reading;
  }
  // Later nobody waits for KV: after a pause too, a key that is gone by then costs an attempt.
  if (!isolate.hasKeys) await isolate.ready;
  return isolate;
}

class Shared {
  constructor(env, now) {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    this.engine = new Isolate(variables(env), high, low, now);
    this.readAt = 0;
    this.ready = null;
    this.hasKeys = false;
    // When the last plan was asked for, and when somebody will look whether there is something to report.
    this.askedAt = 0;
    this.due = 0;
    this.last = "";
    this.found = null;
    this.again = KEYS_AGAIN;
  }

  async readKeys(env) {
    const found = await findKeys(env, this.found, () => entries(env));
    const text = JSON.stringify({ ...found, dueAt: undefined });
    if (text !== this.last) {
      this.last = text;
      this.engine.keys(text, Date.now());
    }
    this.hasKeys = true;
    if (found.lost) {
      // What was read before still holds, and is soon asked for again; but KV may be out for the day.
      this.readAt = Date.now() - KEYS_EVERY + this.again;
      this.again = Math.min(2 * this.again, KEYS_EVERY);
    } else {
      this.found = found;
      this.again = KEYS_AGAIN;
      this.readAt = Math.min(this.readAt, found.dueAt - KEYS_EVERY);
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

// Sees to it that what the engine wants told by itself is: at once if it is much, else if nobody asks for a plan for a
// while, which takes it along. One looks after it for all; the runtime may end that one without a word, and then the
// next does.
export function settle({ isolate, engine, env, ctx }) {
  const waiting = engine.waiting(Date.now());
  if (waiting === 0 || (waiting < MANY && Date.now() < isolate.due + LATE)) return;
  ctx.waitUntil(flush(isolate, engine, env, waiting < MANY ? FLUSH_AFTER : 0));
}

async function flush(isolate, engine, env, wait) {
  const end = Date.now() + FLUSH_BY;
  while (wait > 0) {
    isolate.due = Date.now() + wait;
    await new Promise((resolve) => setTimeout(resolve, wait));
    // Whoever asked in the meantime took along what there was.
    wait = engine.waiting(Date.now()) === 0 ? 0 : Math.min(isolate.askedAt + FLUSH_AFTER, end) - Date.now();
  }
  isolate.due = 0;
  const report = engine.report(Date.now());
  if (report === "") return;
  try {
    await pool(env).report(report);
  } catch {
    engine.unreported(report, Date.now());
  }
}

// Everything of the project's own among the variables and secrets, as it is, in whatever case somebody wrote its name: what wrangler.toml has without quotes
// comes as a number, as true or false, as a list or as a table. Of a key under a native name only that it is there.
export function variables(env) {
  const own = Object.entries(env).filter(([name]) => /^gemini[-_]relay[-_]/i.test(name));
  const native = ["GEMINI_API_KEY", "GOOGLE_API_KEY"].filter((name) => env[name]).map((name) => [name, true]);
  return JSON.stringify(Object.fromEntries([...own, ...native]));
}

// A secret is a text; a variable may be any of the lists that a file of keys may have, as they are.
function asKeys(value) {
  if (value === undefined || value === null) return null;
  return typeof value === "string" ? value : JSON.stringify(value);
}

// The keys, wherever they are: one list, or an entry each, and a secret, which needs no KV. `before` is what was found
// the last time, and `list` gives the entries.
export async function findKeys(env, before, list) {
  const secret = asKeys(env.GEMINI_API_KEYS);
  const found = { config: null, entries: [], others: null, more: false, unread: false, dueAt: Infinity, lost: false, secret };
  try {
    if (env.KV) await within(lookInto(env.KV, found, before, list), KV_PATIENCE);
  } catch {
    found.lost = true;
  }
  return found;
}

async function lookInto(kv, found, before, list) {
  found.lost = true;
  found.config = await read(kv, "GEMINI_API_KEYS_CONFIG");
  if (found.config === null) {
    const isFresh = before?.config === null && Date.now() < before.dueAt;
    const { entries, others, more, unread, dueAt } = isFresh ? before : await list();
    Object.assign(found, { entries, others, more, unread, dueAt });
  }
  found.lost = false;
}

// What the pool object listed, which does so for all; while it is away each isolate for itself.
async function entries(env) {
  try {
    const listed = await within(pool(env).entries(), ENTRIES_PATIENCE);
    if (listed) return listed;
  } catch {
    // It is away.
  }
  return listEntries(env.KV, SPARE_REQUESTS);
}

// What of KV's entries has keys in it, with so many requests at most beside the list's.
export async function listEntries(kv, requests) {
  const begun = Date.now();
  const { keys, list_complete } = await kv.list({ limit: MOST_NAMES });
  const found = { entries: [], others: null, more: false, unread: false };
  const left = { requests, room: MOST_TEXT, looked: 0 };
  const names = keys.map(({ name }) => name);
  for (let at = 0; at < names.length && !found.more; at += AT_ONCE) {
    await readEntries(kv, names.slice(at, at + AT_ONCE), found, left);
  }
  found.more ||= !list_complete;
  found.dueAt = begun + Math.max(LIST_EVERY, left.looked * A_READ);
  return found;
}

async function readEntries(kv, names, found, left) {
  if (names.length === 0 || !isLeft(found, left, names.length)) return;
  let texts;
  try {
    // Many at once are one request, and come as texts.
    texts = names.length > 1 ? await kv.get(names, "text") : new Map([[names[0], await kv.get(names[0], "text")]]);
  } catch (error) {
    if (names.length === 1) throw error;
    // What others keep may be more than comes at once. One after the other, since there is little memory.
    const half = names.length >> 1;
    await readEntries(kv, names.slice(0, half), found, left);
    await readEntries(kv, names.slice(half), found, left);
    return;
  }
  for (const name of names) {
    const text = texts.get(name);
    if (typeof text !== "string") continue;
    let what = text.length > LONGEST ? undefined : kept(name, text);
    if (what === undefined) {
      found.others ??= name;
      continue;
    }
    if (what === "") what = isLeft(found, left, 1) ? await read(kv, name) : null;
    if (what !== null) keep(found, left, name, what);
  }
}

function keep(found, left, name, text) {
  left.room -= text.length;
  if (left.room < 0 || found.entries.length === MOST_ENTRIES) found.more = true;
  else found.entries.push([name, text]);
}

function isLeft(found, left, reads) {
  if (left.requests > 0) {
    left.requests -= 1;
    left.looked += reads;
    return true;
  }
  found.unread = true;
  return false;
}

// Bytes, since some editors write UTF-16.
async function read(kv, name) {
  const bytes = await kv.get(name, "arrayBuffer");
  return bytes === null ? null : as_text(new Uint8Array(bytes));
}

// KV shows a change after up to a minute; two in all were promised.
export const KEYS_EVERY = 50_000;

// So soon again if KV could not be read, and then half as often each time.
const KEYS_AGAIN = 5000;

// So many come with one request, and so many with a list.
const AT_ONCE = 100;
const MOST_NAMES = 1000;

// So many with keys are kept, and so much of them: the object keeps it in one value, which has two million bytes.
const MOST_ENTRIES = 100;
const MOST_TEXT = 900_000;

// Longer than a hundred keys with all that is said of them; what others keep is not looked through.
const LONGEST = 65_536;

// A request may make fifty. The object makes no others that count; an isolate has forty attempts to make.
export const MOST_REQUESTS = 40;
const SPARE_REQUESTS = 4;

// Entries are listed so often, which is 864 times a day; a thousand are free. Of reads, one for each entry whatever is
// in it, a hundred thousand are: so many entries, so many seconds apart at least.
export const LIST_EVERY = 100_000;
const A_READ = 1000;

// KV that does not answer is done without.
export const KV_PATIENCE = 5000;

// The pool object may have to list them first, and some of that time must be left to do without it.
const ENTRIES_PATIENCE = 2000;

// What was learned goes with the next request's question; where there is none in this time, now and then by itself. A
// request's context lives for half a minute after its answer.
const FLUSH_AFTER = 5000;
const FLUSH_BY = 20_000;
// A timer that is later than this is none any more.
const LATE = 1000;
const MANY = 8;
