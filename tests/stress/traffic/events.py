"""Server-sent events with pings.

What: a client reads up to 40 events, some of them slower than the pings between them.

Right: the events in their order, each whole, comments only in between, and the end after the last. A reload of the
plugin ends the answer early, but in order, and between two events.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import Wrong, expect


class Events(Traffic):
    """Server-sent events with pings."""

    workers = 3
    pace = 10

    async def converse(self, chance: random.Random) -> None:
        """Read a stream of events."""
        nonce, count = self.nonce(), chance.randint(0, 40)
        target = f"/events?nonce={nonce}&count={count}&seconds={chance.choice((0, 0.005, 0.05))}&ping=0.02"
        with self.world.generation("streams") as generation:
            answer = await self.world.ask(request(target, headers={"Accept": "text/event-stream"}))
            replaced = generation.replaced
        expect(200, answer.status, "the status")
        expect("text/event-stream", answer.headers["content-type"].partition(";")[0], "the type")
        *blocks, rest = answer.body.decode().replace("\r\n", "\n").split("\n\n")
        expect("", rest, "what follows the last event")
        events = [block for block in blocks if not block.startswith(":")]
        right = [f"id: {nonce}:{number}\ndata: {nonce}\ndata: {number}" for number in range(count)]
        if events == right:
            self.count("all events")
        elif replaced and events == right[: len(events)]:
            self.count("events up to a reload")
        else:
            raise Wrong(f"{len(events)} events of {count} came, in the end {events[-1:]}")
        if len(events) != len(blocks):
            self.count("with pings")
