"""Handlers that fail in every way; what they raise is called deliberate, so that the log can be told from faults."""

import asyncio
import gc
import sys

from common import Stressed

GENERATION = 0


class Failing(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            return await getattr(self, data["how"])(f"deliberate {data['nonce']}")

    async def error(self, text):
        raise ValueError(text)

    async def late(self, text):
        await asyncio.sleep(0.01)
        raise LookupError(text)

    async def exit(self, text):
        sys.exit(text)

    async def interrupt(self, text):
        await asyncio.sleep(0)
        raise KeyboardInterrupt(text)

    async def cancelled(self, text):
        await asyncio.sleep(0)
        raise asyncio.CancelledError(text)

    async def cancels_itself(self, text):
        asyncio.current_task().cancel(text)
        await asyncio.sleep(1)

    async def group(self, text):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5))
            group.create_task(self.late(text))

    async def timeout(self, text):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            raise TimeoutError(text) from None

    async def shielded(self, text):
        inner = asyncio.create_task(asyncio.sleep(0.05))
        try:
            await asyncio.wait_for(asyncio.shield(inner), 0.01)
        except TimeoutError:
            raise TimeoutError(text) from None

    async def deep(self, text):
        # A finaliser that the collector calls down there would fail, too, which nobody is to blame for.
        gc.disable()
        try:
            return self.deeper(text)
        finally:
            gc.enable()

    def deeper(self, text):
        try:
            return self.deeper(text) + 1
        except RecursionError:
            raise RecursionError(text) from None

    async def nonsense(self, text):
        return 200, {text: [1j]}

    async def nowhere(self, text):
        return text, "no code", None, None


class Plainfailing(Stressed):
    generation = GENERATION

    def request_handler(self, **data):
        raise OSError(f"deliberate {data['nonce']}")


class Recovering(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            task = asyncio.current_task()
            task.cancel()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                task.uncancel()
            winner = asyncio.create_task(asyncio.sleep(0, data["nonce"]))
            loser = asyncio.create_task(asyncio.sleep(5))
            done, _ = await asyncio.wait({winner, loser}, return_when=asyncio.FIRST_COMPLETED)
            loser.cancel()
            return self.reply(done.pop().result())
