"""Handlers that leave garbage in cycles, which the collector finds at any moment, and objects that act when they go.

The thresholds of the collector are set low, so that it runs inside of nearly everything, the server's own code too.
"""

import asyncio
import gc

from common import Stressed

from plugincore.responses import Event, EventSource, StreamingResponse

GENERATION = 0


class Cycle:
    """Holds itself and something else, and runs Python code when it goes."""

    def __init__(self, held, deed):
        self.held = held
        self.deed = deed
        self.self = self

    def __del__(self):
        self.deed()


class Garbage(Stressed):
    generation = GENERATION

    def terminate_plugin(self):
        gc.set_threshold(700, 10, 10)

    async def request_handler(self, request, **data):
        gc.set_threshold(int(data["threshold"]), 3, 3)
        with self.inside():
            loop = asyncio.get_running_loop()
            deeds = {
                "nothing": lambda: None,
                "log": lambda: self.log.debug("gone"),
                "soon": lambda: loop.call_soon(int),
                "safe": lambda: loop.call_soon_threadsafe(int),
                "task": lambda: loop.create_task(asyncio.sleep(0)),
                "collect": lambda: gc.collect(0),
            }
            for _ in range(int(data["times"])):
                for held in self.things(request, data):
                    Cycle(held, deeds[data["deed"]])
                await asyncio.sleep(0)
            return self.reply(data["nonce"])

    def things(self, request, data):
        """Yield what the server made, or has to do with, for a cycle to hold."""
        yield request
        yield data["request_headers"]
        yield data
        yield request.headers
        yield request.query
        yield asyncio.current_task()
        yield StreamingResponse(piece for piece in "abc")
        yield EventSource(self.endless())
        yield self.started()

    async def endless(self):
        while True:
            yield Event("x")

    async def nothing(self):
        await asyncio.sleep(0)

    def started(self):
        """Return a coroutine that has begun and will never be ended."""
        coroutine = self.nothing()
        coroutine.send(None)
        return coroutine


class Dropped(Stressed):
    """Streams whose generators hold themselves and their request in a cycle."""

    generation = GENERATION

    async def pieces(self, request, nonce, count):
        with self.inside():
            cycle = Cycle([request], lambda: self.log.debug("gone"))
            for number in range(count):
                cycle.held.append(Cycle(cycle, lambda: None))
                yield f"{nonce}:{number}:"
                await asyncio.sleep(0)

    async def request_handler(self, request, **data):
        pieces = self.pieces(request, data["nonce"], int(data["count"]))
        response = StreamingResponse(pieces)
        Cycle([pieces, response], lambda: None)
        return response
