"""The state of the machine: ``/systeminfo`` for all sections, ``/systeminfo/memory`` for one of them.

Sections are cpu, memory, disks, network and uptime. Sizes are in bytes, times in seconds.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psutil

from plugincore.baseplugin import BasePlugin


def cpu() -> dict[str, Any]:
    """Return the number of processors and their load since the last request."""
    return {
        "logical": psutil.cpu_count(),
        "physical": psutil.cpu_count(logical=False),
        "percent": psutil.cpu_percent(),
        "load": psutil.getloadavg(),
    }


def memory() -> dict[str, Any]:
    """Return memory and swap."""
    return {"ram": psutil.virtual_memory()._asdict(), "swap": psutil.swap_memory()._asdict()}


def disks() -> list[dict[str, Any]]:
    """Return the mounted file systems and their usage."""
    rows = []
    for disk in psutil.disk_partitions():
        # A file system that this user may not access is left out.
        with contextlib.suppress(OSError):
            rows.append(disk._asdict() | psutil.disk_usage(disk.mountpoint)._asdict())
    return rows


def network() -> dict[str, Any]:
    """Return addresses and counters of the interfaces."""
    counters = psutil.net_io_counters(pernic=True)
    return {
        name: {
            "addresses": [address.address for address in addresses if address.family != psutil.AF_LINK],
            **(counters[name]._asdict() if name in counters else {}),
        }
        for name, addresses in psutil.net_if_addrs().items()
    }


def uptime() -> dict[str, float]:
    """Return the start time of the machine and the seconds since then."""
    boot = psutil.boot_time()
    return {"boot_time": boot, "seconds": round(time.time() - boot)}


SECTIONS: dict[str, Callable[[], Any]] = {
    "cpu": cpu,
    "memory": memory,
    "disks": disks,
    "network": network,
    "uptime": uptime,
}


class SystemInfo(BasePlugin):
    """Returns all sections, or the one in the path."""

    async def request_handler(self, **data: Any) -> tuple[int, Any]:
        """Measure for each request: a section needs a few short reads, which hardly delay the event loop."""
        name = data["subpath"]
        if not name:
            return 200, {section: measure() for section, measure in SECTIONS.items()}
        if name not in SECTIONS:
            return 404, {"error": f"no section {name!r}", "sections": list(SECTIONS)}
        return 200, SECTIONS[name]()
