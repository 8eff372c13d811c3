"""A server of aiohttp's own, for tests that compare the same handler on both servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MAIN = """
async def main():
    import asyncio
    from aiohttp import web

    app = web.Application()
    add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    import asyncio
    asyncio.run(main())
"""


@contextmanager
def aiohttp_serving(source: str) -> Iterator[int]:
    """Run ``source``, which defines ``add_routes(app)``, in a process of its own; give the port of the server.

    The process writes the port itself, so that no other server can be behind it.
    """
    command = [sys.executable, "-W", "ignore", "-c", source + MAIN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
