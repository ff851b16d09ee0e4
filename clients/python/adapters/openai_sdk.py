"""openai. The relay takes the plain `/v1` that every OpenAI client has; Google has its own path."""

import openai

from . import both


class Adapter:
    def __init__(self, endpoint, path=None):
        path = path or ("/v1" if endpoint.is_relay else "/v1beta/openai/")
        self.client = openai.OpenAI(api_key=endpoint.credential, base_url=endpoint.base + path, max_retries=0)

    def unary(self, model, prompt):
        answer = self.client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
        choice = answer.choices[0]
        return {
            "chunks": [choice.message.content],
            "finish": choice.finish_reason,
            "tokens": answer.usage.total_tokens,
        }

    def stream(self, model, prompt):
        with self._stream(model, prompt) as stream:
            choices = [event.choices[0] for event in stream if event.choices]
        return {
            "chunks": [c.delta.content for c in choices],
            "finish": choices[-1].finish_reason,
        }

    def hang_up(self, model, prompt):
        with self._stream(model, prompt) as stream:
            return next(iter(stream)).choices[0].delta.content

    def _stream(self, model, prompt):
        return self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], stream=True
        )

    @staticmethod
    def describe(error):
        assert isinstance(error, openai.APIStatusError), repr(error)
        return {"status": error.status_code, "message": error.message, "body": error.body}


connect = both(Adapter)
