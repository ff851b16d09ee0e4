// The Worker as built, with what a test needs to look inside and to break: calls of the pool object are counted,
// slowed and cut, KV's writes are counted wherever they come from, KV and the object's storage fail, the clock can be
// moved, and what is logged is kept.

import worker, { EgressObject as Egress, PoolObject as Pool } from "./index.js";

const seen = { calls: 0, writes: 0, lists: 0, reads: 0, egress: [], lines: [], evicted: 0, alarms: 0, unset: 0, unwritten: 0 };
let slow = 0;
let ahead = 0;
let evict = false;
let away = false;
// "throws" or "hangs", which is what KV does past a day's limit and in a bad hour; "no-lists" and "hangs-lists" are lists alone.
let kv = "";
// How many of the next alarms cannot be set, and of the next rows cannot be written.
let alarmsFail = 0;
let rowsFail = 0;

const clock = Date.now;
Date.now = () => clock() + ahead;
for (const level of ["log", "warn", "error"]) {
  console[level] = (...words) => seen.lines.push(words.join(" "));
}

const DAY_OVER = "Exceeded allowed rows written in Durable Objects free tier.";

// Worker and object are given the same: a write is a write, whoever makes it.
function watched(env) {
  const KV = new Proxy(env.KV, {
    get(target, name) {
      if (name === "put" || name === "delete") seen.writes += 1;
      if (name === "list") seen.lists += 1;
      if (name === "get") seen.reads += 1;
      if ((kv === "throws" && name !== "then") || (kv === "no-lists" && name === "list")) return async () => { throw new Error("KV limit exceeded for the day."); };
      if ((kv === "hangs" && name !== "then") || (kv === "hangs-lists" && name === "list")) return () => new Promise(() => {});
      const value = target[name];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...env, KV };
}

async function called(object) {
  seen.calls += 1;
  if (away) throw new Error("Exceeded allowed requests in Durable Objects free tier.");
  if (evict) {
    evict = false;
    seen.evicted += 1;
    object.ctx.abort("evicted by a test");
  }
  if (slow > 0) await new Promise((resolve) => setTimeout(resolve, slow));
}

export class PoolObject extends Pool {
  constructor(ctx, env) {
    const setAlarm = ctx.storage.setAlarm.bind(ctx.storage);
    Object.defineProperty(ctx.storage, "setAlarm", {
      configurable: true,
      value: async (at) => {
        if (alarmsFail > 0) {
          alarmsFail -= 1;
          seen.unset += 1;
          throw new Error(DAY_OVER);
        }
        // By the clock that was not moved, or it would never ring.
        return setAlarm(at - ahead);
      },
    });
    super(ctx, watched(env));
    const { sql } = this;
    this.sql = {
      exec: (text, ...given) => {
        if (rowsFail > 0 && text.startsWith("INSERT")) {
          rowsFail -= 1;
          seen.unwritten += 1;
          throw new Error(DAY_OVER);
        }
        return sql.exec(text, ...given);
      },
    };
  }

  async plan(ask) {
    await called(this);
    return super.plan(ask);
  }

  async entries() {
    await called(this);
    return super.entries();
  }

  async report(report) {
    await called(this);
    return super.report(report);
  }

  async alarm() {
    await super.alarm();
    seen.alarms += 1;
  }

  // What the alarm would do some seconds later.
  async saveNow() {
    await this.alarm();
  }

  async keepsEntries() {
    return (await this.ctx.storage.get("listed")) !== undefined;
  }

  async rows() {
    return this.sql.exec("SELECT id, text FROM known").toArray();
  }
}

export class EgressObject extends Egress {
  async fetch(request) {
    const name = this.ctx.id.name ?? "?";
    seen.egress.push(name);
    // The upstream of the tests serves by the place that a request comes from.
    const marked = new Request(request);
    marked.headers.set("x-region", name);
    return super.fetch(marked);
  }
}

export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/test") {
      slow = Number(searchParams.get("slow") ?? slow);
      ahead += Number(searchParams.get("ahead") ?? 0);
      evict = searchParams.has("evict");
      away = searchParams.has("away");
      kv = searchParams.get("kv") ?? kv;
      alarmsFail = Number(searchParams.get("alarms-fail") ?? alarmsFail);
      rowsFail = Number(searchParams.get("rows-fail") ?? rowsFail);
      const object = () => env.POOL.get(env.POOL.idFromName("pool"));
      if (searchParams.has("save")) await object().saveNow();
      const rows = searchParams.has("rows") ? await object().rows() : undefined;
      const keeps = searchParams.has("keeps") ? await object().keepsEntries() : undefined;
      return Response.json({ ...seen, rows, keeps });
    }
    return worker.fetch(request, watched(env), ctx);
  },
};
