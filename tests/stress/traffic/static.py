"""Static files, and files that a plugin answers with, which are replaced all the time.

What: whole files, ranges, conditions, HEAD; of 0 bytes to 300 KB.

Right: each file is one version of itself, to the byte; a range is that part of it; a validator that fits gives a 304.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import expect

SIZES = (0, 1, 1000, 65_536, 300_000)


class Static(Traffic):
    """Static files."""

    workers = 2
    pace = 40

    async def converse(self, chance: random.Random) -> None:
        """Replace a file, or ask for it in one of several ways."""
        size, version = chance.choice(SIZES), f"{self.worker}.{self.number};".encode()
        # Each worker has its own files, so that it knows what is in them.
        name = f"{self.worker}-{size}.txt"
        file = self.world.server.folder / "static" / name
        content = (version * (size // len(version) + 1))[:size]
        new = file.with_suffix(".new")
        new.write_bytes(content)
        new.replace(file)
        async with await self.world.connect() as connection:
            answer = await connection.ask(request(f"/static/{name}"))
            expect(200, answer.status, "the status")
            expect(content, answer.body, "the file")
            self.count("200")
            nonce = self.nonce()
            by_plugin = await connection.ask(request(f"/files?name={name}&nonce={nonce}"))
            expect((200, content), (by_plugin.status, by_plugin.body), "the plugin's file")
            expect(nonce, by_plugin.headers["x-nonce"], "the nonce")
            self.count("200 by a plugin")
            head = await connection.ask(request(f"/static/{name}", method="HEAD"), "HEAD")
            length = head.headers.get("content-length", "0")
            expect((200, str(size)), (head.status, length), "status and length of a HEAD")
            same = await connection.ask(
                request(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]}),
            )
            expect(304, same.status, "the status of a file that is known")
            self.count("304")
            if size > 1:
                first, last = sorted((chance.randrange(size), chance.randrange(size)))
                part = await connection.ask(request(f"/static/{name}", headers={"Range": f"bytes={first}-{last}"}))
                expect((206, content[first : last + 1]), (part.status, part.body), "the range")
                self.count("206")
            none = await connection.ask(request("/static/none.txt"))
            expect(404, none.status, "the status of a file that is not there")
            self.count("404")
