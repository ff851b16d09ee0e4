"""google-genai, the asynchronous client (its own HTTP stack: aiohttp where installed, else httpx)."""

import asyncio
import contextlib
import threading

from google import genai

from . import google_genai_sync as sync


class Adapter:
    describe = staticmethod(sync.Adapter.describe)

    def __init__(self, endpoint, loop):
        self.loop = loop
        self.client = genai.Client(api_key=endpoint.credential, http_options={"base_url": endpoint.base})

    def unary(self, model, prompt):
        async def run():
            return sync.outcome([await self.client.aio.models.generate_content(model=model, contents=prompt)])

        return self._wait(run())

    def stream(self, model, prompt):
        async def run():
            stream = await self.client.aio.models.generate_content_stream(model=model, contents=prompt)
            return sync.outcome([answer async for answer in stream])

        return self._wait(run())

    def hang_up(self, model, prompt):
        """Cancels the task that reads the stream, as a web server does whose own client left."""

        async def run():
            first = asyncio.get_running_loop().create_future()

            async def read():
                stream = await self.client.aio.models.generate_content_stream(model=model, contents=prompt)
                async for answer in stream:
                    if not first.done():
                        first.set_result(answer.text)

            reading = asyncio.create_task(read())
            text = await first
            reading.cancel()
            await asyncio.wait([reading])
            return text

        return self._wait(run())

    def _wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@contextlib.contextmanager
def connect(stack):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Adapter(stack.direct, loop), Adapter(stack.relay, loop), Adapter(stack.stranger, loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
