"""Keeps the libraries on this machine, and gives each library its stack."""

import importlib
import os

import pytest

import adapters
import harness

# What a shell may hold must not decide a run, and nothing but the stack may be called.
for name in list(os.environ):
    if name.upper().endswith("_PROXY") or name.startswith(("GOOGLE_", "GEMINI_API", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")):
        del os.environ[name]
os.environ.update(
    NO_PROXY="127.0.0.1,localhost",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_TELEMETRY="False",
    LANGSMITH_TRACING="false",
    LANGCHAIN_TRACING_V2="false",
)


def pytest_addoption(parser):
    parser.addoption("--suite", choices=sorted(adapters.SUITES), required=True, help="which environment this is")


def pytest_generate_tests(metafunc):
    if "library" in metafunc.fixturenames:
        metafunc.parametrize("library", adapters.SUITES[metafunc.config.getoption("suite")], indirect=True, scope="module")


class Library:
    """One library at both places, and the stack under it."""

    def __init__(self, stack, direct, relay, stranger):
        self.stack, self.direct, self.relay, self.stranger = stack, direct, relay, stranger


@pytest.fixture(scope="module")
def library(request):
    module = importlib.import_module(f"adapters.{request.param}")
    stack = harness.start()
    try:
        with module.connect(stack) as (direct, relay, stranger):
            yield Library(stack, direct, relay, stranger)
    finally:
        shown = stack.stop()
    assert shown == []
