// The pool object: one for the Worker. It plans from memory, and writes down what it learned some
// seconds later, a few rows at a time. It holds no stream and makes no request but to KV.

import { DurableObject } from "cloudflare:workers";
import { Pool } from "./gemini_relay_worker.js";
import { findKeys, KEYS_EVERY, KV_PATIENCE, LIST_EVERY, listEntries, MOST_REQUESTS, variables } from "./isolate.js";
import { within } from "./within.js";

export class PoolObject extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.saving = false;
    this.last = "";
    this.found = null;
    this.listed = null;
    this.listing = null;
    ctx.blockConcurrencyWhile(async () => {
      this.sql.exec("CREATE TABLE IF NOT EXISTS known (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID");
      const [high, low] = crypto.getRandomValues(new Uint32Array(2));
      this.pool = new Pool(variables(env), high, low, Date.now());
      const rows = this.sql.exec("SELECT id, text FROM known").toArray();
      this.pool.load(JSON.stringify(rows.map(({ id, text }) => [id, text])), Date.now());
      this.listed = (await ctx.storage.get(LISTED)) ?? null;
      await within(this.readKeys(), START_PATIENCE);
    });
  }

  async plan(ask) {
    if (Date.now() - this.readAt > KEYS_EVERY) this.ctx.waitUntil(this.readKeys());
    const reply = this.pool.plan(ask, Date.now());
    this.saveSoon();
    return reply;
  }

  async report(report) {
    this.pool.report(report, Date.now());
    this.saveSoon();
  }

  // KV's entries of a key each, for all isolates: a list is one of a thousand a day, and this object's lives are short.
  async entries() {
    if (this.listed && Date.now() < this.listed.dueAt) return this.listed;
    this.listing ??= this.list().finally(() => (this.listing = null));
    return this.listing;
  }

  async list() {
    const listed = await within(listEntries(this.env.KV, MOST_REQUESTS), KV_PATIENCE).catch(() => undefined);
    if (!listed) {
      if (!this.listed) throw new Error("KV does not list its entries");
      // As when a day's lists are used up: what was there holds.
      this.listed.dueAt = Date.now() + LIST_EVERY;
      return this.listed;
    }
    // What was not all read takes nothing away from what was; whoever is told of it hears that.
    const holds = listed.unread && this.listed?.entries.length > 0;
    this.listed = holds ? { ...this.listed, dueAt: listed.dueAt, unread: true } : listed;
    await this.keep(() => this.ctx.storage.put(LISTED, this.listed));
    return this.listed;
  }

  async keep(write) {
    try {
      await write();
    } catch (error) {
      console.error(`what was listed cannot be written down: ${error.name}`);
    }
  }

  async alarm() {
    this.saving = false;
    // One by one: none keeps the others from being written. They are one write of the runtime's all the same.
    const unwritten = [];
    let name;
    for (const [id, text] of JSON.parse(this.pool.save(Date.now()))) {
      try {
        if (text === "") this.sql.exec("DELETE FROM known WHERE id = ?", id);
        else this.sql.exec("INSERT OR REPLACE INTO known (id, text) VALUES (?, ?)", id, text);
      } catch (error) {
        unwritten.push([id, text]);
        name = error.name;
      }
    }
    if (unwritten.length === 0) return;
    // As when a day's rows are used up. The next call tries again.
    this.pool.unsaved(JSON.stringify(unwritten));
    console.error(`what was learned cannot be written down: ${name}`);
  }

  saveSoon() {
    if (this.saving || !this.pool.dirty()) return;
    this.saving = true;
    const set = this.ctx.storage.setAlarm(Date.now() + SAVE_AFTER).catch((error) => {
      this.saving = false;
      console.error(`no alarm can be set: ${error.name}`);
    });
    this.ctx.waitUntil(set);
  }

  async readKeys() {
    this.readAt = Date.now();
    const found = await findKeys(this.env, this.found, () => this.entries());
    if (!found.lost) {
      this.found = found;
      this.readAt = Math.min(this.readAt, found.dueAt - KEYS_EVERY);
      if (found.config !== null && this.listed) {
        // There is the one list now; keys are kept nowhere longer than they are used.
        this.listed = null;
        await this.keep(() => this.ctx.storage.delete(LISTED));
      }
    }
    const text = JSON.stringify({ ...found, dueAt: undefined });
    if (text === this.last) return;
    this.last = text;
    this.pool.keys(text, Date.now());
  }
}

// Each time is an alarm and a row or more, of 100,000 rows a day: at this pace not a third of them. An object that
// nobody calls may be gone after ten seconds, with all that it has not written.
const SAVE_AFTER = 6_000;

// A life begins with KV's keys, which take it some ten milliseconds. Without them it plans nothing, and isolates go on
// with what they know.
const START_PATIENCE = 500;

// Where the entries are kept, beside what is known.
const LISTED = "listed";
