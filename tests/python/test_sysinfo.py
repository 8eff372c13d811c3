"""`plugincore.sysinfo` says what psutil says, and stands in for it only when it is missing."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from plugincore import sysinfo

pytestmark = pytest.mark.skipif(not sysinfo.LINUX, reason="the figures compared here are Linux's")


def bracketed(measure: str, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
    """Measure with psutil, with us and with psutil again."""
    theirs = getattr(psutil, measure)
    before = theirs(*args, **kwargs)
    ours = getattr(sysinfo, measure)(*args, **kwargs)
    return before, ours, theirs(*args, **kwargs)


def assert_between(before: tuple[Any, ...], ours: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """Every field of a growing counter lies between psutil's reading before and the one after."""
    for low, value, high, field in zip(before, ours, after, before._fields, strict=True):
        assert low <= value <= high, field


def unchanged(measure: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Give psutil's answer and ours to a question whose answer did not change while it was asked."""
    for _ in range(200):
        before, ours, after = bracketed(measure, *args, **kwargs)
        if before == after:
            break
    return after, ours


def run(source: str) -> str:
    """Run a program in a fresh interpreter, which finds what this one finds, and give what it prints."""
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Every program below that must not see psutil begins with this.
HIDE_PSUTIL = """\
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    '''The usual finder, blind to psutil.'''
    hidden = True

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if cls.hidden and name.partition(".")[0] == "psutil":
            return None
        return super().find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


# --- names and fields


@pytest.mark.parametrize(
    "name", ["svmem", "sswap", "sdiskusage", "sdiskpart", "sdiskio", "snetio", "snicaddr", "snicstats", "scpufreq",
             "scputimes", "scpustats", "suser", "shwtemp"]
)  # fmt: skip
def test_fields(name: str) -> None:
    """A named tuple has psutil's name, and its fields in psutil's order."""
    homes = [getattr(psutil, "_ntp", None), psutil._common, psutil._pslinux]
    theirs = next(getattr(home, name) for home in homes if getattr(home, name, None) is not None)
    ours = getattr(sysinfo, name)
    assert theirs._fields == ours._fields
    assert theirs.__name__ == ours.__name__


@pytest.mark.parametrize(
    "name", ["AF_LINK", "NIC_DUPLEX_FULL", "NIC_DUPLEX_HALF", "NIC_DUPLEX_UNKNOWN", "AIX", "BSD", "FREEBSD", "LINUX",
             "MACOS", "NETBSD", "OPENBSD", "OSX", "POSIX", "SUNOS", "WINDOWS"]
)  # fmt: skip
def test_constants(name: str) -> None:
    """A constant has psutil's value."""
    assert getattr(psutil, name) == getattr(sysinfo, name)


def test_version() -> None:
    """The version is a psutil version, as text and as numbers."""
    assert sysinfo.__version__ == ".".join(map(str, sysinfo.version_info))
    assert sysinfo.version_info >= (7, 0, 0)


def test_exceptions() -> None:
    """The exceptions can be caught by their base, as psutil's can."""
    assert issubclass(sysinfo.NoSuchProcess, sysinfo.Error)
    assert issubclass(sysinfo.AccessDenied, sysinfo.Error)


def test_missing_name() -> None:
    """A name that only psutil has is missing in the usual way, with the remedy in the message."""
    assert not hasattr(sysinfo, "process_iter")
    with pytest.raises(AttributeError, match=r"'Process'.*installing psutil"):
        sysinfo.Process  # noqa: B018


# --- processors


@pytest.mark.parametrize("logical", [True, False])
def test_cpu_count(logical: bool) -> None:
    """Processors and cores are counted as psutil counts them."""
    theirs, ours = psutil.cpu_count(logical), sysinfo.cpu_count(logical)
    # psutil may not find cores where the kernel hides the topology.
    assert theirs in (ours, None)


def test_cpu_times() -> None:
    """The machine's times lie between two readings of psutil's."""
    assert_between(*bracketed("cpu_times"))


def test_cpu_times_percpu() -> None:
    """Each processor's times lie between two readings of psutil's."""
    for row in zip(*bracketed("cpu_times", percpu=True), strict=True):
        assert_between(*row)


def test_cpu_stats() -> None:
    """Context switches and interrupts lie between two readings of psutil's."""
    assert_between(*bracketed("cpu_stats"))


@pytest.mark.parametrize("percpu", [False, True])
def test_cpu_freq(percpu: bool) -> None:
    """Limits are psutil's; current frequencies too, unless the clock moves all the time."""
    before, ours, after = bracketed("cpu_freq", percpu)
    if before is None:
        assert ours is None
        return
    rows = zip(*((before, ours, after) if percpu else ([before], [ours], [after])), strict=True)
    for low, mine, high in rows:
        assert mine[1:] == high[1:]
        if low == high:
            assert math.isclose(mine.current, high.current)


def test_first_cpu_percent_is_zero() -> None:
    """The first call on a thread has nothing to measure from and says 0.0, of each processor too."""
    answers: list[Any] = []

    def first_calls() -> None:
        answers.extend([sysinfo.cpu_percent(), sysinfo.cpu_percent(percpu=True)])

    thread = threading.Thread(target=first_calls)
    thread.start()
    thread.join()
    assert [0.0, [0.0] * len(psutil.cpu_times(percpu=True))] == answers


def test_cpu_percent_between_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two readings the busy share counts neither idle nor disk waits, and guest time only once."""
    readings = iter(
        [
            [[100.0, 0.0, 50.0, 800.0, 50.0, 0.0, 0.0, 0.0, 10.0, 0.0]],
            [[130.0, 0.0, 60.0, 850.0, 60.0, 0.0, 0.0, 0.0, 30.0, 0.0]],
        ]
    )
    monkeypatch.setattr(sysinfo._native, "cpu_times", lambda _percpu: next(readings), raising=True)
    monkeypatch.setattr(sysinfo.time, "sleep", lambda _seconds: None)
    # 30 user and 10 system of 100 seconds; the 20 of guests are in the 30.
    assert sysinfo.cpu_percent(interval=1) == 40.0


def test_cpu_percent_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that steps back counts as nothing, so that no share is negative or above 100."""
    readings = iter([[[9.0] * 8 + [0.0, 0.0]], [[8.0] * 8 + [0.0, 0.0]]])
    monkeypatch.setattr(sysinfo._native, "cpu_times", lambda _percpu: next(readings), raising=True)
    monkeypatch.setattr(sysinfo.time, "sleep", lambda _seconds: None)
    assert sysinfo.cpu_percent(interval=1) == 0.0


def test_cpu_percent_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an interval the call waits that long, once, and answers for every processor."""
    waits: list[float] = []
    monkeypatch.setattr(sysinfo.time, "sleep", waits.append)
    assert len(sysinfo.cpu_percent(interval=0.25, percpu=True)) == len(psutil.cpu_times(percpu=True))
    assert waits == [0.25]


def test_cpu_percent_negative_interval() -> None:
    """A negative interval is refused with psutil's message."""
    with pytest.raises(ValueError, match="not positive") as theirs:
        psutil.cpu_percent(interval=-1)
    with pytest.raises(ValueError, match="not positive") as ours:
        sysinfo.cpu_percent(interval=-1)
    assert str(theirs.value) == str(ours.value)


def test_getloadavg() -> None:
    """The loads are the kernel's, to the two decimals it publishes."""
    before, ours, after = bracketed("getloadavg")
    for low, load, high in zip(before, ours, after, strict=True):
        assert min(low, high) - 0.01 <= load <= max(low, high) + 0.01


# --- memory


def test_virtual_memory() -> None:
    """Total is psutil's; what does not change while it is asked is equal to the byte; the sums hold."""
    before, ours, after = bracketed("virtual_memory")
    assert ours.total == after.total
    assert ours.used == ours.total - ours.available
    assert ours.percent == round(100 * ours.used / ours.total, 1)
    for field in ours._fields:
        low, high = getattr(before, field), getattr(after, field)
        if low == high and field in ("buffers", "shared"):
            assert getattr(ours, field) == high, field
        assert 0 <= getattr(ours, field) <= ours.total, field


@pytest.mark.parametrize("field", ["available", "free", "active", "inactive", "buffers", "cached", "shared", "slab"])
def test_virtual_memory_field(field: str) -> None:
    """A field that stood still between two readings of psutil's is the same here: the unit and the sum are right."""
    for _ in range(2000):
        before, ours, after = bracketed("virtual_memory")
        if getattr(before, field) == getattr(after, field) == getattr(ours, field):
            return
    pytest.fail(f"{field}: psutil {getattr(after, field)}, here {getattr(ours, field)}")


def test_swap_memory() -> None:
    """Swap is psutil's to the byte, traffic included."""
    theirs, ours = unchanged("swap_memory")
    assert tuple(theirs) == tuple(ours)


# --- disks


def test_disk_usage() -> None:
    """The room on a file system is psutil's to the byte."""
    theirs, ours = unchanged("disk_usage", "/")
    assert tuple(theirs) == tuple(ours)
    assert sysinfo.disk_usage(Path("/")).total == ours.total


def test_disk_usage_of_nothing() -> None:
    """A path that is not there raises what psutil raises, with the path."""
    with pytest.raises(FileNotFoundError) as theirs:
        psutil.disk_usage("/no/such/path")
    with pytest.raises(FileNotFoundError) as ours:
        sysinfo.disk_usage("/no/such/path")
    assert (theirs.value.errno, theirs.value.strerror) == (ours.value.errno, ours.value.strerror)
    assert ours.value.filename == "/no/such/path"


@pytest.mark.parametrize("everything", [False, True])
def test_disk_partitions(everything: bool) -> None:
    """Mounts are psutil's, in its order, options included."""
    theirs, ours = unchanged("disk_partitions", everything)
    assert list(map(tuple, theirs)) == list(map(tuple, ours))


def test_disk_io_counters() -> None:
    """Each disk's and partition's traffic lies between two readings of psutil's."""
    before, ours, after = bracketed("disk_io_counters", perdisk=True, nowrap=False)
    assert before.keys() == ours.keys()
    for name, row in ours.items():
        assert_between(before[name], row, after[name])


def test_disk_io_counters_sum() -> None:
    """The sum is over whole disks, like psutil's."""
    before, ours, after = bracketed("disk_io_counters", nowrap=False)
    if before is None:
        assert ours is None
    else:
        assert_between(before, ours, after)


# --- network


def test_net_io_counters() -> None:
    """Each interface's traffic lies between two readings of psutil's."""
    before, ours, after = bracketed("net_io_counters", pernic=True, nowrap=False)
    assert before.keys() == ours.keys()
    for name, row in ours.items():
        assert_between(before[name], row, after[name])


def test_net_io_counters_sum() -> None:
    """The sum over the interfaces lies between two readings of psutil's."""
    assert_between(*bracketed("net_io_counters", nowrap=False))


def test_traffic_is_seen() -> None:
    """What is sent over loopback is counted as sent and received."""
    before = sysinfo.net_io_counters(pernic=True)["lo"]
    payload = bytes(32_768)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as peer,
    ):
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
        while peer.recv(65_536):
            pass
    after = sysinfo.net_io_counters(pernic=True)["lo"]
    assert after.bytes_sent - before.bytes_sent >= len(payload)
    assert after.bytes_recv - before.bytes_recv >= len(payload)


