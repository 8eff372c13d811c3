"""Handlers that print and log, by all the ways that lead into the log, and a task in the background that does, too."""

import asyncio
import logging
import sys
import threading
import warnings

from common import Stressed

GENERATION = 0


class Talking(Stressed):
    generation = GENERATION

    async def initialize(self, **kwargs):
        self.ticking = asyncio.create_task(self.tick())

    async def tick(self):
        while True:
            await asyncio.sleep(0.05)
            self.log.debug("ticked")

    def request_handler(self, **data):
        nonce, times = data["nonce"], int(data["times"])
        for number in range(times):
            print("printed", nonce, number)
            print("printed", nonce, number, file=sys.stderr)
            self.log("logged", nonce, number)
            data["log"].debug("logged\nin two lines", nonce)
            logging.getLogger("stress").warning("logged %s by logging", nonce)
        warnings.warn(f"warned {nonce}", stacklevel=1)
        thread = threading.Thread(target=self.log.warning, args=("logged by a thread", nonce))
        thread.start()
        thread.join()
        return self.reply(nonce)
