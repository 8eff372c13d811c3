"""Answers at /template, with hints for what it takes and returns."""

from __future__ import annotations

#: background
import asyncio
#: end
from typing import Annotated, Any, Literal, TypedDict

from plugincore.baseplugin import BasePlugin
from plugincore.bounds import Bounds


class Greeting(TypedDict):
    """What is answered."""

    message: str
    style: Literal["plain", "loud"]
    #: background
    ticks: int
    #: end


class Template(BasePlugin):
    """Greets the name in the query: /template?name=Ada&style=loud&times=2."""

    def initialize(self, *, greeting: str = "Hello", **_: Any) -> None:
        """Take the parameters, which stand in the line `template` of [plugin_parms] in the ini file."""
        self.greeting = greeting
        #: background
        self.ticks = 0
        # The task belongs to the plugin: it is cancelled when the plugin ends or is replaced.
        self.ticker = asyncio.create_task(self.tick())
        #: end

    async def request_handler(
        self,
        *,
        name: str = "world",
        style: Literal["plain", "loud"] = "plain",
        times: Annotated[int, Bounds(ge=1, le=5)] = 1,
        **_: Any,
    ) -> tuple[int, Greeting]:
        """Greet a name.

        The variables of query and body are keyword arguments. The server checks and converts them by their hints.
        """
        message = " ".join([f"{self.greeting}, {name}!"] * times)
        answer: Greeting = {
            "message": message.upper() if style == "loud" else message,
            "style": style,
            #: background
            "ticks": self.ticks,
            #: end
        }
        return 200, answer

    #: background
    async def tick(self) -> None:
        """Count the seconds for as long as the plugin serves."""
        while True:
            await asyncio.sleep(1)
            self.ticks += 1

    #: end
    def terminate_plugin(self) -> None:
        """Close what the plugin has opened; called when it ends or is replaced."""
