"""Outputs that take nothing: a reader that does not read or has gone, a terminal on hold, a device that is full."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.plugins import INI, prepare
from support.ports import wait_for_port
from support.server import Launch, command
from support.wait import TIMEOUT, wait_until
from support.wire import receive_all

TALKER = """
    import ctypes
    import os
    import sys
    from plugincore.baseplugin import BasePlugin

    class Talker(BasePlugin):
        async def request_handler(self, **data):
            what, count = data["subpath"], int(data.get("count", 1))
            for number in range(count):
                if what == "log":
                    self.log("logged", number, "x" * 100)
                if what == "print":
                    print("printed", number, "x" * 100)
                if what == "error":
                    print("complained", number, "x" * 100, file=sys.stderr)
                if what == "both":
                    print("printed", number)
                    self.log("logged", number)
                    sys.stdout.buffer.write(b"written %d\\n" % number)
                    sys.stdout.flush()
            if what == "crash":
                self.log("last logged", "x" * 5000)
                print("last printed", "x" * 5000)
                ctypes.string_at(1)
            if what == "exit":
                print("last printed")
                self.log("last logged")
                os._exit(3)
            return 200, {"port": self.config.network.port}
"""

REFUSALS = "[auth]\napikey = k\n[plugin_parms]\nlocked = auth_type=global\n"
LOCKED = "from plugincore.baseplugin import BasePlugin\nclass Locked(BasePlugin):\n    pass\n"


class Running:
    """A server whose output the test owns, so that its port cannot be read there."""

    def __init__(self, folder: Path, stdout: int, stderr: int | None = None, *args: str) -> None:
        """Start it in ``folder``."""
        self.port = 0
        prepare(
            folder,
            {"talker": TALKER, "locked": LOCKED},
            INI + "[server]\nshutdown_timeout = 2\nstall_warn = none\n" + REFUSALS,
        )
        self.process = subprocess.Popen(
            [*command(), "-i", "server.ini", *args], cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )

    def get(self, path: str) -> int:
        """Return the status of the answer to a request."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=TIMEOUT, trust_env=False).status_code

    def pipelined(self, path: str, count: int) -> bytes:
        """Return the answers to many requests that are sent without waiting."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
            requests = (request + "\r\n") * (count - 1) + request + "Connection: close\r\n\r\n"
            sending = threading.Thread(target=connection.sendall, args=(requests.encode(),))
            sending.start()
            answers = receive_all(connection)
            sending.join(TIMEOUT)
        return answers

    def ready(self) -> Running:
        """Wait until it answers."""
        self.port = wait_for_port(self.process.pid)

        def answers() -> bool:
            assert self.process.poll() is None
            return self.get("/-/ready") == 200

        wait_until(answers, "it is not ready")
        return self

    def stop(self) -> int:
        """Ask for a stop and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that starts servers; they are gone when the test ends."""
    servers: list[Running] = []

    def start(stdout: int, stderr: int | None = None, *args: str) -> Running:
        servers.append(Running(tmp_path, stdout, stderr, *args))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


def output_of(kind: str) -> tuple[int, int]:
    """Return the reading and the writing end of a fresh pipe, terminal or pair of sockets."""
    if kind == "pipe":
        return os.pipe()
    if kind == "terminal":
        return pty.openpty()
    ours, its = socket.socketpair()
    return ours.detach(), its.detach()


def read_all(descriptor: int, into: list[bytes]) -> threading.Thread:
    """Read until the other side closes, in a thread."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                into.append(chunk)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("kind", "speaker"),
    [
        *((kind, speaker) for kind in ("pipe", "terminal", "socket") for speaker in ("refusals", "print")),
        ("pipe", "log"),
        ("pipe", "error"),
    ],
)
def test_an_output_that_nobody_reads_holds_nobody(running: Callable[..., Running], kind: str, speaker: str) -> None:
    """Neither I/O threads nor plugins wait for it, and a stop is heard."""
    reader, writer = output_of(kind)
    server = running(writer, writer).ready()
    os.close(writer)
    if speaker == "refusals":
        assert 1500 == server.pipelined("/locked", 1500).count(b"HTTP/1.1 403 ")
    else:
        assert 200 == server.get(f"/talker/{speaker}?count=1500")
    assert [403, 200] == [server.get("/locked"), server.get("/talker/print")]
    assert 0 == server.stop()
    os.close(reader)


