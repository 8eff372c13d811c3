"""More requests than a server can handle: it does as much as ever, and refuses the rest at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from support.server import Launch, Server
from support.wire import HOST

#: Each request holds the Python thread for 25 ms, so that forty a second can be handled, however slow the machine is.
BUSY = """
import time
from plugincore.baseplugin import BasePlugin

class Busy(BasePlugin):
    def request_handler(self, **data):
        time.sleep(0.025)
        return 200, {}

"""

SECONDS = 3.0


@dataclass
class Load:
    """What came of some requests: how many were handled, and how long each refusal took."""

    handled: int = 0
    refusals: list[float] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Make a request on a connection; return its status."""
    writer.write(b"GET /busy" + HOST + b"\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(" ")[1])


async def client(server: Server, until: float, pause: float, load: Load) -> None:
    """Make requests until then, each at least ``pause`` after the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    while (begun := time.monotonic()) < until:
        status = await ask(reader, writer)
        taken = time.monotonic() - begun
        if status == 200:
            load.handled += 1
        elif status == 503:
            load.refusals.append(taken)
        else:
            load.others.append(status)
        await asyncio.sleep(max(0.0, pause - taken))
    writer.close()
    await writer.wait_closed()


def drive(server: Server, clients: int, pause: float) -> Load:
    """Have so many clients make requests for some seconds."""
    load = Load()

    async def run() -> None:
        until = time.monotonic() + SECONDS
        await asyncio.gather(*(client(server, until, pause, load) for _ in range(clients)))

    asyncio.run(asyncio.wait_for(run(), 60))
    return load


def test_ten_times_the_load_that_it_can_handle_costs_next_to_nothing(launch: Launch) -> None:
    """The rest is refused natively in milliseconds, and right afterwards nothing is left of it."""
    server = launch({"busy": BUSY}, ini_more="[plugin busy]\nin_flight = 10\n")
    sustainable = drive(server, 4, 0.0)
    assert not sustainable.refusals
    rate = sustainable.handled / SECONDS
    clients = 100
    overload = drive(server, clients, clients / (10 * rate))
    assert not overload.others
    assert overload.handled >= 0.8 * sustainable.handled
    assert len(overload.refusals) > 2 * overload.handled
    refusals = sorted(overload.refusals)
    assert refusals[len(refusals) // 2] < 0.05, refusals[len(refusals) // 2]
    begun = time.monotonic()
    assert 200 == server.get("/busy").status_code
    assert time.monotonic() - begun < 1
    again = drive(server, 4, 0.0)
    assert not again.refusals
    assert again.handled >= 0.8 * sustainable.handled


def test_idle_connections_take_nothing_from_others(launch: Launch) -> None:
    """They hold no place among the requests, however few there are."""
    server = launch({"busy": BUSY}, ini_more="[limits]\nin_flight = 1\n")
    idle = [server.connect() for _ in range(200)]
    assert 200 == server.get("/busy").status_code
    for connection in idle:
        connection.close()
