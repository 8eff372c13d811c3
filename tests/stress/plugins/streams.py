"""Answers that come piece by piece: generators, plain and async, server-sent events, files."""

import asyncio

from common import Stressed

from plugincore.responses import Event, EventSource, FileResponse, StreamingResponse

GENERATION = 0


class Pieces(Stressed):
    generation = GENERATION

    async def pieces(self, nonce, count, size, seconds):
        with self.inside():
            for number in range(count):
                yield f"{nonce}:{number}:".ljust(size, ".")
                if seconds:
                    await asyncio.sleep(seconds)

    async def request_handler(self, **data):
        count, size = int(data["count"]), int(data["size"])
        pieces = self.pieces(data["nonce"], count, size, float(data["seconds"]))
        return StreamingResponse(pieces, content_length=count * size if "length" in data else None)


class Plainpieces(Stressed):
    generation = GENERATION

    def pieces(self, nonce, count, size):
        with self.inside():
            for number in range(count):
                yield f"{nonce}:{number}:".ljust(size, ".").encode()

    def request_handler(self, **data):
        return StreamingResponse(self.pieces(data["nonce"], int(data["count"]), int(data["size"])))


class Events(Stressed):
    generation = GENERATION

    async def events(self, nonce, count, seconds):
        with self.inside():
            for number in range(count):
                yield Event(f"{nonce}\n{number}", id=f"{nonce}:{number}")
                await asyncio.sleep(seconds)

    async def request_handler(self, **data):
        events = self.events(data["nonce"], int(data["count"]), float(data["seconds"]))
        return EventSource(events, ping=float(data["ping"]))


class Files(Stressed):
    generation = GENERATION

    def request_handler(self, **data):
        return FileResponse(f"static/{data['name']}", headers={"X-Nonce": data["nonce"]})
