"""Handlers that stay inside until the file ``release`` is there: to fill all places, and to see that all are free."""

import asyncio
import os

from common import Stressed

GENERATION = 0


class Gate(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            while not os.path.exists("release"):
                await asyncio.sleep(0.05)
            return self.reply(data["nonce"])


class Gatetoo(Gate):
    generation = GENERATION


class Crowd(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            await asyncio.sleep(0.02)
            return self.reply(data["nonce"])
