"""Requests with bodies: JSON objects, forms, multipart forms, bytes; of a known length or in chunks.

What: one to eight on a connection, with variables of every type and of up to 200 KB, sent in one piece or in several.
A few are larger than the limit.

Right: the handler has seen each byte (its digest comes back) and each variable as it was sent. What is too large gets
a 413.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import Any
from urllib.parse import urlencode

from stress.server import BODY_LIMIT
from stress.traffic.base import Traffic
from stress.wire import Connection, request
from stress.world import expect


class Bodies(Traffic):
    """Requests with bodies."""

    workers = 3
    pace = 30

    async def converse(self, chance: random.Random) -> None:
        """Post some bodies."""
        if chance.random() < 0.03:
            await self.too_large(chance)
            return
        async with await self.world.connect() as connection:
            for _ in range(chance.randint(1, 8)):
                await self.post(connection, chance)

    async def too_large(self, chance: random.Random) -> None:
        """Post more than the limit."""
        body = bytes(BODY_LIMIT + chance.randint(1, 100_000))
        data = request("/bodies", method="POST", headers={"X-Nonce": "large"}, body=body)
        answer = await self.world.ask(data, "POST")
        expect(413, answer.status, "the status")
        self.count("413")

    async def post(self, connection: Connection, chance: random.Random) -> None:
        """Post one body and compare what the handler has seen."""
        nonce = self.nonce()
        kind, (content_type, body, variables) = chance.choice(FORMS)(chance, nonce)
        headers = {"X-Nonce": nonce, "Content-Type": content_type}
        chunks = chance.choice((0, 0, 1000, 70_000))
        data = request("/bodies", method=chance.choice(("POST", "PUT")), headers=headers, body=body, chunks=chunks)
        with self.world.generation("echo") as generation:
            cuts = sorted(chance.randrange(len(data)) for _ in range(chance.choice((0, 0, 1, 4))))
            for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
                await connection.send(data[start:stop])
                if stop != len(data):
                    await asyncio.sleep(0.002)
            said = self.accept(await connection.answer("POST"), nonce)
            generation.check(said["generation"])
        expect(hashlib.sha256(body).hexdigest(), said["digest"], "the digest of the body")
        expect(variables, said["variables"], "the variables")
        self.count(f"{kind} 200")


Form = tuple[str, tuple[str, bytes, dict[str, Any]]]


def text(chance: random.Random) -> str:
    """Return a text, rarely a long one."""
    alphabet = chance.choice(("abc", "aä€😀", 'x"\\\n\t\x7f', " +&=%"))
    return "".join(chance.choices(alphabet, k=int(10 ** chance.uniform(0, 4.3))))


def json_object(chance: random.Random, nonce: str) -> Form:
    """Return a JSON object."""
    values: dict[str, Any] = {
        "text": text(chance),
        "numbers": [chance.randint(-(10**30), 10**30), chance.random(), 0, -1.5e300],
        "others": [True, False, None, {}, [], {"deep": [[[{"nonce": nonce}]]]}],
        "rows": [{"id": number, "name": str(number)} for number in range(chance.choice((0, 3, 300)))],
    }
    body = json.dumps(values, ensure_ascii=chance.random() < 0.5).encode()
    return "JSON", ("application/json", body, values)


def form(chance: random.Random, nonce: str) -> Form:
    """Return a form as browsers send it."""
    values = {"text": text(chance), "own": nonce}
    return "form", ("application/x-www-form-urlencoded", urlencode(values).encode(), values)


def multipart(chance: random.Random, nonce: str) -> Form:
    """Return a form in parts."""
    values = {"text": text(chance).replace("\n", " "), "own": nonce}
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in values.items()
    ]
    return "multipart", ("multipart/form-data; boundary=limit", ("".join(parts) + "--limit--\r\n").encode(), values)


def octets(chance: random.Random, nonce: str) -> Form:
    """Return bytes that are no variables."""
    body = chance.randbytes(int(10 ** chance.uniform(0, 5.3)))
    return "bytes", ("application/octet-stream", b"\xff" + body, {})


FORMS = (json_object, form, multipart, octets)
