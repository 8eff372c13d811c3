"""Runs a source for its value, at a place where a plugin has everything that the base class gives."""

import asyncio
import sys
import threading

import plugincore.baseplugin
import plugincore.configfile
import plugincore.logjam
import plugincore.pluginmanager
from plugincore.baseplugin import BasePlugin


class Surface(BasePlugin):
    limit = 5

    async def request_handler(self, **data):
        names = {"plugin": self, "data": data, "asyncio": asyncio, "sys": sys, "threading": threading}
        names["plugincore"] = plugincore
        value = eval(data["source"], names)
        return 200, {"value": repr(value)}

    def helper(self):
        return self.limit
