// CPU of workerd for one request: the Worker beside a JavaScript Worker that makes the same calls, one that
// only forwards, and one that works as the original did.
//
//   node bench.mjs DIST [REQUESTS]
//
// All in one run, in turns, since the machine is never the same twice. Linux only: CPU is read from /proc.

import { Log, LogLevel, Miniflare } from "miniflare";
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { gzipSync } from "node:zlib";

const [dist, given] = process.argv.slice(2);
const REQUESTS = Number(given ?? 4000);
const CONNECTIONS = 32;
const ROUNDS = 3;
// A clock tick of /proc, as on every Linux.
const TICK_MICROS = 10_000;

const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "a word and ".repeat(185) }] }] });
const keys = JSON.stringify(["made-up-key-0", "made-up-key-1", "made-up-key-2"]);

const google = spawn(process.execPath, [path.join(import.meta.dirname, "upstream.mjs")], { stdio: ["pipe", "pipe", "inherit"] });
const port = await new Promise((resolve) => google.stdout.once("data", (data) => resolve(Number(data))));
const upstream = `http://127.0.0.1:${port}`;

const others = [{ type: "ESModule", path: path.join(import.meta.dirname, "others.js") }];
const ours = readdirSync(dist)
  .filter((name) => /\.(js|wasm)$/.test(name))
  .sort((a, b) => (b === "index.js") - (a === "index.js"))
  .map((name) => ({ type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule", path: path.join(dist, name) }));

const relay = { GEMINI_RELAY_UPSTREAM: upstream, GEMINI_RELAY_ALLOW_ANONYMOUS: "on" };
const cases = [
  ["forwards only", others, { WAY: "forward", UPSTREAM: upstream }],
  ["the same calls in JavaScript", others, { WAY: "calls", UPSTREAM: upstream }],
  ["as the original", others, { WAY: "original", UPSTREAM: upstream }],
  ["gemini-relay", ours, relay],
  ["gemini-relay, no log", ours, { ...relay, GEMINI_RELAY_LOG_LEVEL: "off" }],
];

const results = [];
for (const [name, modules, bindings] of cases) {
  const begun = performance.now();
  const miniflare = new Miniflare({
    log: new Log(LogLevel.NONE),
    handleRuntimeStdio: (stdout, stderr) => (stdout.resume(), stderr.resume()),
    modules,
    modulesRoot: path.dirname(modules[0].path),
    compatibilityDate: "2026-04-01",
    compatibilityFlags: ["enable_request_signal"],
    bindings,
    kvNamespaces: ["KV"],
    durableObjects: modules === ours
      ? { POOL: { className: "PoolObject", useSQLite: true }, EGRESS: { className: "EgressObject", useSQLite: true } }
      : { POOL: { className: "PoolObject", useSQLite: true } },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  });
  await miniflare.ready;
  await (await miniflare.getKVNamespace("KV")).put("GEMINI_API_KEYS_CONFIG", keys);
  const url = await miniflare.unsafeGetDirectURL();
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  await ask(url, agent);
  const start = performance.now() - begun;
  await crowd(url, agent, 500);
  const pid = workerd();
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const [before, times] = [cpu(pid), []];
    await crowd(url, agent, REQUESTS, times);
    times.sort((a, b) => a - b);
    rounds.push({ micros: ((cpu(pid) - before) * TICK_MICROS) / REQUESTS, median: times[times.length >> 1] });
  }
  rounds.sort((a, b) => a.micros - b.micros);
  results.push({ name, start, ...rounds[ROUNDS >> 1] });
  agent.destroy();
  await miniflare.dispose();
}
google.stdin.end();

const calls = results[1].micros;
console.log(`CPU of workerd a request, ${body.length} bytes up and 1 KB down, ${CONNECTIONS} connections, median of ${ROUNDS} rounds of ${REQUESTS}`);
for (const { name, micros, median, start } of results) {
  console.log(`  ${name.padEnd(30)} ${micros.toFixed(0).padStart(6)} µs  ${(micros / calls).toFixed(2)}x  median ${median.toFixed(1)} ms  first answer after ${start.toFixed(0)} ms`);
}
const packed = ours.reduce((sum, { path }) => sum + gzipSync(readFileSync(path), { level: 9 }).length, 0);
console.log(`the script, compressed: ${Math.round(packed / 1000)} KB`);
const ratio = results[3].micros / calls;
if (ratio > 2 || packed > 700_000) {
  console.log("FAILED: at most twice the CPU of the same calls in JavaScript, and 700 KB");
  process.exit(1);
}

function ask(url, agent) {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const request = http.request(
      { host: url.hostname, port: url.port, path: "/v1beta/models/gemini-2.5-flash:generateContent", method: "POST", agent,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body), "x-goog-api-client": "bench" } },
      (response) => {
        const first = performance.now() - begun;
        response.resume();
        response.on("end", () => (response.statusCode === 200 ? resolve(first) : reject(new Error(`status ${response.statusCode}`))));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

async function crowd(url, agent, count, times = []) {
  let left = count;
  const one = async () => {
    while (left-- > 0) times.push(await ask(url, agent));
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
}

// The workerd that this process started.
function workerd() {
  const own = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && stat(name)?.ppid === process.pid && stat(name)?.comm === "workerd");
  return own[0];
}

function cpu(pid) {
  return stat(pid).ticks;
}

function stat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [, comm] = text.match(/\((.*)\)/);
    const rest = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { comm, ppid: Number(rest[1]), ticks: Number(rest[11]) + Number(rest[12]) };
  } catch {
    return undefined;
  }
}
