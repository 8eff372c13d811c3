import asyncio

from plugincore.baseplugin import BasePlugin


class Parms(BasePlugin):
    def __init__(self, **kwargs):
        self.early = True
        super().__init__(**kwargs)
        self.given = dict(kwargs)

    async def initialize(self, **kwargs):
        self.same = sorted(kwargs) == sorted(self.given)
        self.loop = asyncio.get_running_loop()

    async def request_handler(self, **data):
        plain = {name: repr(value) for name, value in self.given.items() if isinstance(value, (str, int, list, dict))}
        return 200, {
            "plain": plain,
            "names": sorted(self.given),
            "args": sorted(self.args),
            "own log in args": self.args["log"] is self.log,
            "server's log in kwargs": self.given["log"] is not self.log,
            "prog_args": sorted(vars(self.given["prog_args"])),
            "callback": callable(self.given["task_callback"]),
            "same in initialize": self.same,
            "same loop": self.loop is asyncio.get_running_loop(),
        }
