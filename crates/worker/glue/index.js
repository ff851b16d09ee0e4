// The Worker's entry: requests in, requests out. Nothing is decided here: what came is told to the
// engine, which is WebAssembly, and what it says is done. Its words are in crates/worker/src/said.rs.

import { leave, open, over, settle } from "./isolate.js";
import { gather } from "./body.js";
import { pass, readAll } from "./answer.js";
import { within } from "./within.js";

export { PoolObject } from "./pool.js";
export { EgressObject } from "./egress.js";

export default {
  async fetch(request, env, ctx) {
    const isolate = await open(env, ctx);
    const flight = { isolate, engine: isolate.engine, env, ctx, handle: -1, over: false, stop: null, done: null };
    // So that what is done when a client goes away is done to its end, where the runtime tells of it.
    ctx.waitUntil(new Promise((resolve) => (flight.done = resolve)));
    try {
      return await serve(request, flight);
    } catch (error) {
      return isolate.failed(error, flight);
    }
  },
};

async function serve(request, flight) {
  const { engine } = flight;
  let head = `${request.method}\n${request.url}\n`;
  for (const [name, value] of request.headers) head += `${name}:${value}\n`;
  let said = engine.begin(head, Date.now());
  if (said[0] !== "G") {
    over(flight);
    return answer(said, null);
  }

  const [handle, limit, shown, pause] = said.slice(1).split("\n").map(Number);
  flight.handle = handle;
  // A client that goes away ends what is done for it.
  request.signal.addEventListener("abort", () => leave(flight));

  let body;
  try {
    body = await gather(request, limit, shown, pause, (bytes) => engine.room(handle, bytes));
  } catch {
    leave(flight);
  }
  if (flight.over) return gone();
  if (body.stalled) {
    said = engine.stalled(handle, Date.now());
  } else {
    said = engine.body(handle, body.shown, body.kept, body.whole, Date.now());
    body.shown = NOTHING;
  }
  if (said[0] === "Q") said = engine.planned(handle, await plan(flight, said.slice(1)), Date.now());

  let came = null;
  let held = [];
  for (;;) {
    switch (said[0]) {
      case "W": {
        await sleep(Number(said.slice(1)));
        if (flight.over) return gone();
        said = engine.turn(handle, Date.now());
        continue;
      }
      case "S": {
        came?.cancel();
        held = [];
        came = await send(said, request.method, body, flight);
        if (flight.over) return gone();
        said = came.response
          ? engine.answered(handle, came.response.status, flat(came.response.headers), Date.now())
          : body.stalled
            ? engine.stalled(handle, Date.now())
            : engine.failed(handle, came.silent, Date.now());
        continue;
      }
      case "E": {
        const read = await came.inTime(readAll(came.response, MAX_ERROR));
        if (flight.over) return gone();
        if (came.silent) {
          said = engine.failed(handle, true, Date.now());
        } else {
          held = [read.bytes];
          said = engine.error(handle, read.bytes, read.whole, Date.now());
        }
        continue;
      }
      case "U": {
        const read = await came.inTime(
          came.response.arrayBuffer().then(
            (buffer) => new Uint8Array(buffer),
            () => null,
          ),
        );
        if (flight.over) return gone();
        if (came.silent) {
          said = engine.failed(handle, true, Date.now());
        } else if (read === null) {
          said = engine.piece(handle, NOTHING, false, true, Date.now());
        } else {
          held = [read];
          said = engine.whole(handle, read, Date.now());
          // An empty answer is passed on as one.
          if (said[0] === "P") held = [];
        }
        continue;
      }
      case "L": {
        const read = await came.inTime(came.read());
        if (flight.over) return gone();
        if (came.silent) {
          said = engine.failed(handle, true, Date.now());
        } else {
          if (read.value) held.push(read.value);
          said = engine.piece(handle, read.value ?? NOTHING, read.done, read.broken, Date.now());
        }
        continue;
      }
      case "P":
        return pass(said, came, held, flight);
      case "H": {
        over(flight);
        settle(flight);
        const { headers } = heading(said);
        return new Response(null, { status: 101, webSocket: came.response.webSocket, headers });
      }
      case "A":
      case "B":
      case "C":
      case "R":
        over(flight);
        if (said[0] !== "R") came?.cancel();
        settle(flight);
        return answer(said, held[0] ?? null);
      default:
        leave(flight);
        return gone();
    }
  }
}

