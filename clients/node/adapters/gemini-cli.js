// gemini-cli without a person: one process a prompt, in a home of its own whose settings switch off
// what would call anything but the base URL.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../node_modules/@google/gemini-cli/bundle/gemini.js", import.meta.url));
// It waits itself when it is refused: far longer than any answer here takes is a failure.
const LIMIT_MS = 90_000;

const settings = {
  security: { auth: { selectedType: "gemini-api-key" }, folderTrust: { enabled: false } },
  privacy: { usageStatisticsEnabled: false },
  telemetry: { enabled: false },
  general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
};

export class GeminiCli {
  /** Both places share a home and a working folder: it tells the model about them. */
  constructor({ base, credential }, home) {
    this.home = home;
    this.env = {
      PATH: process.env.PATH,
      HOME: home,
      TMPDIR: home,
      USERPROFILE: home,
      GEMINI_API_KEY: credential,
      GOOGLE_GEMINI_BASE_URL: base,
      // The prompt's process is then the one started here, and can be killed.
      GEMINI_CLI_NO_RELAUNCH: "true",
      NO_COLOR: "1",
      NO_PROXY: "127.0.0.1,localhost",
    };
  }

  async unary(model, prompt) {
    const child = this.#start(model, prompt, "json");
    const { code, out, err } = await finished(child);
    if (code !== 0) throw new CliError(code, `${err}\n${out}`);
    const answer = JSON.parse(out);
    return { chunks: [answer.response], tokens: answer.stats.models[model].tokens.total };
  }

  async stream(model, prompt) {
    const { code, out, err } = await finished(this.#start(model, prompt, "stream-json"));
    if (code !== 0) throw new CliError(code, `${err}\n${out}`);
    return { chunks: deltas(out.split("\n")), finish: events(out.split("\n")).at(-1).status };
  }

  /** Kills it, as closing its terminal does, once the first part of the answer is there. */
  async hangUp(model, prompt) {
    const child = this.#start(model, prompt, "stream-json");
    let first;
    for await (const line of createInterface({ input: child.stdout })) {
      [first] = deltas([line]);
      if (first) break;
    }
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    return first;
  }

  describe(error) {
    if (!(error instanceof CliError)) throw error;
    // It ends with an object; before it stands a report whose first line names its own class.
    const told = JSON.parse(error.message.slice(error.message.lastIndexOf("\n{\n"))).error;
    const [, name] = /\.json (\w+)/.exec(error.message) ?? [];
    return { exit: error.code, class: name, ...told };
  }

  #start(model, prompt, format) {
    const args = [program, "--skip-trust", "-m", model, "-o", format, "-p", prompt];
    return spawn(process.execPath, args, {
      cwd: join(this.home, "work"),
      env: this.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }
}

/** A home for it, and what removes the home. */
export function makeHome() {
  const home = mkdtempSync(join(tmpdir(), "relay-gemini-cli-"));
  mkdirSync(join(home, "work"));
  mkdirSync(join(home, ".gemini"));
  writeFileSync(join(home, ".gemini", "settings.json"), JSON.stringify(settings));
  return { home, remove: () => rmSync(home, { recursive: true, force: true }) };
}

/** What it wrote when it gave up. */
export class CliError extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

async function finished(child) {
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const text = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (s) => (text.out += s));
  child.stderr.setEncoding("utf8").on("data", (s) => (text.err += s));
  const [code] = await once(child, "close");
  clearTimeout(timer);
  return { code, ...text };
}

function events(lines) {
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

function deltas(lines) {
  return events(lines)
    .filter((e) => e.type === "message" && e.role === "assistant")
    .map((e) => e.content);
}
