"""System metrics under psutil's names, measured natively.

``import psutil`` returns this module if psutil itself is not installed. Names, fields and units are those of psutil
7.2; processes (``Process``, ``process_iter``), connections, fans and batteries are not supported.

A function without a source on the running platform raises `NotImplementedError`. Caveat: `cpu_percent` measures since
the last call in the same thread, so two plugins that call it shorten each other's interval.
"""

# ruff: noqa: N801, N818 (psutil's names)

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from enum import IntEnum
from typing import Any, Literal, NamedTuple, overload

from plugincore import _core

_native = _core.sysinfo

__version__ = "7.2.2"
"""The psutil release whose names and fields these are."""

version_info = (7, 2, 2)
"""`__version__` as numbers."""

# Makes the module a package, so that `import psutil._common` reaches the finder, which raises a helpful error.
__path__: list[str] = []

POSIX = os.name == "posix"
WINDOWS = os.name == "nt"
LINUX = sys.platform.startswith("linux")
MACOS = OSX = sys.platform.startswith("darwin")
FREEBSD = sys.platform.startswith(("freebsd", "midnightbsd"))
OPENBSD = sys.platform.startswith("openbsd")
NETBSD = sys.platform.startswith("netbsd")
BSD = FREEBSD or OPENBSD or NETBSD
SUNOS = sys.platform.startswith(("sunos", "solaris"))
AIX = sys.platform.startswith("aix")

if sys.platform == "linux":
    AF_LINK = socket.AF_PACKET
else:
    AF_LINK = socket.AF_LINK
"""The family of hardware (MAC) addresses."""


class NicDuplex(IntEnum):
    """Whether a link sends and receives at once."""

    NIC_DUPLEX_FULL = 2
    NIC_DUPLEX_HALF = 1
    NIC_DUPLEX_UNKNOWN = 0


NIC_DUPLEX_FULL = NicDuplex.NIC_DUPLEX_FULL
NIC_DUPLEX_HALF = NicDuplex.NIC_DUPLEX_HALF
NIC_DUPLEX_UNKNOWN = NicDuplex.NIC_DUPLEX_UNKNOWN


class Error(Exception):
    """Base class of psutil's exceptions, for ``except psutil.Error``."""


class NoSuchProcess(Error):
    """There is no such process."""


class AccessDenied(Error):
    """The process belongs to another user."""


class svmem(NamedTuple):
    """Memory in bytes; `percent` is the share that is not available."""

    total: int
    available: int
    percent: float
    used: int
    free: int
    active: int
    inactive: int
    buffers: int
    cached: int
    shared: int
    slab: int


class sswap(NamedTuple):
    """Swap in bytes; `sin` and `sout` are the bytes swapped in and out since boot."""

    total: int
    used: int
    free: int
    percent: float
    sin: int
    sout: int


class sdiskusage(NamedTuple):
    """Disk space in bytes; `free` and `percent` are the values for a user other than root."""

    total: int
    used: int
    free: int
    percent: float


class sdiskpart(NamedTuple):
    """A mounted file system; `opts` are its options, separated by commas."""

    device: str
    mountpoint: str
    fstype: str
    opts: str


class sdiskio(NamedTuple):
    """Traffic of a disk since boot; times are milliseconds."""

    read_count: int
    write_count: int
    read_bytes: int
    write_bytes: int
    read_time: int
    write_time: int
    read_merged_count: int
    write_merged_count: int
    busy_time: int


class snetio(NamedTuple):
    """Traffic of an interface since it came up."""

    bytes_sent: int
    bytes_recv: int
    packets_sent: int
    packets_recv: int
    errin: int
    errout: int
    dropin: int
    dropout: int


class snicaddr(NamedTuple):
    """An address of an interface; `ptp` is the far end of a point-to-point link."""

    family: socket.AddressFamily
    address: str
    netmask: str | None
    broadcast: str | None
    ptp: str | None


class snicstats(NamedTuple):
    """The state of a link; `speed` is in Mbit/s, 0 if unknown; `flags` are separated by commas."""

    isup: bool
    duplex: NicDuplex
    speed: int
    mtu: int
    flags: str


class scpufreq(NamedTuple):
    """Frequencies in MHz; `min` and `max` are 0 if the kernel does not publish them."""

    current: float
    min: float
    max: float


