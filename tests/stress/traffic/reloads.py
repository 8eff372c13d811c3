"""Reloads of single plugins and of all, whose files are written anew each time.

What: one file, or every file, gets a new generation, and ``/reload/…`` or SIGHUP asks for it. Some new files are
broken. A further plugin comes and goes.

Right: after the answer to a reload, the new generation answers, and none before it does; the other kinds of traffic see
to it that no answer is lost meanwhile. A broken file leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import random
import signal

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import Wrong, expect

#: By file: a plugin in it that answers a plain request, for those where one does.
ANSWERS = {"echo": "plain", "slow": "blocking", "talking": "talking", "failing": "recovering"}
FURTHER = """
from plugincore.baseplugin import BasePlugin


class Further(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"nonce": data["nonce"]}
"""


class Reloads(Traffic):
    """Reloads of single plugins and of all."""

    workers = 1  # what is right depends on the order
    pace = 3

    async def converse(self, chance: random.Random) -> None:
        """Write files and have them loaded."""
        deeds = (self.one, self.one, self.one, self.every, self.hangup, self.broken, self.come_and_go)
        await chance.choice(deeds)(chance)

    def renew(self, name: str, more: str = "") -> None:
        """Write the next generation of a file."""
        file = self.world.files[name]
        file.written += 1
        self.world.server.write(name, file.written, more)

    def serves(self, *names: str) -> None:
        """Note that what was written of these files serves now."""
        for name in names:
            self.world.files[name].serves = self.world.files[name].written

    async def reload(self, what: str, status: int = 200) -> None:
        """Ask for a reload."""
        answer = await self.world.ask(request(f"/reload/{what}"))
        if answer.status != status:
            raise Wrong(f"a reload of {what} gives {answer.status}: {answer.body[:500]!r}")

    async def one(self, chance: random.Random) -> None:
        """Reload one file."""
        name, plugin = chance.choice(sorted(LOADED.items()))
        with self.world.reload(name):
            self.renew(name)
            await self.reload(plugin)
            self.serves(name)
        self.count("reloads of one")
        await self.look(name)

    async def every(self, chance: random.Random) -> None:
        """Reload all files."""
        names = sorted(self.world.files)
        with self.world.reload(*names):
            for name in names:
                self.renew(name)
            await self.reload("all")
            self.serves(*names)
        self.count("reloads of all")
        for name in ANSWERS:
            await self.look(name)

    async def hangup(self, chance: random.Random) -> None:
        """Have all files reloaded by a signal, which nobody answers."""
        names = sorted(self.world.files)
        with self.world.reload(*names):
            for name in names:
                self.renew(name)
            self.world.server.signal(signal.SIGHUP)
            last = max(ANSWERS)  # files are loaded in the order of their names
            while await self.answering(last) != self.world.files[last].written:
                await asyncio.sleep(0.02)
            self.serves(*names)
        self.count("reloads by SIGHUP")

    async def broken(self, chance: random.Random) -> None:
        """Try to reload a file that cannot be loaded, and mend it."""
        name = chance.choice(sorted(ANSWERS))
        with self.world.reload(name):
            self.renew(name, "\nraise RuntimeError('deliberate')\n")
            await self.reload(ANSWERS[name], 500)
            served = self.world.files[name].serves
            expect(served, await self.answering(name), "the generation after a reload that failed")
            self.renew(name)
            await self.reload(ANSWERS[name])
            self.serves(name)
        self.count("reloads that failed")

    async def come_and_go(self, chance: random.Random) -> None:
        """Bring a plugin in and let it go."""
        file = self.world.server.folder / "plugins" / "further.py"
        target = f"/further?nonce={self.nonce()}"
        file.write_text(FURTHER)
        names = sorted(self.world.files)
        with self.world.reload(*names):
            await self.reload("all")
            expect(200, (await self.world.ask(request(target))).status, "the status of a plugin that came")
            file.unlink()
            await self.reload("all")
            expect(404, (await self.world.ask(request(target))).status, "the status of a plugin that went")
        self.count("plugins that came and went")

    async def look(self, name: str) -> None:
        """See that what was loaded answers."""
        if name in ANSWERS:
            expect(self.world.files[name].serves, await self.answering(name), f"the generation of {name}")

    async def answering(self, name: str) -> object:
        """Return the generation that answers for a file."""
        nonce = self.nonce()
        target = f"/{ANSWERS[name]}?nonce={nonce}&seconds=0&how=sleep&times=1"
        return self.accept(await self.world.ask(request(target)), nonce)["generation"]


#: By file: the id of a plugin in it.
LOADED = {
    **ANSWERS,
    "streams": "pieces",
    "sockets": "sockets",
    "forking": "forking",
    "garbage": "garbage",
    "locked": "locked",
    "gates": "crowd",
    "probe": "probe",
}