def test_what_was_lost_is_told_to_a_late_reader(running: Callable[..., Running]) -> None:
    """What waited comes first, then how much did not find room, then what is logged from then on."""
    reader, writer = output_of("pipe")
    server = running(writer).ready()
    os.close(writer)
    assert 200 == server.get("/talker/log?count=12000")
    received: list[bytes] = []
    thread = read_all(reader, received)
    report = rb"<4> - WARN - plugincore - (\d+) log lines were lost because the output did not take them\n"
    for _ in range(int(TIMEOUT * 50)):
        if re.search(report, b"".join(received)):
            break
        threading.Event().wait(0.02)
    assert 200 == server.get("/talker/log")
    assert 0 == server.stop()
    thread.join(TIMEOUT)
    os.close(reader)
    text = b"".join(received)
    (lost,) = re.findall(report, text)
    numbers = [int(number) for number in re.findall(rb" - logged (\d+) ", text)]
    assert [*range(12000 - int(lost)), 0] == numbers
    assert text.index(b"logged 0 ") < re.search(report, text).start() < text.rindex(b"logged 0 ")  # type: ignore[union-attr]


def test_a_log_file_that_is_a_pipe_without_a_reader_holds_nobody(
    running: Callable[..., Running], tmp_path: Path
) -> None:
    """It is opened and reopened all the same, and gets its lines as soon as there is a reader."""
    fifo = tmp_path / "fifo.log"
    os.mkfifo(fifo)
    server = running(subprocess.DEVNULL, None, "-l", str(fifo)).ready()
    assert 200 == server.get("/talker/log?count=12000")
    server.process.send_signal(signal.SIGHUP)
    assert 200 == server.get("/talker/log")
    assert 403 == server.get("/locked")
    reader = os.open(fifo, os.O_RDONLY)
    received: list[bytes] = []
    thread = read_all(reader, received)
    assert 0 == server.stop()
    thread.join(TIMEOUT)
    os.close(reader)
    assert b"Server started on" in b"".join(received)
    assert re.search(rb" - plugincore - WARN - \d+ log lines were lost", b"".join(received))


@pytest.mark.parametrize("what", ["print", "error", "log"])
@pytest.mark.parametrize("kind", ["closed pipe", "closed terminal", "full device", "closed socket"])
def test_an_output_that_fails_is_no_error_of_the_request(running: Callable[..., Running], kind: str, what: str) -> None:
    """What cannot be written is lost; who prints or logs is answered as ever, and the end is code 0."""
    if kind == "full device":
        writer = os.open("/dev/full", os.O_WRONLY)
        server = running(writer, writer).ready()
    else:
        reader, writer = output_of(kind.removeprefix("closed "))
        server = running(writer, writer).ready()
        os.close(reader)
    os.close(writer)
    assert [200] * 3 == [server.get(f"/talker/{what}?count=10") for _ in range(3)]
    assert 0 == server.stop()


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket", "file"])
def test_the_last_words_before_a_crash_are_out(running: Callable[..., Running], tmp_path: Path, kind: str) -> None:
    """When `print` and the log return, their lines are written, in that order, long ones too."""
    for what, code in (("exit", 3), ("crash", -signal.SIGSEGV)):
        if kind == "file":
            writer = os.open(tmp_path / what, os.O_CREAT | os.O_RDWR)
            reader = os.open(tmp_path / what, os.O_RDONLY)
        else:
            reader, writer = output_of(kind)
        received: list[bytes] = []
        server = running(writer, writer).ready()
        os.close(writer)
        thread = read_all(reader, received) if kind != "file" else None
        with pytest.raises(httpx.TransportError):
            server.get(f"/talker/{what}")
        assert code == server.process.wait(TIMEOUT)
        (thread or read_all(reader, received)).join(TIMEOUT)
        text = b"".join(received).replace(b"\r\n", b"\n").decode()
        words = re.findall(r"(last printed|last logged)(?: (x+))?(?: request_id=\w+)?\n", text)
        order = ["last printed", "last logged"]
        assert (order if what == "exit" else order[::-1]) == [word for word, _ in words]
        assert {"" if what == "exit" else "x" * 5000} == {more for _, more in words}
        os.close(reader)


