"""Requests whose handlers fail: exceptions, ``sys.exit``, cancellations, time-outs, nonsense for a result.

Right: a 500 that names the exception and holds its message with the nonce, or says what is wrong with the result; and
the next request on the connection is served.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import Connection, request
from stress.world import Wrong, expect

#: By the way of failing: the name of the exception, and whether its message holds the nonce.
EXCEPTIONS = {
    "error": "ValueError",
    "late": "LookupError",
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "cancels_itself": "CancelledError",
    "group": "ExceptionGroup",
    "timeout": "TimeoutError",
    "shielded": "TimeoutError",
    "deep": "RecursionError",
}
WITHOUT_NONCE = {"group", "cancels_itself"}
NONSENSE = ("nonsense", "nowhere")


class Failures(Traffic):
    """Requests whose handlers fail."""

    workers = 2
    pace = 20

    async def converse(self, chance: random.Random) -> None:
        """Have handlers fail, one after the other on a connection."""
        async with await self.world.connect() as connection:
            for _ in range(chance.randint(1, 6)):
                await chance.choice((self.raised, self.raised, self.plain, self.nonsense, self.recovered))(
                    connection, chance
                )

    async def raised(self, connection: Connection, chance: random.Random) -> None:
        """Have an exception raised in a coroutine."""
        nonce, how = self.nonce(), chance.choice(sorted(EXCEPTIONS))
        answer = await connection.ask(request(f"/failing?nonce={nonce}&how={how}"))
        expect(500, answer.status, f"the status of {how}")
        body = answer.json()
        expect(EXCEPTIONS[how], body["type"], "the exception")
        if how not in WITHOUT_NONCE and not body["message"].endswith(f"deliberate {nonce}"):
            raise Wrong(f"not the answer to {nonce}: {body}")
        self.count(f"500 {how}")

    async def plain(self, connection: Connection, chance: random.Random) -> None:
        """Have an exception raised in a plain handler."""
        nonce = self.nonce()
        answer = await connection.ask(request(f"/plainfailing?nonce={nonce}"))
        expect(500, answer.status, "the status")
        if not answer.json()["message"].endswith(f"deliberate {nonce}"):
            raise Wrong(f"not the answer to {nonce}: {answer.body!r}")
        self.count("500 plain")

    async def nonsense(self, connection: Connection, chance: random.Random) -> None:
        """Have something returned that cannot be sent."""
        answer = await connection.ask(request(f"/failing?nonce={self.nonce()}&how={chance.choice(NONSENSE)}"))
        expect(500, answer.status, "the status")
        if "the plugin's answer cannot be sent" not in answer.json()["error"]:
            raise Wrong(f"not the error of a result that cannot be sent: {answer.body!r}")
        self.count("500 nonsense")

    async def recovered(self, connection: Connection, chance: random.Random) -> None:
        """Have a handler cancel itself and go on."""
        nonce = self.nonce()
        with self.world.generation("failing") as generation:
            answer = await connection.ask(request(f"/recovering?nonce={nonce}"))
            generation.check(self.accept(answer, nonce)["generation"])
        self.count("200 recovered")
