"""Handlers that start processes, in each of the ways that Python has."""

import asyncio
import multiprocessing
import os
import subprocess
import warnings
from concurrent.futures import ProcessPoolExecutor

from common import Stressed

GENERATION = 0

# Python says since 3.12 that a fork of a process with threads may hang; that it does not is what is looked at here.
warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)


class Forking(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            return self.reply(await getattr(self, data["how"])(data["nonce"]))

    async def fork(self, nonce):
        """Fork by hand; the child speaks, logs and sends its answer through a pipe."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                print("a child prints", flush=True)
                self.log("a child logs")
                os.write(writing, nonce.encode())
            finally:
                os._exit(0)
        os.close(writing)
        try:
            return await asyncio.to_thread(self.collect, child, reading)
        finally:
            os.close(reading)

    def collect(self, child, reading):
        """Read what the child sends to its end, and wait for the child's."""
        received = b""
        while piece := os.read(reading, 4096):
            received += piece
        os.waitpid(child, 0)
        return received.decode()

    async def pool(self, nonce):
        """Have a pool of forked processes do something."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, "".join, [nonce[:3], nonce[3:]])

    async def process(self, nonce):
        """Fork by multiprocessing."""
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=queue.put, args=(nonce,))
        process.start()
        try:
            return await asyncio.to_thread(queue.get)
        finally:
            await asyncio.to_thread(process.join)
            process.close()
            queue.close()

    async def program(self, nonce):
        """Run a program by asyncio."""
        child = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await child.communicate(nonce.encode())
        return said.decode()

    async def blocking(self, nonce):
        """Run a program and wait on the thread of all plugins."""
        return subprocess.run(["echo", "-n", nonce], capture_output=True, text=True, check=True).stdout
