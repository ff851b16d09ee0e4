"""google-genai, the blocking client. Base URL as a user gives it: without a version."""

from google import genai
from google.genai import errors

from . import both


class Adapter:
    def __init__(self, endpoint):
        self.client = genai.Client(api_key=endpoint.credential, http_options={"base_url": endpoint.base})

    def unary(self, model, prompt):
        return outcome([self.client.models.generate_content(model=model, contents=prompt)])

    def stream(self, model, prompt):
        return outcome(list(self.client.models.generate_content_stream(model=model, contents=prompt)))

    def hang_up(self, model, prompt):
        stream = self.client.models.generate_content_stream(model=model, contents=prompt)
        first = next(iter(stream)).text
        stream.close()
        return first

    @staticmethod
    def describe(error):
        assert isinstance(error, errors.APIError), repr(error)
        return {"status": error.code, "reason": error.status, "message": error.message}


def outcome(answers):
    last = answers[-1]
    return {
        "chunks": [a.text for a in answers],
        "finish": str(last.candidates[0].finish_reason),
        "tokens": last.usage_metadata.total_token_count,
    }


connect = both(Adapter)
