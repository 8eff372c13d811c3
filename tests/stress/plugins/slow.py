"""Handlers that keep Python busy: asleep on its thread, in a loop, in C with the interpreter's lock."""

import time

from common import Stressed

GENERATION = 0


class Blocking(Stressed):
    generation = GENERATION

    def request_handler(self, **data):
        end = time.monotonic() + float(data["seconds"])
        if data["how"] == "sleep":
            time.sleep(float(data["seconds"]))
        while time.monotonic() < end:
            if data["how"] == "lock":
                sum(range(200_000))
        return self.reply(data["nonce"])
