// The Worker as built, with what a test needs to look inside: calls of the pool object are counted and
// slowed, KV's writes are counted, the clock can be moved, and what is logged is kept.

import worker, { EgressObject as Egress, PoolObject as Pool } from "./index.js";

const seen = { calls: 0, writes: 0, egress: [], lines: [] };
let slow = 0;
let ahead = 0;
let evict = false;

const clock = Date.now;
Date.now = () => clock() + ahead;
for (const level of ["log", "warn", "error"]) {
  console[level] = (...words) => seen.lines.push(words.join(" "));
}

async function called(object) {
  seen.calls += 1;
  if (evict) {
    evict = false;
    object.ctx.abort("evicted by a test");
  }
  if (slow > 0) await new Promise((resolve) => setTimeout(resolve, slow));
}

export class PoolObject extends Pool {
  async plan(ask) {
    await called(this);
    return super.plan(ask);
  }

  async report(report) {
    await called(this);
    return super.report(report);
  }

  // What the alarm would do some seconds later.
  async saveNow() {
    await this.alarm();
  }
}

export class EgressObject extends Egress {
  async fetch(request) {
    seen.egress.push(this.ctx.id.name ?? "?");
    return super.fetch(request);
  }
}

export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/test") {
      slow = Number(searchParams.get("slow") ?? slow);
      ahead += Number(searchParams.get("ahead") ?? 0);
      evict = searchParams.has("evict");
      if (searchParams.has("save")) await env.POOL.get(env.POOL.idFromName("pool")).saveNow();
      return Response.json(seen);
    }
    const KV = new Proxy(env.KV, {
      get(target, name) {
        if (name === "put" || name === "delete") seen.writes += 1;
        const value = target[name];
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    return worker.fetch(request, { ...env, KV }, ctx);
  },
};
