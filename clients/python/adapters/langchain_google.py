"""langchain-google-genai's chat model."""

from langchain_core.messages import HumanMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError

from . import both


class Adapter:
    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.chats = {}

    def unary(self, model, prompt):
        answer = self._chat(model).invoke([HumanMessage(prompt)])
        return outcome([answer])

    def stream(self, model, prompt):
        return outcome(list(self._chat(model).stream([HumanMessage(prompt)])))

    def hang_up(self, model, prompt):
        stream = self._chat(model).stream([HumanMessage(prompt)])
        first = next(stream).content
        stream.close()
        return first

    def _chat(self, model):
        """One object a model, as a program has: making one costs more than a request here."""
        if model not in self.chats:
            self.chats[model] = ChatGoogleGenerativeAI(
                model=model, google_api_key=self.endpoint.credential, base_url=self.endpoint.base, max_retries=1
            )
        return self.chats[model]

    @staticmethod
    def describe(error):
        assert isinstance(error, ChatGoogleGenerativeAIError), repr(error)
        # It keeps the status only in the exception it was raised from.
        return {"status": getattr(error.__cause__, "code", None), "message": str(error)}


def outcome(answers):
    return {"chunks": [a.content for a in answers], "tokens": [a.usage_metadata for a in answers]}


connect = both(Adapter)
