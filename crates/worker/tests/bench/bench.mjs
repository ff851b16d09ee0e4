// What the Worker costs: CPU of workerd for one request and the delay of the first byte, beside a JavaScript Worker that
// makes the same calls, one that only forwards, and one that works as the original did; looking into bodies; starting;
// and its size. As Markdown, with the bars.
//
//   node bench.mjs DIST [REQUESTS]
//
// All in one run, in turns, since the machine is never the same twice. Linux only: CPU is read from /proc.

import { Log, LogLevel, Miniflare } from "miniflare";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { looked } from "./looked.mjs";

const [dist, given] = process.argv.slice(2);
const REQUESTS = Number(given ?? 600);
const CONNECTIONS = 32;
// Short, so that neighbours have the same neighbours on the machine.
const ROUNDS = 15;
// At one connection, to each in turn.
const SINGLE = 600;
const STARTS = 7;
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
  ["as the original", others, { WAY: "original", UPSTREAM: upstream }],
  // Neighbours, since they are judged.
  ["the same calls in JavaScript", others, { WAY: "calls", UPSTREAM: upstream }],
  ["gemini-relay", ours, relay],
  ["gemini-relay, no log", ours, { ...relay, GEMINI_RELAY_LOG_LEVEL: "off" }],
];

// Before anything else is under way.
const { sizes, bodies, answers } = await looked(dist);
const begin = path.join(import.meta.dirname, "begin.mjs");
const starts = Array.from({ length: STARTS }, () => Number(execFileSync(process.execPath, [begin, dist], { encoding: "utf8" })));

const servers = [];
for (const [name, modules, bindings] of cases) {
  const before = new Set(workerds());
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
  const pid = workerds().find((pid) => !before.has(pid));
  servers.push({ name, miniflare, url, agent, start, pid, rounds: [], single: [] });
}
for (const { url, agent } of servers) await crowd(url, agent, 500);
for (let round = 0; round < ROUNDS; round += 1) {
  for (const { url, agent, pid, rounds } of servers) {
    const before = cpu(pid);
    await crowd(url, agent, REQUESTS);
    rounds.push(((cpu(pid) - before) * TICK_MICROS) / REQUESTS);
  }
}
for (let at = 0; at < SINGLE; at += 1) {
  for (const { url, agent, single } of servers) single.push(await ask(url, agent));
}
for (const { miniflare, agent } of servers) {
  agent.destroy();
  await miniflare.dispose();
}
google.stdin.end();

const [forward, , calls, relaying] = servers;
// Neighbours are compared, not medians that may come from different minutes.
const over = (one, other) => median(one.rounds.map((micros, round) => micros / other.rounds[round]));
const added = (one) => median(one.single.map((millis, at) => millis - forward.single[at]));
const packed = ours.reduce((sum, { path }) => sum + gzipSync(readFileSync(path), { level: 9 }).length, 0);

const lines = [
  `| Worker | CPU µs a request | over the same calls | first byte, added over forwarding | first answer after |`,
  "|---|--:|--:|--:|--:|",
  ...servers.map((one) =>
    row([one.name, median(one.rounds).toFixed(0), over(one, calls).toFixed(2), one === forward ? "" : `${added(one).toFixed(2)} ms`, `${one.start.toFixed(0)} ms`]),
  ),
  "",
  `${body.length} bytes up and 1 KB down; CPU at ${CONNECTIONS} connections, medians of ${ROUNDS} rounds of ${REQUESTS}; the first byte at one connection, median of ${SINGLE}.`,
  "",
  row(["looking into", ...sizes.map((size) => `${size} MB`)]),
  `|---|${"--:|".repeat(sizes.length)}`,
  ...[...bodies, ...answers].map(([name, figures]) => row([name, ...figures.map((millis) => `${millis.toFixed(1)} ms`)])),
  "",
  "The least of several. Of a body so much is read as it may cost; an answer is looked at as long as it lasts.",
  "",
  "| bar | found | at most | |",
  "|---|--:|--:|---|",
];
const bars = [
  ["CPU a request over the same calls in JavaScript", over(relaying, calls), 2, "", 2],
  ["the script, compressed", packed / 1000, 700, " KB", 0],
  ["looking into the dearest body", Math.max(...bodies.flatMap(([, figures]) => figures)), 10, " ms", 1],
];
for (const [what, found, most, unit, digits] of bars) {
  lines.push(row([what, `${found.toFixed(digits)}${unit}`, `${most}${unit}`, found <= most ? "holds" : "**fails**"]));
}
lines.push("", `Compiling and starting the WebAssembly: ${median(starts).toFixed(0)} ms (median of ${STARTS} processes).`);
console.log(lines.join("\n"));
if (bars.some(([, found, most]) => !(found <= most))) process.exitCode = 1;

function row(cells) {
  return `| ${cells.join(" | ")} |`;
}

function median(figures) {
  return [...figures].sort((a, b) => a - b)[figures.length >> 1];
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

async function crowd(url, agent, count) {
  let left = count;
  const one = async () => {
    while (left-- > 0) await ask(url, agent);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
}

// Those that this process started.
function workerds() {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && stat(name)?.ppid === process.pid && stat(name)?.comm === "workerd");
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