def test_net_if_addrs() -> None:
    """Addresses, netmasks, broadcasts and families are psutil's, in its order."""
    theirs, ours = unchanged("net_if_addrs")
    assert {name: list(map(tuple, rows)) for name, rows in theirs.items()} == {
        name: list(map(tuple, rows)) for name, rows in ours.items()
    }


def test_families_are_members() -> None:
    """A family is a member of `socket.AddressFamily`, so that plugins can compare and print it."""
    families = {row.family for rows in sysinfo.net_if_addrs().values() for row in rows}
    assert all(isinstance(family, socket.AddressFamily) for family in families)
    assert socket.AddressFamily.AF_INET in families


def test_net_if_stats() -> None:
    """The state of each link is psutil's: running, duplex, speed, MTU and flags."""
    theirs, ours = unchanged("net_if_stats")
    assert {name: tuple(row) for name, row in theirs.items()} == {name: tuple(row) for name, row in ours.items()}


# --- the rest


def test_boot_time() -> None:
    """The machine started when psutil says, but for the second that a clock correction may move it."""
    theirs, ours = unchanged("boot_time")
    assert isinstance(ours, float)
    assert abs(theirs - ours) <= 1


def test_users() -> None:
    """Logins are psutil's."""
    theirs, ours = unchanged("users")
    assert list(map(tuple, theirs)) == list(map(tuple, ours))


