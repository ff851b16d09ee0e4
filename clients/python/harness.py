"""What a scenario runs against: an emulator, a relay before it, and what the emulator saw.

One stack serves all scenarios of one library, as one relay serves its clients all day: the
emulator is told a new configuration for each scenario while the relay goes on. The same emulator
has a project of its own for the direct runs, whose key the relay does not know, so that both
runs of a scenario meet the same upstream.

With RELAY_URL and EMULATOR_URL in the environment nothing is started and those two are used, for
a relay that some other means runs (it must have the pool keys and the token of scenarios.json).
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field

SHARED = json.loads((pathlib.Path(__file__).parent.parent / "scenarios.json").read_text())
MODELS = SHARED["models"]
POOL_KEYS = SHARED["pool_keys"]
TOKEN = SHARED["token"]

# How soon an upstream request must end after its client hung up.
HANG_UP_SECONDS = 1.0
START_SECONDS = 20.0


@dataclass(frozen=True)
class Endpoint:
    """A place to send requests to: the emulator itself, or the relay."""

    base: str
    credential: str
    is_relay: bool


@dataclass
class Stack:
    emulator_url: str
    relay_url: str
    # A relay of our own begins with a pool of which nothing is known; one that was given may
    # remember earlier suites, so how often it met a bad key cannot be said beforehand.
    fresh: bool
    processes: list = field(default_factory=list)
    folder: pathlib.Path | None = None

    @property
    def direct(self):
        return Endpoint(self.emulator_url, SHARED["direct_key"], is_relay=False)

    @property
    def relay(self):
        return Endpoint(self.relay_url, TOKEN, is_relay=True)

    @property
    def stranger(self):
        return Endpoint(self.relay_url, "not-the-token", is_relay=True)

    def configure(self, name):
        """Begins a scenario: its projects, no faults, nothing received yet."""
        self._call("DELETE", "/_emulator/faults")
        self._call("PUT", "/_emulator/config", SHARED["configs"][name])
        self._call("DELETE", "/_emulator/requests")

    def fault(self, fault, count=1000):
        self._call("POST", "/_emulator/faults", {"match": {}, "count": count, "fault": fault})

    def clear_faults(self):
        self._call("DELETE", "/_emulator/faults")

    def received(self, marker=""):
        """The requests that the emulator received whose body holds the marker, oldest first."""
        everything = self._call("GET", "/_emulator/requests")["requests"]
        return [r for r in everything if marker in (r.get("body") or "")]

    def answered(self, key):
        """How often the emulator answered each status to this key since the scenario began."""
        counts = {}
        for request in self.received():
            if any(c["value"] == key for c in request["credentials"]):
                counts[request["status"]] = counts.get(request["status"], 0) + 1
        return counts

    def seconds_until_cancelled(self, marker, limit):
        """How long from now until the emulator sees every such request's client gone, or None."""
        begun = time.monotonic()
        while time.monotonic() - begun < limit:
            outcomes = [r["outcome"] for r in self.received(marker)]
            if outcomes and all(o == "cancelled" for o in outcomes):
                return time.monotonic() - begun
            time.sleep(0.01)
        return None

    def stop(self):
        """Ends what was started, and gives the pool keys whose text the relay wrote to its log:
        there must be none."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        if self.folder is None:
            return []
        text = (self.folder / "relay.log").read_text(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
        return [key for key in POOL_KEYS if key in text]

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.emulator_url + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text.strip().startswith((b"{", b"[")) else None


def start():
    """A stack of its own on ports that the system chose, or the one the environment names."""
    if os.environ.get("RELAY_URL"):
        return Stack(os.environ["EMULATOR_URL"].rstrip("/"), os.environ["RELAY_URL"].rstrip("/"), fresh=False)
    if "CLIENTS_EMULATOR_BIN" not in os.environ or "CLIENTS_RELAY_BIN" not in os.environ:
        raise RuntimeError("CLIENTS_EMULATOR_BIN and CLIENTS_RELAY_BIN name no programs: see clients/README.md")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="relay-clients-"))
    emulator, emulator_url = spawn("emulator", [os.environ["CLIENTS_EMULATOR_BIN"], "--listen", "127.0.0.1:0"], {}, folder)
    try:
        relay, relay_url = spawn(
            "relay",
            [os.environ["CLIENTS_RELAY_BIN"], "--listen", "127.0.0.1:0", "--upstream", emulator_url],
            {"GEMINI_API_KEYS": ",".join(POOL_KEYS), "GEMINI_RELAY_TOKENS": f"clients={TOKEN}"},
            folder,
        )
    except BaseException:
        emulator.kill()
        raise
    return Stack(emulator_url, relay_url, True, [relay, emulator], folder)


def spawn(name, command, env, folder, ready=r"listening on (http://[0-9.:]+)", seconds=START_SECONDS):
    """Starts a program in an empty folder and waits for the line that says where it listens."""
    log = folder / f"{name}.log"
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**keep, **env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(ready, text):
            return process, found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')}")
