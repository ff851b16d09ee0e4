// Sends requests from the place where this object was made. It holds their streams for as long as they
// last, which is why it is not the pool object.

import { DurableObject } from "cloudflare:workers";

export class EgressObject extends DurableObject {
  async fetch(request) {
    return fetch(request, { redirect: "manual" });
  }
}