def test_local_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login without a host, or on the first display, is local, and one without a terminal has none, as in psutil."""
    rows = [("ada", "tty1", "", 5, 1), ("bob", "tty2", ":0", 6, 2), ("eve", "", "192.0.2.7", 7, 3)]
    monkeypatch.setattr(sysinfo._native, "users", lambda: rows)
    assert [("tty1", "localhost", 5.0), ("tty2", "localhost", 6.0), (None, "192.0.2.7", 7.0)] == [
        (user.terminal, user.host, user.started) for user in sysinfo.users()
    ]


def test_pids() -> None:
    """Every process that psutil sees before and after is listed, ascending, and none of their threads."""
    before, ours, after = bracketed("pids")
    assert set(before) & set(after) <= set(ours)
    assert os.getpid() in ours
    assert ours == sorted(set(ours))
    started = threading.Event()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: (started.set(), stop.wait()))
    thread.start()
    started.wait()
    assert thread.native_id not in sysinfo.pids()
    stop.set()
    thread.join()


def test_sensors_temperatures() -> None:
    """Chips, labels and limits are psutil's; a temperature may move."""
    theirs, ours = unchanged("sensors_temperatures")
    assert {chip: [(row.label, row[2:]) for row in rows] for chip, rows in theirs.items()} == {
        chip: [(row.label, row[2:]) for row in rows] for chip, rows in ours.items()
    }


