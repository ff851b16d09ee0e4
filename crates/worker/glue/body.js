// A request's body: kept to be sent again, or, past the limit, streamed once.

export async function gather(request, limit, shown) {
  if (request.body === null) return new Body(NOTHING, NOTHING);
  const header = request.headers.get("content-length");
  const length = header === null ? Infinity : Number(header);
  if (length <= limit) {
    const bytes = new Uint8Array(await request.arrayBuffer());
    return new Body(bytes, shown > 0 ? bytes.subarray(0, shown) : NOTHING);
  }
  // Of one that is known to be too long only what is looked into is waited for.
  const enough = length === Infinity ? limit : Math.min(limit, shown);
  const reader = request.body.getReader();
  const pieces = [];
  let total = 0;
  while (total <= enough) {
    const { value, done } = await reader.read();
    if (done) {
      const bytes = join(pieces, total);
      return new Body(bytes, shown > 0 ? bytes.subarray(0, shown) : NOTHING);
    }
    pieces.push(value);
    total += value.length;
  }
  const seen = shown > 0 ? join(pieces, total).subarray(0, shown) : NOTHING;
  return new Passing(pieces, reader, seen, header === null ? null : length);
}

// All of it, at hand.
class Body {
  constructor(bytes, shown) {
    this.bytes = bytes;
    this.shown = shown;
    this.kept = bytes.length;
    this.whole = true;
  }

  next() {
    return this.bytes.length > 0 ? this.bytes : null;
  }
}

// Its beginning, and the rest as it comes: it can be sent once.
class Passing {
  constructor(pieces, reader, shown, length) {
    this.pieces = pieces;
    this.reader = reader;
    this.shown = shown;
    // Held until it is taken, which may be after a long wait.
    this.kept = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.whole = false;
    this.length = length;
  }

  next(taken) {
    const { pieces, reader } = this;
    const stream = new ReadableStream(
      {
        async pull(controller) {
          const { value, done } = pieces.length > 0 ? { value: pieces.shift() } : await reader.read();
          if (done) return controller.close();
          taken(value.length);
          controller.enqueue(value);
        },
        cancel(why) {
          taken(pieces.splice(0).reduce((sum, piece) => sum + piece.length, 0));
          return reader.cancel(why);
        },
      },
      { highWaterMark: 0 },
    );
    return this.length === null ? stream : stream.pipeThrough(new FixedLengthStream(this.length));
  }
}

function join(pieces, total) {
  if (pieces.length === 1) return pieces[0];
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

const NOTHING = new Uint8Array(0);
