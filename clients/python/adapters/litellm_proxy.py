"""litellm's proxy, asked with the openai library. One proxy has both places as its `api_base`,
told apart by the first part of the model's name."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import harness

from . import openai_sdk

MASTER = "sk-clients-made-up-master"
# It imports all of litellm, on a busy machine for half a minute.
START_SECONDS = 150

CONFIG = """
model_list:
  - model_name: "direct/*"
    litellm_params: {{model: "gemini/*", api_base: "{direct}/v1beta", api_key: "{direct_key}"}}
  - model_name: "relay/*"
    litellm_params: {{model: "gemini/*", api_base: "{relay}/v1beta", api_key: "{token}"}}
  - model_name: "stranger/*"
    litellm_params: {{model: "gemini/*", api_base: "{relay}/v1beta", api_key: "{wrong_token}"}}
litellm_settings: {{num_retries: 0, telemetry: false}}
router_settings: {{num_retries: 0, disable_cooldowns: true, retry_after: 0}}
general_settings: {{master_key: "{master}"}}
"""


class Adapter(openai_sdk.Adapter):
    def __init__(self, proxy, place):
        super().__init__(harness.Endpoint(proxy, MASTER, is_relay=True))
        self.place = place

    def unary(self, model, prompt):
        return super().unary(f"{self.place}/{model}", prompt)

    def stream(self, model, prompt):
        return super().stream(f"{self.place}/{model}", prompt)

    def hang_up(self, model, prompt):
        return super().hang_up(f"{self.place}/{model}", prompt)

    def describe(self, error):
        # It tells the model group, in which the place is named.
        told = super().describe(error)
        return json.loads(json.dumps(told).replace(f"{self.place}/", "PLACE/"))


@contextlib.contextmanager
def connect(stack):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="relay-litellm-"))
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            direct=stack.direct.base,
            direct_key=stack.direct.credential,
            relay=stack.relay.base,
            token=stack.relay.credential,
            wrong_token=stack.stranger.credential,
            master=MASTER,
        )
    )
    # It takes no port 0, so the system is asked for a free one just before.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = pathlib.Path(sys.executable).parent / "litellm"
    quiet = {k: v for k, v in os.environ.items() if k.startswith(("LITELLM_", "NO_PROXY", "HOME"))}
    process, url = harness.spawn(
        "litellm",
        [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"],
        quiet,
        folder,
        ready=rf"(http://127\.0\.0\.1:{port})",
        seconds=START_SECONDS,
    )
    try:
        wait_until_alive(url)
        yield Adapter(url, "direct"), Adapter(url, "relay"), Adapter(url, "stranger")
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_alive(url):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url + "/health/liveliness", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
