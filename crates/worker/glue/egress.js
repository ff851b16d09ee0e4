// Sends requests from the place where this object was made. It holds their streams for as long as they
// last, which is why it is not the pool object.

import { DurableObject } from "cloudflare:workers";

export class EgressObject extends DurableObject {
  async fetch(request) {
    const { url, method, headers, body } = request;
    // Of a caller who gave up the runtime tells, and lets what was begun for it go on.
    const stop = new AbortController();
    request.signal.addEventListener("abort", () => stop.abort());
    return fetch(url, { method, headers, body, redirect: "manual", signal: stop.signal });
  }
}
