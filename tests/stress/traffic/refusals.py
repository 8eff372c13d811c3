"""Requests that the server refuses by itself: wrong keys, wrong addresses, wrong methods, nonsense for HTTP.

Right: the status that the documentation gives for each, with a reason in JSON and without a word of the plugin; the
right key gets the plugin's answer.
"""

from __future__ import annotations

import random
from urllib.parse import quote

from stress.server import KEY
from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import Wrong, expect

REFUSED = {
    "no key": (403, request("/locked?nonce=1")),
    "wrong key": (403, request("/locked?nonce=1", headers={"X-Custom-Auth": "a wrong key"})),
    "wrong key in the query": (403, request("/locked?nonce=1&apikey=wrong")),
    "wrong key in the body": (
        403,
        request(
            "/locked", method="POST", headers={"Content-Type": "application/json"}, body=b'{"nonce": 1, "apikey": "x"}'
        ),
    ),
    "wrong address": (404, request("/nowhere")),
    "wrong method": (405, request("/plain?nonce=1", method="DELETE")),
    "a path upwards": (400, request("/plain/../locked")),
    "no HTTP": (400, b"nonsense\r\n\r\n"),
    "no host": (400, b"GET /plain?nonce=1 HTTP/1.1\r\n\r\n"),
    "two lengths": (400, b"POST /bodies HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"),
    "a wrong chunk": (400, b"POST /bodies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    "a large head": (431, request("/plain?nonce=1", headers={"X-Large": "x" * 70_000})),
}


class Refusals(Traffic):
    """Requests that the server refuses by itself."""

    workers = 2
    pace = 40

    async def converse(self, chance: random.Random) -> None:
        """Ask for something that is refused, or come with the right key."""
        if chance.random() < 0.2:
            await self.right_key(chance)
            return
        what, (status, data) = chance.choice(sorted(REFUSED.items()))
        answer = await self.world.ask(data)
        expect(status, answer.status, f"the status for {what}")
        if not isinstance(answer.json(), dict) or "error" not in answer.json() or "generation" in answer.json():
            raise Wrong(f"the answer for {what} is {answer.body[:200]!r}")
        self.count(f"{status} {what}")

    async def right_key(self, chance: random.Random) -> None:
        """Come with the right key, by one of the ways."""
        nonce = self.nonce()
        by_header = request(f"/locked?nonce={nonce}", headers={"X-Custom-Auth": KEY})
        by_query = request(f"/locked?nonce={nonce}&apikey={quote(KEY)}")
        with self.world.generation("locked") as generation:
            answer = await self.world.ask(chance.choice((by_header, by_query)))
            generation.check(self.accept(answer, nonce)["generation"])
        self.count("200 right key")
