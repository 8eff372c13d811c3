"""The tables of docs/operations.md, compared with what the program does, and a load of clients through all of it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.clients import Clients
from support.plugins import INI
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until

DOCS = Path(__file__).parents[2] / "docs"

PLUGIN = """
    import time
    from plugincore.baseplugin import BasePlugin

    class Plugin(BasePlugin):
        def request_handler(self, block="0", **data):
            if block != "0":
                print("inside", flush=True)
            time.sleep(float(block))
            return 200, "ok"
"""


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows below a heading of the page, by what their first cell names; several names are several rows."""
    section = (DOCS / "operations.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: row[1:] for row in rows for name in row[0].split(", ")}


def run(folder: Path, *words: str) -> int:
    """Run the command line in a folder; return the exit code."""
    return subprocess.run(
        [*command(), *words], cwd=folder, capture_output=True, timeout=TIMEOUT, check=False
    ).returncode


@contextlib.contextmanager
def blocked(server: Server) -> Iterator[None]:
    """Have a plugin block Python for longer than a stop waits."""
    with server.connect() as connection:
        connection.sendall(b"GET /plugin?block=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("^inside$")
        yield


@contextlib.contextmanager
def ended(server: Server) -> Iterator[None]:
    """Make sure that a process which has taken over is gone in the end, too."""
    try:
        yield
    finally:
        for number in re.findall(r"upgrade: process (\d+) is loading", server.log):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


def codes_of_servers(launch: Launch) -> set[int]:
    """Return what servers end with: after a stop, a failed start, a wrong file, and a forced stop."""
    running = launch({"plugin": PLUGIN})
    taken = INI.replace("port = 0", f"port = {running.port}")
    failed, invalid = launch(ini=taken, ready=False), launch(ini=INI.replace("= 0", "= many"), ready=False)
    forced = launch({"plugin": PLUGIN}, ini_more="[server]\nshutdown_timeout = 300ms\n")
    with blocked(forced):
        codes = {forced.stop()}
    return codes | {failed.wait(), invalid.wait(), running.stop()}


def codes_of_ctl(launch: Launch) -> set[int]:
    """Return what `ctl` ends with: when the server does it, when there is none, and with a wrong command line."""
    server = launch({"plugin": PLUGIN}, ini_more="[server]\ncontrol_socket = x.sock\n")
    wrong = run(server.folder, "ctl", "-i", "server.ini", "dance")
    done = run(server.folder, "ctl", "-i", "server.ini", "reload")
    server.stop()
    return {wrong, done, run(server.folder, "ctl", "-i", "server.ini", "status")}


def codes_of_check(launch: Launch) -> set[int]:
    """Return what `check` ends with: for a file that is right, one that is wrong, and none."""
    server = launch({"plugin": PLUGIN})
    right = run(server.folder, "check", "-i", "server.ini")
    (server.folder / "server.ini").write_text(INI.replace("= 0", "= many"))
    return {right, run(server.folder, "check", "-i", "server.ini"), run(server.folder, "check", "-i", "x.ini")}


@pytest.mark.parametrize("column", [0, 1, 2])
def test_the_table_of_exit_codes_has_those_that_occur(launch: Launch, column: int) -> None:
    """For the server, for `ctl` and for `check`."""
    exercised = [codes_of_servers, codes_of_ctl, codes_of_check][column](launch)
    documented = {int(code) for code, meanings in table("Exit codes").items() if meanings[column]}
    assert documented == exercised


def reloads(server: Server) -> None:
    """SIGHUP."""
    server.wait_for("Reloaded all plugins")
    assert 0 == server.stop()


def restarts(server: Server) -> None:
    """SIGUSR1."""
    server.wait_for("Server started on", next(n for n, line in enumerate(server.lines) if "Received SIGUSR1" in line))
    assert 0 == server.stop()


def upgrades(server: Server) -> None:
    """SIGUSR2."""
    pid = int(re.findall(r"process (\d+)", server.wait_for(r"upgrade: process \d+ serves"))[0])
    assert 0 == server.process.wait(TIMEOUT)
    os.kill(pid, signal.SIGTERM)
    server.wait()


def stops(server: Server) -> None:
    """SIGTERM and SIGINT."""
    assert 0 == server.wait()


def dies(server: Server) -> None:
    """SIGABRT and SIGQUIT."""
    assert server.wait() in (-signal.SIGABRT, -signal.SIGQUIT)


def goes_on(server: Server) -> None:
    """SIGURG."""
    assert 200 == server.get("/plugin").status_code
    assert 0 == server.stop()


EFFECTS: dict[str, Callable[[Server], None]] = {
    "SIGTERM": stops,
    "SIGINT": stops,
    "SIGHUP": reloads,
    "SIGUSR1": restarts,
    "SIGUSR2": upgrades,
    "SIGURG": goes_on,
    "SIGABRT": dies,
    "SIGQUIT": dies,
}


def test_the_table_of_signals_has_those_that_are_tried_here() -> None:
    """No more and no less."""
    assert EFFECTS.keys() == table("Signals").keys()


@pytest.mark.parametrize("name", EFFECTS)
def test_each_signal_of_the_table_has_its_effect(launch: Launch, name: str) -> None:
    """The program does what the table says of it."""
    server = launch({"plugin": PLUGIN})
    server.send(signal.Signals[name])
    if EFFECTS[name] not in (dies, stops, goes_on):
        server.wait_for(f"Received {name}")
    with ended(server):
        EFFECTS[name](server)


def test_no_other_page_has_such_a_table() -> None:
    """They refer to this one instead, so that there is one to keep true."""
    for page in DOCS.glob("*.md"):
        if page.name != "operations.md":
            assert not re.search(r"^\| (exit code|signal) \|", page.read_text(), re.MULTILINE), page


def test_no_request_is_lost_by_reload_restart_and_upgrade(launch: Launch) -> None:
    """One after the other, several times, under a load of connections that are kept and of new ones."""
    server = launch({"plugin": PLUGIN}, ini=INI + "pidfile = server.pid\n")

    def pid() -> int:
        return int((server.folder / "server.pid").read_text())

    def ask(number: signal.Signals, done: str) -> None:
        since = len(server.lines)
        os.kill(pid(), number)
        server.wait_for(done, since)

    with ended(server):
        with Clients(server.port, "/plugin", lambda status, body: (status, body) == (200, b"ok"), 16) as clients:
            for _ in range(3):
                ask(signal.SIGHUP, "Reloaded all plugins")
                clients.go_on(40)
                before = pid()
                ask(signal.SIGUSR2, r"upgrade: process \d+ serves")
                assert pid() != before
                clients.go_on(40)
                ask(signal.SIGUSR1, "Server started on")
                clients.go_on(40)
        os.kill(pid(), signal.SIGTERM)
        wait_until(lambda: not (server.folder / "server.pid").exists())
        server.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_what_the_system_has_accepted_is_answered(launch: Launch, number: signal.Signals) -> None:
    """Clients that connected while the process did not run, and whose connections it finds together with the signal."""
    server = launch({"plugin": PLUGIN})
    with ended(server), contextlib.ExitStack() as connections:
        server.send(signal.SIGSTOP)
        waiting = [connections.enter_context(server.connect()) for _ in range(20)]
        for connection in waiting:
            connection.sendall(b"GET /plugin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.send(number)
        server.send(signal.SIGCONT)
        assert [b"HTTP/1.1 200"] * 20 == [connection.recv(1000)[:12] for connection in waiting]


def test_in_a_terminal_the_way_out_is_told_and_works(launch: Launch) -> None:
    """Ctrl-C says whom the server waits for, and Ctrl-C again ends it at once."""
    terminal, line = pty.openpty()
    try:
        program = ["sh", "-c", f'exec "$@" <{os.ttyname(line)}', "sh", *command()]
        server = launch({"plugin": PLUGIN}, program=program)
        with blocked(server):
            server.send(signal.SIGINT)
            server.wait_for(r"waiting for plugin \(1 request\) \(up to 10 s\); Ctrl-C again ends at once")
            wait_until(lambda: again(server))
            assert 3 == server.wait()
    finally:
        os.close(terminal)
        os.close(line)


def again(server: Server) -> bool:
    """Send SIGINT once more, until it is taken for another one; whether the server has ended."""
    if server.alive:
        server.send(signal.SIGINT)
    return not server.alive