class scputimes(NamedTuple):
    """Seconds since boot that processors spent in each mode; `user` includes `guest`."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float
    guest: float
    guest_nice: float


class scpustats(NamedTuple):
    """Events since boot; `syscalls` is 0, since Linux does not count them."""

    ctx_switches: int
    interrupts: int
    soft_interrupts: int
    syscalls: int


class suser(NamedTuple):
    """A login; `started` is seconds since the epoch."""

    name: str
    terminal: str | None
    host: str
    started: float
    pid: int


class shwtemp(NamedTuple):
    """A temperature; `high` and `critical` are None if the sensor has no limit."""

    label: str
    current: float
    high: float | None
    critical: float | None


def _percent(part: float, whole: float) -> float:
    """Return `part` as a percentage of `whole` with one decimal; 0.0 if `whole` is 0."""
    return round(100 * part / whole, 1) if whole else 0.0


def cpu_count(logical: bool = True) -> int | None:
    """Return the number of online processors, or with ``logical=False`` of physical cores; None if unknown."""
    return _native.cpu_count(logical)


@overload
def cpu_times(percpu: Literal[False] = False) -> scputimes: ...
@overload
def cpu_times(percpu: Literal[True]) -> list[scputimes]: ...
def cpu_times(percpu: bool = False) -> scputimes | list[scputimes]:
    """Return the seconds spent in each mode since boot, for all processors together or for each."""
    rows = _read_cpu_times(percpu)
    return rows if percpu else rows[0]


def _read_cpu_times(percpu: bool) -> list[scputimes]:
    """Return the rows of `cpu_times`: one for all processors together, or one for each."""
    return [scputimes(*row) for row in _native.cpu_times(percpu)]


class _LastReading(threading.local):
    """The last CPU times of a thread, by `percpu`; separate for each thread, as in psutil."""

    def __init__(self) -> None:
        """Start without a reading, in each thread."""
        self.times: dict[bool, list[scputimes]] = {}


_last_reading = _LastReading()


def _busy_percent(before: scputimes, after: scputimes) -> float:
    """Return the share of the time between two readings that was neither idle nor waiting for a disk."""
    # Counters may decrease when a processor goes offline and online; guest time is also in user and nice.
    spent = scputimes(*(max(0.0, new - old) for old, new in zip(before, after, strict=True)))
    total = sum(spent) - spent.guest - spent.guest_nice
    return _percent(total - spent.idle - spent.iowait, total)


@overload
def cpu_percent(interval: float | None = None, percpu: Literal[False] = False) -> float: ...
@overload
def cpu_percent(interval: float | None = None, *, percpu: Literal[True]) -> list[float]: ...
def cpu_percent(interval: float | None = None, percpu: bool = False) -> float | list[float]:
    """Return the busy share of the processors' time, in percent.

    Args:
        interval: Seconds to measure; the call blocks that long, and blocks the event loop if it runs there. With None
            or 0 it measures since the last such call in the same thread and returns at once; the first call returns
            0.0.
        percpu: Return a list with a value for each processor.

    Raises:
        ValueError: `interval` is negative.

    """
    if interval is not None and interval < 0:
        message = f"interval is not positive (got {interval})"
        raise ValueError(message)
    values = _since_last(interval, percpu) if LINUX else _native_usage(interval, percpu)
    return values if percpu else values[0]


def _since_last(interval: float | None, percpu: bool) -> list[float]:
    """Measure by two readings of the CPU times; without an earlier one the interval is empty and the result 0.0."""
    before = _last_reading.times.get(percpu)
    if interval:
        before = _read_cpu_times(percpu)
        time.sleep(interval)
    after = _read_cpu_times(percpu)
    _last_reading.times[percpu] = after
    # A processor may have gone online or offline between the readings.
    return [_busy_percent(old, new) for old, new in zip(before or after, after, strict=False)]


def _native_usage(interval: float | None, percpu: bool) -> list[float]:
    """Measure on platforms that have CPU usage, but no CPU times."""
    if interval:
        _native.cpu_usage(percpu)
        time.sleep(interval)
    return [round(value, 1) for value in _native.cpu_usage(percpu)]


@overload
def cpu_freq(percpu: Literal[False] = False) -> scpufreq | None: ...
@overload
def cpu_freq(percpu: Literal[True]) -> list[scpufreq]: ...
def cpu_freq(percpu: bool = False) -> scpufreq | list[scpufreq] | None:
    """Return the frequencies in MHz, the average or of each processor; None if they are unknown."""
    rows = [scpufreq(*row) for row in _native.cpu_freq()]
    if percpu:
        return rows
    return scpufreq(*(sum(column) / len(rows) for column in zip(*rows, strict=True))) if rows else None


def cpu_stats() -> scpustats:
    """Return the number of context switches and interrupts since boot."""
    return scpustats(*_native.cpu_stats())


def getloadavg() -> tuple[float, float, float]:
    """Return the load of the last 1, 5 and 15 minutes."""
    return _native.getloadavg()


def virtual_memory() -> svmem:
    """Return the memory of the machine in bytes."""
    total, available, *rest = _native.virtual_memory()
    return svmem(total, available, _percent(total - available, total), *rest)


def swap_memory() -> sswap:
    """Return the swap of the machine in bytes."""
    total, used, free, swapped_in, swapped_out = _native.swap_memory()
    return sswap(total, used, free, _percent(used, total), swapped_in, swapped_out)


def disk_usage(path: str | os.PathLike[str]) -> sdiskusage:
    """Return the space on the file system that contains `path`, in bytes.

    Raises:
        OSError: The path cannot be accessed; `FileNotFoundError` if it does not exist.

    """
    total, used, free = _native.disk_usage(path)
    # Without the part reserved for root, as in df(1).
    return sdiskusage(total, used, free, _percent(used, used + free))


def disk_partitions(all: bool = False) -> list[sdiskpart]:  # noqa: A002 (psutil's name)
    """Return the mounted disks, or with ``all=True`` also memory, network and kernel file systems."""
    return [sdiskpart(*row) for row in _native.disk_partitions(all)]


@overload
def disk_io_counters(perdisk: Literal[False] = False, nowrap: bool = True) -> sdiskio | None: ...
@overload
def disk_io_counters(perdisk: Literal[True], nowrap: bool = True) -> dict[str, sdiskio]: ...
def disk_io_counters(perdisk: bool = False, nowrap: bool = True) -> sdiskio | dict[str, sdiskio] | None:
    """Return the traffic of the disks since boot; None if there are no disks.

    Args:
        perdisk: Return a dict of all disks and partitions instead of the sum over whole disks.
        nowrap: Accepted for compatibility with psutil; the counters have 64 bits and do not wrap.

    """
    rows = {name: sdiskio(*row) for name, row in _native.disk_io_counters(perdisk)}
    if perdisk:
        return rows
    return sdiskio(*map(sum, zip(*rows.values(), strict=True))) if rows else None


@overload
def net_io_counters(pernic: Literal[False] = False, nowrap: bool = True) -> snetio | None: ...
@overload
def net_io_counters(pernic: Literal[True], nowrap: bool = True) -> dict[str, snetio]: ...
def net_io_counters(pernic: bool = False, nowrap: bool = True) -> snetio | dict[str, snetio] | None:
    """Return the traffic of the network interfaces; None if there are no interfaces.

    Args:
        pernic: Return a dict of all interfaces instead of the sum.
        nowrap: Accepted for compatibility with psutil; the counters have 64 bits and do not wrap.

    """
    rows = {name: snetio(*row) for name, row in _native.net_io_counters().items()}
    if pernic:
        return rows
    return snetio(*map(sum, zip(*rows.values(), strict=True))) if rows else None


def net_if_addrs() -> dict[str, list[snicaddr]]:
    """Return the addresses of every interface: IPv4, then IPv6, then `AF_LINK`."""
    addresses: dict[str, list[snicaddr]] = {}
    for name, family, address, *others in sorted(_native.net_if_addrs(), key=lambda row: row[1]):
        addresses.setdefault(name, []).append(snicaddr(socket.AddressFamily(family), address, *others))
    return addresses


def net_if_stats() -> dict[str, snicstats]:
    """Return the state of the link of every interface."""
    return {
        name: snicstats(running, NicDuplex(duplex), speed, mtu, ",".join(flags))
        for name, (running, duplex, speed, mtu, flags) in _native.net_if_stats().items()
    }


def boot_time() -> float:
    """Return the time at which the machine started, in seconds since the epoch."""
    return float(_native.boot_time())


def users() -> list[suser]:
    """Return the logged-in users; a login at the machine itself or on its first display has the host ``localhost``."""
    return [
        suser(name, terminal or None, "localhost" if host in ("", ":0", ":0.0") else host, float(started), pid)
        for name, terminal, host, started, pid in _native.users()
    ]


def pids() -> list[int]:
    """Return the ids of all processes in ascending order."""
    return _native.pids()


def sensors_temperatures(fahrenheit: bool = False) -> dict[str, list[shwtemp]]:
    """Return the temperatures by chip; if a sensor has only one of the two limits, it is used for both."""

    def convert(celsius: float) -> float:
        return celsius * 9 / 5 + 32 if fahrenheit else celsius

    def limit(celsius: float | None) -> float | None:
        return None if celsius is None else convert(celsius)

    return {
        chip: [
            shwtemp(label, convert(current), limit(high or critical), limit(critical or high))
            for label, current, high, critical in readings
        ]
        for chip, readings in _native.sensors_temperatures().items()
    }


def __getattr__(name: str) -> Any:
    """Raise an AttributeError with the remedy for a name that only psutil has."""
    message = f"plugincore.sysinfo has no {name!r}; it stands in for psutil, and installing psutil gives the rest of it"
    raise AttributeError(message)
