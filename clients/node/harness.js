// What a scenario runs against: the Node side of python/harness.py, which says why it is so.

import { spawn as spawnProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const shared = JSON.parse(readFileSync(new URL("../scenarios.json", import.meta.url), "utf8"));

// How soon an upstream request must end after its client hung up.
export const HANG_UP_MS = 1000;
const START_MS = 20_000;

// What a shell may hold must not decide a run, and nothing but the stack may be called.
for (const name of Object.keys(process.env)) {
  if (/_proxy$/i.test(name) || /^(GOOGLE_|GEMINI_API|OPENAI_)/.test(name)) delete process.env[name];
}

export class Stack {
  constructor(emulatorUrl, relayUrl, started = []) {
    Object.assign(this, { emulatorUrl, relayUrl, started });
    // A relay of our own begins with a pool of which nothing is known.
    this.fresh = started.length > 0;
    this.direct = { base: emulatorUrl, credential: shared.direct_key, isRelay: false };
    this.relay = { base: relayUrl, credential: shared.token, isRelay: true };
    this.stranger = { base: relayUrl, credential: "not-the-token", isRelay: true };
  }

  /** Begins a scenario: its projects, no faults, nothing received yet. */
  async configure(name) {
    await this.#call("DELETE", "/_emulator/faults");
    await this.#call("PUT", "/_emulator/config", shared.configs[name]);
    await this.#call("DELETE", "/_emulator/requests");
  }

  fault(fault, count = 1000) {
    return this.#call("POST", "/_emulator/faults", { match: {}, count, fault });
  }

  clearFaults() {
    return this.#call("DELETE", "/_emulator/faults");
  }

  /** The requests that the emulator received whose body holds the marker, oldest first. */
  async received(marker = "") {
    const { requests } = await this.#call("GET", "/_emulator/requests");
    return requests.filter((r) => (r.body ?? "").includes(marker));
  }

  /** How often the emulator answered each status to this key since the scenario began. */
  async answered(key) {
    const counts = {};
    for (const r of await this.received()) {
      if (r.credentials.some((c) => c.value === key)) counts[r.status] = (counts[r.status] ?? 0) + 1;
    }
    return counts;
  }

  /** How long from now until the emulator sees every such request's client gone, or undefined. */
  async msUntilCancelled(marker, limit) {
    const begun = performance.now();
    while (performance.now() - begun < limit) {
      const outcomes = (await this.received(marker)).map((r) => r.outcome);
      if (outcomes.length && outcomes.every((o) => o === "cancelled")) return performance.now() - begun;
      await sleep(10);
    }
  }

  /** Ends what was started, and gives the pool keys whose text the relay wrote: there must be none. */
  async stop() {
    for (const { child } of this.started) await stop(child);
    const log = this.started.find((s) => s.name === "relay")?.log;
    if (!log) return [];
    const text = readFileSync(log, "utf8");
    rmSync(dirname(log), { recursive: true, force: true });
    return shared.pool_keys.filter((key) => text.includes(key));
  }

  async #call(method, path, body) {
    const answer = await fetch(this.emulatorUrl + path, {
      method,
      headers: { "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return /^\s*[{[]/.test(text) ? JSON.parse(text) : undefined;
  }
}

/** A stack of its own on ports that the system chose, or the one the environment names. */
export async function start() {
  const { RELAY_URL, EMULATOR_URL, CLIENTS_EMULATOR_BIN, CLIENTS_RELAY_BIN } = process.env;
  if (RELAY_URL) return new Stack(EMULATOR_URL.replace(/\/$/, ""), RELAY_URL.replace(/\/$/, ""));
  if (!CLIENTS_EMULATOR_BIN || !CLIENTS_RELAY_BIN) {
    throw new Error("CLIENTS_EMULATOR_BIN and CLIENTS_RELAY_BIN name no programs: see clients/README.md");
  }
  const folder = mkdtempSync(join(tmpdir(), "relay-clients-"));
  const emulator = await spawn("emulator", CLIENTS_EMULATOR_BIN, ["--listen", "127.0.0.1:0"], {}, folder);
  try {
    const env = { GEMINI_API_KEYS: shared.pool_keys.join(","), GEMINI_RELAY_TOKENS: `clients=${shared.token}` };
    const relay = await spawn("relay", CLIENTS_RELAY_BIN, ["--listen", "127.0.0.1:0", "--upstream", emulator.url], env, folder);
    return new Stack(emulator.url, relay.url, [relay, emulator]);
  } catch (error) {
    await stop(emulator.child);
    throw error;
  }
}

/** Starts a program in an empty folder and waits for the line that says where it listens. */
async function spawn(name, program, args, env, folder) {
  const log = join(folder, `${name}.log`);
  const output = openSync(log, "w");
  const child = spawnProcess(program, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline && child.exitCode === null) {
    const found = /listening on (http:\/\/[0-9.:]+)/.exec(readFileSync(log, "utf8"));
    if (found) return { name, child, url: found[1], log };
    await sleep(20);
  }
  await stop(child);
  throw new Error(`${name} did not start:\n${readFileSync(log, "utf8")}`);
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const kill = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await gone;
  clearTimeout(kill);
}
