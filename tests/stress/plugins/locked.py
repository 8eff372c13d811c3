"""A plugin with a key of its own."""

from common import Stressed

GENERATION = 0


class Locked(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        return self.reply(data["nonce"])
