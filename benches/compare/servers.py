"""Installs, starts and observes the servers that are compared.

Each has its own environment below ``target/bench``, one worker process, no access log, and its fastest configuration.
If that depends on the row, the server is measured in several configurations.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rows import BARE, GRANIAN, GRANIAN_WSGI, KEY, PLUGINCORE, PLUGINSERVER, UVICORN

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "bench"
CERTIFICATE, PRIVATE_KEY = WORK / "certificate.pem", WORK / "key.pem"

#: Seconds within which a server must start, and answer a request.
TIMEOUT = 120.0

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

#: ``command(folder, port, tls)`` writes the server's files into ``folder`` and returns its command line.
Command = Callable[[Path, int, bool], Sequence[str]]


@dataclass(frozen=True)
class Setup:
    """One server in one configuration.

    Attributes:
        server: The server's name; if it has several configurations, the fastest counts for a row.
        name: The name of the configuration.
        requirements: Packages to install into its environment; for plugincore the project itself is installed.
        command: See :data:`Command`.
        environment: Additional variables.
        http2: The command for rows of HTTP/2, if it is another one. It serves HTTP/1.1 as well, for the check.

    """

    server: str
    name: str
    requirements: tuple[str, ...]
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    http2: Command | None = None

    @property
    def folder(self) -> Path:
        """The folder of its environment and its files."""
        return WORK / self.server


def _bin(server: str, program: str) -> str:
    return str(WORK / server / "venv" / "bin" / program)


def _ini(folder: Path, port: int, tls: bool, plugins: Path, more: str = "") -> Path:
    """Write an ini file that both plugincore and pluginserver read."""
    ini = folder / f"server-{port}.ini"
    ini.write_text(
        f"[network]\nbindto = 127.0.0.1\nport = int:{port}\n\n[paths]\nplugins = {plugins}\n\n"
        f"[SSL]\nenabled = bool:{'true' if tls else 'false'}\ncertfile = {CERTIFICATE}\nkeyfile = {PRIVATE_KEY}\n\n"
        f"[auth]\napikey = {KEY}\n\n[plugin_parms]\nguarded = auth_type=plugin&apikey={KEY}\n\n"
        f"[cors]\nenabled = bool:true\norigin_url = list:https://app.example.org\n\n"
        f"[limits]\nwrong_keys = none\n\n{more}"
    )
    return ini


def plugincore_command(plugins: Path = HERE / "plugins", more: str = "", server: str = PLUGINCORE) -> Command:
    """Return the command of plugincore in the environment of ``server``; ``more`` is appended to its ini file."""

    def command(folder: Path, port: int, tls: bool) -> Sequence[str]:
        ini = _ini(folder, port, tls, plugins, more)
        return [_bin(server, "plugincore"), "-i", str(ini), "-v", "ERROR"]

    return command


def _pluginserver(folder: Path, port: int, tls: bool) -> Sequence[str]:
    # pluginserver cannot serve a plugin with a plain handler.
    plugins = folder / "plugins"
    if not plugins.exists():
        shutil.copytree(HERE / "plugins", plugins, ignore=shutil.ignore_patterns("plain.py", "__pycache__"))
    ini = _ini(folder, port, tls, plugins)
    return [_bin(PLUGINSERVER, "pserve"), "-i", str(ini), "-v", "ERROR", "-l", os.devnull]


def _granian(mode: str, loop: str, interface: str = "rsgi", http: str = "1") -> Command:
    def command(folder: Path, port: int, tls: bool) -> Sequence[str]:
        server = GRANIAN_WSGI if interface == "wsgi" else GRANIAN
        keys = ["--ssl-certificate", str(CERTIFICATE), "--ssl-keyfile", str(PRIVATE_KEY)] if tls else []
        runtime = ["--interface", interface, "--workers", "1", "--runtime-mode", mode, "--loop", loop]
        where = ["--host", "127.0.0.1", "--port", str(port), "--http", http, "--no-ws", "--no-log"]
        blocking = ["--blocking-threads", "1"] if interface == "wsgi" else []
        return [_bin(server, "granian"), *runtime, *where, *blocking, *keys, f"granian_{interface}:app"]

    return command


def _uvicorn(folder: Path, port: int, tls: bool) -> Sequence[str]:
    keys = ["--ssl-certfile", str(CERTIFICATE), "--ssl-keyfile", str(PRIVATE_KEY)] if tls else []
    where = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "error"]
    return [_bin(UVICORN, "uvicorn"), *where, "--loop", "uvloop", "--http", "httptools", *keys, "starlette_app:app"]


def _bare(folder: Path, port: int, tls: bool) -> Sequence[str]:
    keys = [str(CERTIFICATE), str(PRIVATE_KEY)] if tls else []
    return [str(ROOT / "target" / "release" / "examples" / "bare"), str(port), *keys]


_PEERS = {"PYTHONPATH": str(HERE / "peers")}
_UVLOOP = "uvloop>=0.22,<1"
_GRANIAN = ("granian[uvloop]>=2.8,<3", "orjson>=3.11,<4")
SETUPS = (
    Setup(PLUGINCORE, "asyncio", (), plugincore_command()),
    Setup(PLUGINCORE, "uvloop", (_UVLOOP,), plugincore_command(more="[server]\nevent_loop = uvloop\n")),
    Setup(PLUGINSERVER, "pserve", ("pluginserver==0.10.5",), _pluginserver),
    *(
        Setup(
            GRANIAN,
            f"RSGI, uvloop, {runtime}",
            _GRANIAN,
            _granian(mode, "uvloop"),
            _PEERS,
            _granian(mode, "uvloop", http="auto"),
        )
        for mode, runtime in (("st", "one runtime thread"), ("mt", "threaded runtime"))
    ),
    Setup(GRANIAN_WSGI, "WSGI, one runtime thread", _GRANIAN, _granian("st", "asyncio", "wsgi"), _PEERS),
    Setup(GRANIAN_WSGI, "WSGI, threaded runtime", _GRANIAN, _granian("mt", "asyncio", "wsgi"), _PEERS),
    Setup(
        UVICORN,
        "uvicorn, uvloop, httptools, starlette",
        ("uvicorn[standard]>=0.51,<1", "starlette>=1,<2", "orjson>=3.11,<4"),
        _uvicorn,
        _PEERS,
    ),
    Setup(BARE, "hyper alone, no Python", (), _bare),
)


def make_certificate() -> None:
    """Make the certificate that the servers use for TLS, unless it is there."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not CERTIFICATE.exists():
        subject = ["-subj", "/CN=localhost", "-days", "3650"]
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(PRIVATE_KEY)]
        _run(["openssl", "req", "-x509", *key, "-out", str(CERTIFICATE), *subject])


