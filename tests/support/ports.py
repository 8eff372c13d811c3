"""On which port a process listens, from the system itself."""

from __future__ import annotations

import psutil

from support.wait import wait_until


def listening_port(pid: int) -> int | None:
    """Return the port on which this process listens for TCP, None if there is none or the process has ended."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return None
    return next((int(found.laddr.port) for found in connections if found.status == psutil.CONN_LISTEN), None)


def wait_for_port(pid: int) -> int:
    """Return the port on which this process listens, as soon as it does."""
    port = wait_until(lambda: listening_port(pid), f"process {pid} does not listen", interval=0.02)
    assert port is not None
    return port
