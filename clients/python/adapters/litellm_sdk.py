"""litellm's own calls. It adds no version to `api_base`, so the relay is asked without one."""

import litellm

from . import both

# Where to report errors is no help in a test's output.
litellm.suppress_debug_info = True


class Adapter:
    def __init__(self, endpoint):
        self.options = {
            "api_base": endpoint.base if endpoint.is_relay else endpoint.base + "/v1beta",
            "api_key": endpoint.credential,
            "num_retries": 0,
            "max_retries": 0,
        }

    def unary(self, model, prompt):
        answer = litellm.completion(**self._request(model, prompt))
        choice = answer.choices[0]
        return {
            "chunks": [choice.message.content],
            "finish": choice.finish_reason,
            "tokens": answer.usage.total_tokens,
        }

    def stream(self, model, prompt):
        choices = [e.choices[0] for e in litellm.completion(**self._request(model, prompt), stream=True)]
        return {
            "chunks": [c.delta.content for c in choices],
            "finish": choices[-1].finish_reason,
        }

    def hang_up(self, model, prompt):
        stream = litellm.completion(**self._request(model, prompt), stream=True)
        first = next(iter(stream)).choices[0].delta.content
        close(stream)
        return first

    def _request(self, model, prompt):
        messages = [{"role": "user", "content": prompt}]
        return {"model": f"gemini/{model}", "messages": messages, **self.options}

    @staticmethod
    def describe(error):
        assert type(error).__module__.startswith("litellm."), repr(error)
        return {"status": error.status_code, "message": error.message}


def close(stream):
    """Its stream has no close of its own; dropping what it wraps is what leaving it does."""
    inner = getattr(stream, "completion_stream", None)
    for holder in (inner, getattr(inner, "streaming_response", None), getattr(inner, "response_iterator", None)):
        if hasattr(holder, "close"):
            holder.close()


connect = both(Adapter)
