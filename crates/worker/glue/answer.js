// An answer on its way to the client: each piece is shown to the engine, and goes on as it is unless the
// engine gives another for it.

import { EMPTY, heading } from "./index.js";
import { leave, over, settle } from "./isolate.js";
import { within } from "./within.js";

export function pass(said, came, held, flight) {
  const { head, headers } = heading(said, 2);
  const [status, idle] = head.map(Number);
  const { engine, handle } = flight;
  if (EMPTY.has(status) || came.response.body === null) {
    over(flight);
    engine.ended(handle, false, Date.now());
    settle(flight);
    return new Response(null, { status, headers });
  }
  const length = headers.find(([name]) => name === "content-length");
  let body = stream(came, held, idle, flight);
  // A body of JavaScript's has no length, unless it is made to keep to one.
  if (length) body = body.pipeThrough(new FixedLengthStream(Number(length[1])));
  return new Response(body, { status, headers });
}

function stream(came, held, idle, flight) {
  const { engine, handle } = flight;
  const end = (controller, broken) => {
    if (flight.over) return controller.error(new Error("cancelled"));
    over(flight);
    const rest = engine.ended(handle, broken, Date.now());
    settle(flight);
    if (rest === undefined) {
      came.cancel();
      // The one thing that every client notices: the connection is cut.
      return controller.error(new Error("the answer broke off"));
    }
    if (rest.length > 0) controller.enqueue(rest);
    controller.close();
  };
  return new ReadableStream(
    {
      async pull(controller) {
        for (;;) {
          let piece = held.shift();
          if (piece === undefined) {
            const { value, done, broken } = await within(came.read(), idle, BROKEN);
            if (done || broken) return end(controller, broken);
            piece = value;
          }
          if (flight.over) return controller.error(new Error("cancelled"));
          const shown = engine.see(handle, piece, Date.now());
          if (shown === undefined) return controller.enqueue(piece);
          if (shown.length > 0) return controller.enqueue(shown);
        }
      },
      cancel() {
        leave(flight);
      },
    },
    { highWaterMark: 0 },
  );
}

// An error's body, up to a bound, and whether that is all of it.
export async function readAll(response, most) {
  const pieces = [];
  let total = 0;
  let whole = response.body === null;
  const reader = response.body?.getReader();
  try {
    while (reader && total < most) {
      const { value, done } = await reader.read();
      if (done) {
        whole = true;
        break;
      }
      pieces.push(value.subarray(0, most - total));
      total += value.length;
    }
  } catch {
    // What came is judged.
  }
  reader?.cancel().catch(() => {});
  const bytes = new Uint8Array(Math.min(total, most));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return { bytes, whole };
}

const BROKEN = { done: false, broken: true };
