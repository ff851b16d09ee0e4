#!/usr/bin/env node
// The built Worker on workerd, started and stopped as the native relay is, so that the suites of clients/ can drive
// it without knowing:
//
//   relay.mjs --listen 127.0.0.1:0 --upstream URL
//
// Variables are the Worker's variables. It says where it listens, and ends with SIGTERM.

import { Log, LogLevel, Miniflare } from "miniflare";
import { worker } from "./workerd.mjs";

const upstream = process.argv[process.argv.indexOf("--upstream") + 1];
const own = Object.entries(process.env).filter(([name]) => /^GEMINI_(RELAY_|API_KEYS$)/.test(name));
const bindings = { ...Object.fromEntries(own), GEMINI_RELAY_UPSTREAM: upstream };

const miniflare = new Miniflare(worker({ bindings, log: new Log(LogLevel.ERROR) }));
// Before anybody is told to come, or a stop at once would leave workerd behind.
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, async () => {
    await miniflare.dispose();
    process.exit(0);
  });
}
await miniflare.ready;
const { origin } = await miniflare.unsafeGetDirectURL();
process.stdout.write(`listening on ${origin}\n`);
