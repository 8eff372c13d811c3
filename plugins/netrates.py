"""Bytes per second of each network interface: ``/netrates``, or ``/netrates/eth0`` for one of them.

A background task measures, so answers do not wait. The parameter ``interval`` is the number of seconds between two
measurements (``netrates = interval=5`` in ``[plugin_parms]``; default 2.5). ``import psutil`` works with and without
psutil installed.
"""

import asyncio
import time
from typing import Any

import psutil

from plugincore.baseplugin import BasePlugin


class NetRates(BasePlugin):
    """Measures in the background and returns the last result."""

    def __init__(self, **kwargs: Any) -> None:
        """Read the interval; parameters from the ini file are text."""
        super().__init__(**kwargs)
        self.interval = float(kwargs.get("interval", 2.5))
        if not 0.1 <= self.interval <= 3600:
            message = f"netrates: interval must be 0.1 to 3600 seconds, not {self.interval}"
            raise ValueError(message)
        self.rates: dict[str, dict[str, int]] = {}
        self.task: asyncio.Task[None] | None = None

    async def initialize(self, **kwargs: Any) -> None:
        """Start to measure; the event loop runs here, but not necessarily in `__init__`."""
        self.task = asyncio.create_task(self.measure(), name="netrates")

    async def measure(self) -> None:
        """Compute rates from the counters, until the task is cancelled."""
        before, then = psutil.net_io_counters(pernic=True), time.monotonic()
        while True:
            await asyncio.sleep(self.interval)
            after, now = psutil.net_io_counters(pernic=True), time.monotonic()
            # A new interface does not have a rate yet; the counters of one that was added again start from 0.
            self.rates = {
                name: {
                    "tx": max(0, round((counters.bytes_sent - before[name].bytes_sent) / (now - then))),
                    "rx": max(0, round((counters.bytes_recv - before[name].bytes_recv) / (now - then))),
                }
                for name, counters in after.items()
                if name in before
            }
            before, then = after, now

    async def request_handler(self, **data: Any) -> tuple[int, dict[str, Any]]:
        """Return all rates, or those of the interface in the path."""
        name = data["subpath"]
        if not name:
            return 200, {"unit": "bytes/s", "interval": self.interval, "interfaces": self.rates}
        if name not in self.rates:
            return 404, {"error": f"no rate for interface {name!r}", "interfaces": sorted(self.rates)}
        return 200, self.rates[name]

    def terminate_plugin(self) -> None:
        """Stop the background task."""
        if self.task is not None:
            self.task.cancel()