def test_what_is_printed_and_what_is_logged_is_in_order(launch: Launch) -> None:
    """Text, bytes and records come out as they were written."""
    server = launch({"talker": TALKER}, ini_more=REFUSALS)
    server.get("/talker/both?count=200")
    server.wait_for("^written 199$")
    seen = [line.removeprefix("<6> - INFO - talker - ") for line in server.lines_without_ids]
    expected = [f"{what} {number}" for number in range(200) for what in ("printed", "logged", "written")]
    assert expected == seen[seen.index("printed 0") : seen.index("written 199") + 1]


def test_sys_stdout_is_the_stream_that_it_was(launch: Launch) -> None:
    """It has a descriptor, buffer, encoding and mode of its own as any program's, and can be reconfigured."""
    plugin = """
        import io, os, sys
        from plugincore.baseplugin import BasePlugin

        class Stream(BasePlugin):
            async def request_handler(self, **data):
                streams = {}
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    assert isinstance(stream, io.TextIOWrapper)
                    assert stream is getattr(sys, f"__{name}__")
                    stream.reconfigure(line_buffering=False)
                    stream.write("kept back\\n")
                    stream.reconfigure(line_buffering=True, errors="backslashreplace")
                    stream.writelines(["a", "b\\n"])
                    assert stream.buffer.write(memoryview(b"bytes\\n")) == 6
                    stream.buffer.flush()
                    stream.buffer.raw.write(b"raw\\n")
                    assert stream.isatty() == os.isatty(stream.fileno())
                    streams[name] = [stream.fileno(), stream.encoding.lower(), stream.name, stream.mode, stream.closed]
                    streams[name] += [stream.writable(), stream.readable(), stream.seekable(), stream.errors]
                return 200, streams
    """
    server = launch({"stream": plugin}, env={"PYTHONIOENCODING": "latin-1"})
    answer = server.get("/stream").json()
    for number, name in ((1, "stdout"), (2, "stderr")):
        assert [number, "iso8859-1", f"<{name}>", "w", False, True, False, False, "backslashreplace"] == answer[name]
    server.wait_for("^raw$")
    assert 0 == server.stop()
    assert ["kept back", "ab", "bytes", "raw"] * 2 == [line for line in server.lines if not line.startswith("<")]


def test_a_log_of_sighup_goes_on_in_the_new_file(launch: Launch, tmp_path: Path) -> None:
    """Lines before the signal are in the file that was moved away, later ones in the new one, none are lost."""
    file = tmp_path / "server.log"
    server = launch({"talker": TALKER}, ini_more=REFUSALS, args=["-l", str(file)])
    server.get("/talker/log?count=50")
    file.rename(tmp_path / "server.log.1")
    server.send(signal.SIGHUP)
    server.wait_for("Reloaded all plugins")
    server.get("/talker/log?count=51")
    assert 0 == server.stop()
    counts = [
        len(re.findall(r" - logged \d+ ", (tmp_path / name).read_text())) for name in ("server.log.1", "server.log")
    ]
    assert [50, 51] == counts