def test_sensors_in_fahrenheit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fahrenheit is converted, a limit that stands alone stands for both, and no limit stays none."""
    readings = {"chip": [("core", 100.0, None, 110.0), ("", 0.0, None, None)]}
    monkeypatch.setattr(sysinfo._native, "sensors_temperatures", lambda: readings)
    assert sysinfo.sensors_temperatures(fahrenheit=True) == {
        "chip": [("core", 212.0, 230.0, 230.0), ("", 32.0, None, None)]
    }


# --- import psutil


def test_stand_in_without_psutil() -> None:
    """Without psutil `import psutil` gives this module, which keeps its own name and spec."""
    program = """
    from plugincore import _psutil, sysinfo
    _psutil.install()
    import psutil
    assert psutil is sysinfo is sys.modules["psutil"]
    print(psutil.__name__, psutil.__spec__.name, psutil.cpu_count() > 0)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "plugincore.sysinfo plugincore.sysinfo True"


def test_without_install_nothing_changes() -> None:
    """Before `install` psutil is missing as always."""
    program = """
    import plugincore.sysinfo
    try:
        import psutil
    except ModuleNotFoundError as error:
        print(error)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "No module named 'psutil'"


def test_real_psutil_wins() -> None:
    """Where psutil is installed it is what gets imported, submodules included."""
    program = """
    from plugincore import _psutil
    _psutil.install()
    import psutil, psutil._common
    print(psutil.__name__, hasattr(psutil, "Process"))
    """
    assert run(textwrap.dedent(program)) == "psutil True"


def test_psutil_installed_later_wins() -> None:
    """A psutil that appears after `install`, before the first import, is what gets imported."""
    program = """
    from plugincore import _psutil
    _psutil.install()
    Hiding.hidden = False
    import psutil
    print(psutil.__name__)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "psutil"


def test_psutil_installed_after_the_stand_in_was_used() -> None:
    """Once the stand-in is taken out of `sys.modules`, a psutil that has appeared is found."""
    program = """
    from plugincore import _psutil
    _psutil.install()
    import psutil
    first = psutil.__name__
    Hiding.hidden = False
    del sys.modules["psutil"]
    import psutil
    print(first, psutil.__name__)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "plugincore.sysinfo psutil"


def test_install_is_idempotent() -> None:
    """Installing again adds nothing and leaves the finder at the end, behind whoever came meanwhile."""
    program = """
    from plugincore import _psutil
    _psutil.install()
    count = len(sys.meta_path)
    sys.meta_path.append(type("Late", (), {"find_spec": staticmethod(lambda name, path=None, target=None: None)}))
    _psutil.install()
    print(len(sys.meta_path) - count, sys.meta_path[-1] is _psutil._FINDER)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "1 True"


@pytest.mark.parametrize("module", ["psutil._common", "psutil.tests"])
def test_submodule_of_the_stand_in(module: str) -> None:
    """A submodule of psutil is missing by its name, with the remedy."""
    program = f"""
    from plugincore import _psutil
    _psutil.install()
    try:
        import {module}
    except ModuleNotFoundError as error:
        print(error.name, "|", error)
    """
    name, _, message = run(HIDE_PSUTIL + textwrap.dedent(program)).partition(" | ")
    assert name == module
    assert "installing psutil gives them" in message


def test_submodule_of_the_real_psutil() -> None:
    """A submodule that psutil itself lacks is missing in Python's own words."""
    program = """
    from plugincore import _psutil
    _psutil.install()
    try:
        import psutil.nothing
    except ModuleNotFoundError as error:
        print(error)
    """
    assert run(textwrap.dedent(program)) == "No module named 'psutil.nothing'"


def test_find_spec_does_not_import() -> None:
    """Asking whether psutil could be imported is answered without importing anything."""
    program = """
    import importlib.util
    from plugincore import _psutil
    _psutil.install()
    print(importlib.util.find_spec("psutil").origin, "plugincore.sysinfo" in sys.modules)
    """
    assert run(HIDE_PSUTIL + textwrap.dedent(program)) == "plugincore.sysinfo False"


def test_psutil_is_here() -> None:
    """These tests compare with psutil itself, not with its stand-in."""
    assert importlib.util.find_spec("psutil").origin.endswith("__init__.py")
    assert psutil is not sysinfo