// Asks the pool object. One that is slow or away is done without.
async function plan({ isolate, env }, ask) {
  isolate.askedAt = Date.now();
  try {
    return await within(pool(env).plan(ask), PLAN_PATIENCE, "");
  } catch {
    return "";
  }
}

export function pool(env) {
  return env.POOL.get(env.POOL.idFromName("pool"));
}

// Sends one attempt.
async function send(said, method, body, flight) {
  const { head, headers } = heading(said, 3);
  const [url, patience, region] = head;
  const stop = new AbortController();
  flight.stop = stop;
  const came = new Came(stop, Date.now() + Number(patience));
  const taken = (bytes) => flight.engine.taken(flight.handle, bytes);
  const init = { method, headers, body: body.next(taken), redirect: "manual", signal: stop.signal };
  try {
    const sent =
      region !== "-"
        ? flight.env.EGRESS.get(flight.env.EGRESS.idFromName(region), { locationHint: region }).fetch(url, init)
        : fetch(url, init);
    came.response = (await came.inTime(sent)) ?? null;
  } catch {
    // It broke, or never was.
  }
  return came;
}

// What came of an attempt.
class Came {
  constructor(stop, due) {
    this.response = null;
    this.stop = stop;
    // By then there must be something to pass on.
    this.due = due;
    this.silent = false;
  }

  get reader() {
    return (this.opened ??= this.response.body?.getReader());
  }

  async read() {
    if (!this.reader) return { done: true, broken: false };
    try {
      const { value, done } = await this.reader.read();
      return { value, done, broken: false };
    } catch {
      return { done: false, broken: true };
    }
  }

  // Waits for something of the answer. Past the limit it is given up.
  async inTime(promise) {
    const what = await within(promise, this.due - Date.now(), LATE);
    if (what !== LATE) return what;
    promise.catch(() => {});
    this.silent = true;
    this.cancel();
    return undefined;
  }

  cancel() {
    this.stop.abort();
  }
}

function gone() {
  return new Response(null, { status: 499 });
}

// An answer that is here whole.
function answer(said, read) {
  const { head, headers, rest } = heading(said);
  const status = Number(head[0]);
  const body = { A: () => rest, B: () => bytes(rest), C: () => cut(bytes(rest)), R: () => read }[said[0]]();
  return new Response(EMPTY.has(status) ? null : body, { status, headers });
}

// What need not be text comes as Latin-1.
function bytes(text) {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}

// Bytes of which more were to come: the one thing that every client notices is a cut.
function cut(beginning) {
  let begun = false;
  return new ReadableStream(
    {
      pull(controller) {
        if (begun) return controller.error(new Error("the error broke off"));
        begun = true;
        controller.enqueue(beginning);
      },
    },
    { highWaterMark: 0 },
  );
}

// The lines at an instruction's beginning, its headers, and what follows them.
export function heading(said, count = 1) {
  const end = said.indexOf("\n\n");
  const lines = said.slice(1, end < 0 ? said.length : end).split("\n");
  const headers = [];
  for (let at = count; at < lines.length; at += 1) {
    const colon = lines[at].indexOf(":");
    if (colon > 0) headers.push([lines[at].slice(0, colon), lines[at].slice(colon + 1)]);
  }
  return { head: lines.slice(0, count), headers, rest: end < 0 ? "" : said.slice(end + 2) };
}

function flat(headers) {
  let text = "";
  for (const [name, value] of headers) text += `${name}:${value}\n`;
  return text;
}

function sleep(millis) {
  return new Promise((resolve) => setTimeout(resolve, millis));
}

const NOTHING = new Uint8Array(0);
const LATE = Symbol();

// Statuses whose answers have no body.
export const EMPTY = new Set([101, 204, 205, 304]);

// A hundred times Google's longest error.
const MAX_ERROR = 1024 * 1024;

// How long the pool object is waited for: it answers from memory, and far away in a quarter of this.
const PLAN_PATIENCE = 1000;
