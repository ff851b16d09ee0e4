"""One file a library. Each has `connect(stack)`: a context that yields an adapter for the direct
run, one for the relay's, and one that shows the relay a wrong token.

An adapter has `unary(model, prompt)` and `stream(model, prompt)`, which return what the library
made of the answer, `hang_up(model, prompt)`, which reads the beginning of a stream and leaves,
and `describe(error)`, the status and message of that library's exception. Retries inside the
libraries are off wherever they can be: an error that the library would hide must be seen.
"""

import contextlib

SUITES = {
    "current": ["google_genai_sync", "google_genai_async", "litellm_sdk", "litellm_proxy", "openai_sdk"],
    "genai1": ["google_genai_sync", "google_genai_async", "openai_sdk"],
    "langchain": ["langchain_google"],
}


def both(adapter):
    """The usual `connect`: the same adapter at both places."""

    @contextlib.contextmanager
    def connect(stack):
        yield adapter(stack.direct), adapter(stack.relay), adapter(stack.stranger)

    return connect
