// A request's body: kept to be sent again, or, past a limit, streamed once.

import { within } from "./within.js";

// `room` says whether so many bytes of it may be kept: no more is held than twice what came. A client that pauses for
// longer than `pause` has stopped.
export async function gather(request, limit, shown, pause, room) {
  const header = request.headers.get("content-length");
  const length = header === null ? Infinity : Number(header);
  if (request.body === null || length === 0 || BODILESS.has(request.method)) return new Body(NOTHING, 0, shown);
  if (length <= Math.min(FIRST, limit)) {
    // So little comes at once, or not; and this is the cheapest way to read it.
    const buffer = await within(request.arrayBuffer(), pause, LATE);
    return buffer === LATE ? STALLED : new Body(new Uint8Array(buffer), buffer.byteLength, shown);
  }
  const source = new Source(request.body, pause);
  // Of one that is known to be too long only what is looked into is waited for.
  const most = length <= limit ? length : length === Infinity ? limit : Math.min(limit, shown);
  let bytes = new Uint8Array(Math.min(FIRST, length));
  let total = 0;
  for (;;) {
    const { value, done } = await source.read(bytes.subarray(total));
    if (source.stalled) return source;
    // It is the same memory, and no more that of the one that was handed over.
    bytes = new Uint8Array(value.buffer);
    if (done) return new Body(bytes, total, shown);
    total += value.length;
    if (total === length && length <= limit) return new Body(bytes, total, shown);
    if (total < bytes.length && total <= limit) continue;
    const size = Math.min(2 * total, most);
    if (size <= total || !room(size)) return new Passing(bytes.subarray(0, total), source, shown, length);
    const larger = new Uint8Array(size);
    larger.set(bytes);
    bytes = larger;
  }
}

// What a client sends.
class Source {
  constructor(stream, pause) {
    this.reader = stream.getReader({ mode: "byob" });
    this.pause = pause;
    this.stalled = false;
  }

  // What comes next, in the memory that is given for it.
  async read(memory) {
    const read = await within(this.reader.read(memory), this.pause, LATE);
    if (read !== LATE) return read;
    this.stalled = true;
    this.cancel();
    return { value: NOTHING, done: true };
  }

  cancel(why) {
    this.reader.cancel(why).catch(() => {});
  }
}

// All of it, at hand.
class Body {
  constructor(memory, total, shown) {
    // What did not say its length has memory to spare.
    this.bytes = memory.length > total ? memory.slice(0, total) : memory;
    this.shown = this.bytes.subarray(0, shown);
    this.kept = total;
    this.whole = true;
    this.stalled = false;
  }

  next() {
    return this.bytes.length > 0 ? this.bytes : null;
  }
}

// Its beginning, and the rest as it comes: it can be sent once.
class Passing {
  constructor(beginning, source, shown, length) {
    this.beginning = beginning;
    this.source = source;
    this.shown = beginning.subarray(0, shown);
    // Held until it is taken, which may be after a long wait.
    this.kept = beginning.length;
    this.whole = false;
    this.length = length;
  }

  get stalled() {
    return this.source.stalled;
  }

  next(taken) {
    const { source } = this;
    const stream = new ReadableStream(
      {
        pull: async (controller) => {
          const beginning = this.take();
          const { value, done } = beginning ? { value: beginning } : await source.read(new Uint8Array(PIECE));
          if (source.stalled) return controller.error(new Error("the client stopped"));
          if (done) return controller.close();
          taken(value.length);
          controller.enqueue(value);
        },
        cancel: (why) => {
          taken(this.take()?.length ?? 0);
          source.cancel(why);
        },
      },
      { highWaterMark: 0 },
    );
    return this.length === Infinity ? stream : stream.pipeThrough(new FixedLengthStream(this.length));
  }

  take() {
    const { beginning } = this;
    this.beginning = null;
    return beginning;
  }
}

const NOTHING = new Uint8Array(0);
// The runtime sends no body with these, and refuses a request that has one.
const BODILESS = new Set(["GET", "HEAD"]);

const LATE = Symbol();
const STALLED = { stalled: true };

// What is held of each body that comes; most are no longer.
const FIRST = 4096;

// As much as is read at once of one that passes through.
const PIECE = 65_536;
