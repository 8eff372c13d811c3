"""What all kinds of traffic have in common: workers that have one conversation after the other."""

from __future__ import annotations

import asyncio
import random
import time
from typing import ClassVar

from stress.wire import Answer, Lost
from stress.world import LIMIT, World, Wrong


class Traffic:
    """One worker of a kind of traffic.

    Each conversation decides what it does by a source of chance of its own, which follows from the seed, the kind, the
    worker and the conversation's number; so each can be repeated.

    Attributes:
        workers: How many there are of the kind.
        pace: At most how many conversations each of them has in a second.

    """

    workers: ClassVar[int] = 2
    pace: ClassVar[float] = 100

    def __init__(self, world: World, worker: int) -> None:
        """Make worker number ``worker``."""
        self.world = world
        self.worker = worker
        self.number = 0
        self.asked = 0

    @classmethod
    def kind(cls) -> str:
        """Return the name of the kind."""
        return cls.__name__.lower()

    async def converse(self, chance: random.Random) -> None:
        """Have one conversation; raise :class:`Wrong` or :class:`Lost` unless all of its answers are right."""
        raise NotImplementedError

    def count(self, answer: str) -> None:
        """Note a right answer."""
        self.world.ledger.count(self.kind(), answer)

    def nonce(self) -> str:
        """Return a text that no other request has."""
        self.asked += 1
        return f"{self.kind()}-{self.worker}-{self.number}-{self.asked}"

    def accept(self, answer: Answer, nonce: str, status: int = 200) -> dict[str, object]:
        """Raise unless ``answer`` is the one to the request with ``nonce``; return what it says."""
        if answer.status != status:
            raise Wrong(f"the status is {answer.status}, not {status}: {answer.body[:300]!r}")
        body = answer.json()
        if not isinstance(body, dict) or body.get("nonce") != nonce:
            raise Wrong(f"not the answer to {nonce}: {answer.body[:300]!r}")
        return body

    async def run(self, end: float) -> None:
        """Have conversations until ``end``, by the monotonic clock, or until the run is over."""
        ledger = self.world.ledger
        while (begin := time.monotonic()) < end and not ledger.over.is_set():
            self.number += 1
            self.asked = 0
            where = f"{self.kind()} {self.worker}, conversation {self.number}"
            try:
                async with asyncio.timeout(LIMIT):
                    await self.converse(self.world.chance(self.kind(), self.worker, self.number))
            except TimeoutError:
                ledger.fault(where, f"hangs: it has not ended after {LIMIT:.0f} s", fatal=True)
            except Lost as error:
                ledger.fault(where, f"lost: {error}")
            except (Wrong, LookupError, TypeError, ValueError) as error:
                # What an answer lacks, or has in another form, is found by using it.
                ledger.fault(where, f"wrong: {error!r}")
            except ConnectionError as error:
                ledger.fault(where, f"cannot connect: {error!r}")
            ledger.took(self.kind(), time.monotonic() - begin)
            await asyncio.sleep(max(0.0, begin + 1 / self.pace - time.monotonic()))