def install(python: str) -> None:
    """Build and install everything, each server into an environment of its own."""
    make_certificate()
    _run(["cargo", "build", "--locked", "--release", "--quiet", "--example", "bare"])
    for setup in SETUPS:
        if setup.server == BARE:
            continue
        if setup.requirements:
            _environment(setup, python)
            _run([_bin(setup.server, "python"), "-m", "pip", "install", "--quiet", *setup.requirements])
        else:
            install_project(setup, ROOT, python)


def install_project(setup: Setup, sources: Path, python: str) -> None:
    """Build plugincore from ``sources`` and install it into the environment of ``setup``."""
    _environment(setup, python)
    install = ["-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", str(sources)]
    # The wheel links Python differently from the rest: a separate target folder, as for `make test`.
    _run([_bin(setup.server, "python"), *install], {"CARGO_TARGET_DIR": str(ROOT / "target" / "wheel")})


def _environment(setup: Setup, python: str) -> None:
    venv = setup.folder / "venv"
    if not venv.exists():
        _run([python, "-m", "venv", str(venv)])


def _run(command: Sequence[str], environment: Mapping[str, str] = {}) -> None:
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")


def version(setup: Setup) -> str:
    """Return the installed version, for the page."""
    if setup.server == BARE:
        lock = (ROOT / "Cargo.lock").read_text()
        return lock.split('name = "hyper"\nversion = "')[1].split('"')[0]
    package = "granian" if setup.server == GRANIAN_WSGI else setup.server
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([_bin(setup.server, "python"), "-c", code], capture_output=True, text=True).stdout.strip()


class Running:
    """A server process and its children.

    Attributes:
        server: The name of its setup's server.
        port: The port on which it listens.
        started: Seconds from the start of the process to its first answer.

    """

    def __init__(self, setup: Setup, *, tls: bool = False, http2: bool = False) -> None:
        """Start it and wait for its first answer."""
        setup.folder.mkdir(parents=True, exist_ok=True)
        self.tls = tls
        self.server = setup.server
        self.port = _free_port()
        command = ((http2 and setup.http2) or setup.command)(setup.folder, self.port, tls)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            cwd=setup.folder,
            env={**os.environ, **setup.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await_answer(setup)
        self.started = time.perf_counter() - began

    def _await_answer(self, setup: Setup) -> None:
        deadline = time.perf_counter() + TIMEOUT
        while time.perf_counter() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.request("GET", "/small")
                return
            time.sleep(0.002)
        self.stop()
        sys.exit(f"{setup.name} does not serve: {' '.join(map(str, self.process.args))}")

    def request(self, method: str, path: str, headers: Mapping[str, str] = {}, body: str = "") -> tuple[int, bytes]:
        """Send one request on a new connection; return status and body."""
        connection = self.connect()
        try:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        if self.tls:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT, context=trusting)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def _processes(self) -> Iterator[int]:
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    waiting.extend(map(int, task.read_text().split()))

    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def memory(self) -> int:
        """Return its resident memory in bytes; memory that processes share counts once for each of them."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        return total

    def stop(self) -> None:
        """Stop the server."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Running:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
