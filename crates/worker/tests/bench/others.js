// What the Worker is compared with, each of them as small as its work allows.

import { DurableObject } from "cloudflare:workers";

// Makes the calls that the relay makes: the object is asked whose turn it is, and the request goes out.
export class PoolObject extends DurableObject {
  async plan() {
    this.next = ((this.next ?? -1) + 1) % 3;
    return `made-up-key-${this.next}`;
  }
}

const google = (request, env, key) => {
  const { pathname, search } = new URL(request.url);
  const headers = new Headers(request.headers);
  headers.set("x-goog-api-key", key);
  return fetch(env.UPSTREAM + pathname + search, { method: request.method, headers, body: request.body });
};

const ways = {
  forward: (request, env) => google(request, env, "made-up-key-0"),
  async calls(request, env) {
    const key = await env.POOL.get(env.POOL.idFromName("pool")).plan(request.url);
    return google(request, env, key);
  },
  // As the first Worker of this kind did it: the list and the place in it from KV, and the place back.
  async original(request, env) {
    const keys = JSON.parse(await env.KV.get("GEMINI_API_KEYS_CONFIG"));
    const at = Number((await env.KV.get("index")) ?? 0);
    await env.KV.put("index", String((at + 1) % keys.length));
    return google(request, env, keys[at]);
  },
};

export default {
  fetch: (request, env) => ways[env.WAY](request, env),
};
