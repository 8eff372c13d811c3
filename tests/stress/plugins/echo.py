"""Handlers that answer with what came: plain, without a wait, with one, and on another thread."""

import asyncio
import hashlib

from common import Stressed

from plugincore.responses import Response

GENERATION = 0


class Plain(Stressed):
    generation = GENERATION

    def request_handler(self, **data):
        return self.reply(data["nonce"])


class Instant(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        return self.reply(data["nonce"])


class Waiting(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            await asyncio.sleep(float(data["seconds"]))
            return Response(json=self.reply(data["nonce"])[1], headers={"X-Nonce": data["nonce"]})


class Threaded(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            return await asyncio.to_thread(self.reply, data["nonce"])


class Bodies(Stressed):
    generation = GENERATION
    http_methods = ("POST", "PUT")

    async def request_handler(self, request, **data):
        with self.inside():
            raw = await request.read()
            own = ("log", "request_headers", "client_ip", "subpath")
            variables = {name: value for name, value in data.items() if name not in own}
            digest = hashlib.sha256(raw).hexdigest()
            return self.reply(request.headers["X-Nonce"], variables=variables, digest=digest)
