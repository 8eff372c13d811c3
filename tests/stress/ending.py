"""The last two questions: whether all places are free after the traffic, and whether the server stops as it should."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from stress.server import MAX_IN_FLIGHT, MAX_IN_PLUGIN
from stress.traffic.sockets import upgrade
from stress.websocket import Closed, WebSocket
from stress.wire import Answer, Connection, Lost, request
from stress.world import LIMIT, World

#: How long a stop may take, in seconds: it waits for requests of half a second, and for nothing else.
STOP = 15.0


async def fill_all_places(world: World) -> None:
    """Have as many requests inside as there are places, see that one more is refused, and that all are answered."""
    where = "admission"
    gates = ("gate", "gatetoo")
    assert MAX_IN_FLIGHT == MAX_IN_PLUGIN * len(gates)
    nonces = {f"{gate}-{number}": gate for gate in gates for number in range(MAX_IN_PLUGIN)}
    asked = [asyncio.create_task(world.ask(request(f"/{gate}?nonce={nonce}"))) for nonce, gate in nonces.items()]
    try:
        async with asyncio.timeout(LIMIT):
            # Those that are inside wait for the file; when all places are taken, one more is refused.
            while (await world.ask(request("/plain?nonce=x"))).status != 503:
                if any(task.done() for task in asked):
                    break
                await asyncio.sleep(0.05)
            (world.server.folder / "release").touch()
            answers = await asyncio.gather(*asked)
    except (TimeoutError, Lost, ConnectionError) as error:
        inside = sum(not task.done() for task in asked)
        world.ledger.fault(where, f"{inside} of {len(asked)} requests are not answered: {error!r}")
        return
    for nonce, answer in zip(nonces, answers, strict=True):
        if answer.status != 200 or answer.json()["nonce"] != nonce:
            world.ledger.fault(where, f"{answer.status} for {nonce}, though a place should be free: {answer.body!r}")
        else:
            world.ledger.count(where, "200")


async def stop(world: World) -> None:
    """Stop the server while clients of every kind are there; each of them gets what a stop promises it."""
    ledger, where = world.ledger, "stop"
    idle, events, socket = [await world.connect() for _ in range(3)]
    async with idle, events, socket:
        await idle.ask(request("/plain?nonce=1"))
        await events.send(request("/events?nonce=stop&count=100000&seconds=0.01&ping=0.1"))
        await events.head()
        if world.websockets:
            await socket.send(request("/sockets", headers=upgrade(random.Random(0))))
            await socket.head()
        connections = [await world.connect() for _ in range(10)]
        for number, connection in enumerate(connections):
            await connection.send(request(f"/waiting?nonce=stop-{number}&seconds=0.5"))
        await asyncio.sleep(0.2)  # long enough for them to be inside, and not for the first to be answered
        begin = time.monotonic()
        world.server.signal(signal.SIGTERM)
        answers = await asyncio.gather(*(last_answer(connection) for connection in connections))
        for number, answer in enumerate(answers):
            if not isinstance(answer, Answer) or answer.status != 200 or answer.json()["nonce"] != f"stop-{number}":
                ledger.fault(where, f"the request {number} under way gets {answer!r}")
            else:
                ledger.count(where, "200 while stopping")
        if world.websockets:
            try:
                async with asyncio.timeout(STOP):
                    await WebSocket(socket, random.Random(0)).receive()
            except (Closed, Lost, TimeoutError) as error:
                if not isinstance(error, Closed) or error.code != 1001:
                    ledger.fault(where, f"the web socket ends with {error!r}")
        try:
            code = await asyncio.to_thread(world.server.process.wait, STOP)
        except Exception as error:
            ledger.fault(where, f"it has not ended after {STOP:.0f} s: {error}")
            return
        print(f"  stopped with code {code} after {time.monotonic() - begin:.1f} s", flush=True)
    if code != 0:
        ledger.fault(where, f"the exit code is {code}")
    if world.server.leftovers():
        ledger.fault(where, "processes that it started are left")
    if not world.server.is_port_free():
        ledger.fault(where, "its port is not free")


async def last_answer(connection: Connection) -> Answer | str:
    """Return the answer on a connection, or why there is none."""
    async with connection:
        try:
            async with asyncio.timeout(STOP):
                return await connection.answer()
        except (Lost, TimeoutError) as error:
            return repr(error)
