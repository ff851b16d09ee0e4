// The Worker's entry: requests in, requests out. Nothing is decided here: what came is told to the
// engine, which is WebAssembly, and what it says is done. Its words are in crates/worker/src/said.rs.

import { open, settle } from "./isolate.js";
import { gather } from "./body.js";
import { pass, readAll } from "./answer.js";

export { PoolObject } from "./pool.js";
export { EgressObject } from "./egress.js";

export default {
  async fetch(request, env, ctx) {
    const isolate = await open(env, ctx);
    const flight = { isolate, engine: isolate.engine, env, ctx, handle: -1, over: false, stop: null };
    try {
      return await serve(request, flight);
    } catch (error) {
      return isolate.failed(error, flight);
    }
  },
};

async function serve(request, flight) {
  const { engine, env } = flight;
  let head = `${request.method}\n${request.url}\n`;
  for (const [name, value] of request.headers) head += `${name}:${value}\n`;
  let said = engine.begin(head, Date.now());
  if (said[0] !== "G") return answer(said, null);

  const [handle, limit, shown] = said.slice(1).split("\n").map(Number);
  flight.handle = handle;
  // A client that goes away ends what is done for it.
  request.signal.addEventListener("abort", () => leave(flight));

  const body = await gather(request, limit, shown);
  said = engine.body(handle, body.shown, body.kept, body.whole, Date.now());
  if (said[0] === "Q") said = engine.planned(handle, await plan(env, said.slice(1)), Date.now());

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
          : engine.failed(handle, came.silent, Date.now());
        continue;
      }
      case "E": {
        const { bytes, whole } = await readAll(came.response, MAX_ERROR);
        held = [bytes];
        said = engine.error(handle, bytes, whole, Date.now());
        continue;
      }
      case "U": {
        const read = await came.response.arrayBuffer().then(
          (buffer) => new Uint8Array(buffer),
          () => null,
        );
        if (flight.over) return gone();
        if (read === null) {
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
        const { value, done, broken } = await came.read();
        if (flight.over) return gone();
        if (value) held.push(value);
        said = engine.piece(handle, value ?? NOTHING, done, broken, Date.now());
        continue;
      }
      case "P":
        return pass(said, came, held, flight);
      case "H": {
        flight.over = true;
        settle(flight);
        const { headers } = heading(said);
        return new Response(null, { status: 101, webSocket: came.response.webSocket, headers });
      }
      case "A":
      case "C":
      case "R":
        flight.over = true;
        if (said[0] !== "R") came?.cancel();
        settle(flight);
        return answer(said, held[0] ?? null);
      default:
        return gone();
    }
  }
}

// Asks the pool object. One that is slow or away is done without.
async function plan(env, ask) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, PLAN_PATIENCE, "");
  });
  try {
    return await Promise.race([pool(env).plan(ask), late]);
  } catch {
    return "";
  } finally {
    clearTimeout(timer);
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
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    stop.abort();
  }, Number(patience));
  const init = { method, headers, body: body.next(), redirect: "manual", signal: stop.signal };
  try {
    const response = await (region !== "-"
      ? flight.env.EGRESS.get(flight.env.EGRESS.idFromName(region), { locationHint: region }).fetch(url, init)
      : fetch(url, init));
    return new Came(response, stop);
  } catch {
    return new Came(null, stop, silent);
  } finally {
    clearTimeout(timer);
  }
}

// What came of an attempt.
class Came {
  constructor(response, stop, silent = false) {
    this.response = response;
    this.stop = stop;
    this.silent = silent;
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

  cancel() {
    this.stop.abort();
  }
}

// A client that went away while something was done for it.
export function leave(flight) {
  if (flight.over) return;
  flight.over = true;
  flight.stop?.abort();
  flight.engine.gone(flight.handle, Date.now());
  settle(flight);
}

function gone() {
  return new Response(null, { status: 499 });
}

// An answer that is here whole.
function answer(said, read) {
  const { head, headers, rest } = heading(said);
  const status = Number(head[0]);
  const body = said[0] === "R" ? read : said[0] === "C" ? cut(rest) : rest;
  return new Response(EMPTY.has(status) ? null : body, { status, headers });
}

// A text of which more was to come: the one thing that every client notices is a cut.
function cut(text) {
  let begun = false;
  return new ReadableStream(
    {
      pull(controller) {
        if (begun) return controller.error(new Error("the error broke off"));
        begun = true;
        controller.enqueue(new TextEncoder().encode(text));
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

// Statuses whose answers have no body.
export const EMPTY = new Set([101, 204, 205, 304]);

// A hundred times Google's longest error.
const MAX_ERROR = 1024 * 1024;

// How long the pool object is waited for: it answers from memory, and far away in a quarter of this.
const PLAN_PATIENCE = 1000;
