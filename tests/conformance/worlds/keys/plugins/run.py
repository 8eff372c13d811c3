"""Runs the source that a request brings: the body of an `async def` that is given the plugin and `data`."""

import asyncio
import collections
import datetime
import decimal
import enum
import json
import textwrap

from aiohttp import web
from plugincore.baseplugin import BasePlugin


class Colour(enum.IntEnum):
    RED = 3


class Word(str):
    pass


Point = collections.namedtuple("Point", "x y")
NAMES = {
    "asyncio": asyncio, "Colour": Colour, "datetime": datetime, "Decimal": decimal.Decimal, "json": json,
    "Point": Point, "UserDict": collections.UserDict, "OrderedDict": collections.OrderedDict, "web": web, "Word": Word,
}  # fmt: skip


class Run(BasePlugin):
    async def request_handler(self, **data):
        found = {}
        exec("async def main(plugin, data):\n" + textwrap.indent(data["source"], "    "), {**NAMES}, found)
        return await found["main"](self, data)
