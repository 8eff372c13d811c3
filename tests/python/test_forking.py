"""Children that plugins fork: they end on request, and nothing of the server lives on in them."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from support.plugins import INI
from support.server import Launch, Server
from support.wait import TIMEOUT
from support.wire import receive_all

FORKER = """
    import asyncio
    import multiprocessing
    import os
    import signal
    import subprocess
    import sys
    import threading
    import time
    from concurrent.futures import ProcessPoolExecutor
    from plugincore.baseplugin import BasePlugin

    FORK = multiprocessing.get_context("fork")

    def square(number):
        return number * number

    def run_loop(queue):
        async def main():
            await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(0, "from a loop"))
            return task.result()
        queue.put(asyncio.run(main()))

    def state(queue):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
        defaults = [signal.getsignal(number) == signal.SIG_DFL for number in numbers]
        queue.put([[int(number) for number in mask], defaults])

    class Forker(BasePlugin):
        async def request_handler(self, **data):
            return getattr(self, data["subpath"])(**data)

        def terminate(self, **data):
            codes = []
            for _ in range(10):
                child = FORK.Process(target=time.sleep, args=(60,))
                child.start()
                child.terminate()  # perhaps before it has begun
                child.join(10)
                codes.append(child.exitcode)
            return 200, codes

        def pool(self, **data):
            with FORK.Pool(2) as pool:
                return 200, pool.map(square, range(4))

        def executor(self, **data):
            with ProcessPoolExecutor(2, mp_context=FORK) as pool:
                return 200, list(pool.map(square, range(4)))

        def asyncio(self, **data):
            return self.asked(run_loop)

        def state(self, **data):
            return self.asked(state)

        def asked(self, target):
            queue = FORK.SimpleQueue()
            child = FORK.Process(target=target, args=(queue,))
            child.start()
            answer = queue.get()
            child.join(10)
            return 200, [answer, child.exitcode]

        def signals(self, **data):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                child = FORK.Process(target=time.sleep, args=(60,))
                child.start()
                os.kill(child.pid, number)
                child.join(10)
                assert child.exitcode == -number, (child.exitcode, number)
            return 200, "all of them"

        def own_handler(self, **data):
            signal.signal(signal.SIGUSR2, lambda *_: os._exit(7))
            ready = FORK.Event()
            child = FORK.Process(target=lambda: (ready.set(), time.sleep(60)))
            child.start()
            ready.wait(10)
            os.kill(child.pid, signal.SIGUSR2)
            child.join(10)
            return 200, child.exitcode

        def programs(self, **data):
            report = "import signal; print(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))), "
            report += "signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)"
            command = [sys.executable, "-c", report]
            told = {subprocess.check_output(command, text=True, **options) for options in
                    ({}, {"close_fds": False}, {"preexec_fn": int}, {"start_new_session": True})}
            reader, writer = os.pipe()
            child = os.posix_spawn(command[0], command, os.environ,
                                   file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
            os.close(writer)
            with open(reader) as lines:
                told.add(lines.read())
            os.waitpid(child, 0)
            return 200, sorted(told)

        def logging(self, **data):
            stop = threading.Event()
            def chatter():
                while not stop.is_set():
                    self.log("parent", "x" * 200)
            threads = [threading.Thread(target=chatter) for _ in range(4)]
            for thread in threads:
                thread.start()
            codes = set()
            for number in range(50):
                child = os.fork()
                if child == 0:
                    self.log("child", number)
                    print("child printed", number)
                    os._exit(5)
                codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            stop.set()
            for thread in threads:
                thread.join()
            return 200, sorted(codes)

        def ends(self, **data):
            child = os.fork()
            if child == 0:
                what = data["what"]
                if what == "sys.exit":
                    sys.exit(9)
                if what == "sys.exit of nothing":
                    sys.exit()
                if what == "os._exit":
                    os._exit(9)
                if what == "raises":
                    raise LookupError("in the child")
                return 200, "from the child"
            return 200, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

"""

SLEEPER = """
    import multiprocessing
    import os
    import time
    from plugincore.baseplugin import BasePlugin

    class Sleeper(BasePlugin):
        async def request_handler(self, **data):
            if data["subpath"] == "fork":
                child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=False)
                child.start()
                self.child = child.pid
            return 200, self.child
"""


@pytest.fixture
def server(launch: Launch) -> Server:
    """Start a server whose plugin forks."""
    return launch({"forker": FORKER}, args=["-v", "INFO"])


def test_a_child_ends_by_terminate(server: Server) -> None:
    """Also one that has hardly begun; the exit code is the signal's."""
    assert [-signal.SIGTERM] * 10 == server.get("/forker/terminate").json()
    assert 0 == server.stop()


@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_pools_of_forked_workers_work_and_end(server: Server, kind: str) -> None:
    """Results come back, and leaving the pool ends its workers."""
    assert [0, 1, 4, 9] == server.get(f"/forker/{kind}").json()
    assert 0 == server.stop()


def test_signals_have_their_default_effects_in_a_child(server: Server) -> None:
    """Those that the server takes for itself end a child; none is blocked in it."""
    assert "all of them" == server.get("/forker/signals").text
    assert [[[], [True] * 4], 0] == server.get("/forker/state").json()
    assert server.get("/-/healthy").status_code == 200
    assert 0 == server.stop()


def test_a_handler_that_a_plugin_has_set_is_inherited(server: Server) -> None:
    """As in any program."""
    assert 7 == int(server.get("/forker/own_handler").text)


def test_programs_start_with_default_signals(server: Server) -> None:
    """However they are started, nothing is blocked or ignored in them."""
    assert ["[] True\n"] == server.get("/forker/programs").json()


def test_a_child_may_run_a_loop_of_its_own(server: Server) -> None:
    """`asyncio.run` works there as in a fresh program."""
    assert ["from a loop", 0] == server.get("/forker/asyncio").json()


def test_a_child_that_logs_or_prints_never_hangs(server: Server) -> None:
    """Not even when threads of the parent were logging at the moment of the fork."""
    assert [5] == server.get("/forker/logging").json()
    for number in range(50):
        server.wait_for(f"^<6> - INFO - forker - child {number}$")
        server.wait_for(f"^child printed {number}$")
    assert 0 == server.stop()


@pytest.mark.parametrize(
    ("what", "code"), [("sys.exit", 9), ("sys.exit of nothing", 0), ("os._exit", 9), ("raises", 1), ("returns", 0)]
)
def test_a_child_ends_where_the_plugin_returns_to_the_server(server: Server, what: str, code: int) -> None:
    """It answers no client, takes no request from its parent, and ends with the code that it was left with."""
    assert code == int(server.get("/forker/ends", params={"what": what}).text)
    assert [200] * 20 == [server.get("/-/healthy").status_code for _ in range(20)]
    assert code == int(server.get("/forker/ends", params={"what": what}).text)
    assert not any("terminat" in line for line in server.lines)
    assert 0 == server.stop()


@pytest.mark.parametrize("end", ["returns", "raises SystemExit(9)", "awaits"])
def test_a_child_of_a_background_task_ends_there(launch: Launch, end: str) -> None:
    """The server's loop does not go on in it, or it would take the server's events."""
    action = {"returns": "return", "raises SystemExit(9)": "raise SystemExit(9)", "awaits": "await asyncio.sleep(0)"}
    plugin = f"""
        import asyncio
        import os
        from plugincore.baseplugin import BasePlugin

        class Later(BasePlugin):
            async def request_handler(self, **data):
                self.task = asyncio.create_task(self.fork())
                return 200, await asyncio.to_thread(self.wait)

            async def fork(self):
                self.child = os.fork()
                if self.child == 0:
                    {action[end]}

            def wait(self):
                while not hasattr(self, "child"):
                    pass
                return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
    """
    server = launch({"later": plugin})
    assert {"raises SystemExit(9)": 9}.get(end, 0) == int(server.get("/later").text)
    assert 200 == server.get("/plugins").status_code
    assert 0 == server.stop()


@pytest.mark.parametrize("place", ["import", "__init__"])
def test_a_child_of_a_load_ends_there(launch: Launch, place: str) -> None:
    """It loads no further plugin and serves nothing."""
    fork = "CHILD = os.fork()\nif CHILD == 0:\n    sys.exit(6)\n"
    fork += "CODE = os.waitstatus_to_exitcode(os.waitpid(CHILD, 0)[1])\n"
    head = "import os, sys\nfrom plugincore.baseplugin import BasePlugin\n"
    handler = "    def request_handler(self, **data):\n        return 200, CODE\n"
    if place == "import":
        source = head + fork + "class One(BasePlugin):\n" + handler
    else:
        body = "".join(f"        {line}\n" for line in ("global CODE", *fork.splitlines()))
        source = (
            head + "class One(BasePlugin):\n    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
        )
        source += body + handler
    server = launch({"one": source, "two": "print('two is loaded', flush=True)\n"})
    assert 6 == int(server.get("/one").text)
    assert 0 == server.stop()
    assert 1 == server.lines.count("two is loaded")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_port_is_free_when_the_server_has_ended(launch: Launch, end: signal.Signals) -> None:
    """Children that live on do not keep it, however the server ended."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ini = INI.replace("port = 0", f"port = {other.getsockname()[1]}") + "[server]\nshutdown_timeout = 1\n"
    server = launch({"sleeper": SLEEPER}, ini=ini)
    child = int(server.get("/sleeper/fork").text)
    try:
        server.send(end)
        server.process.wait(TIMEOUT)
        os.kill(child, 0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT).close()
        assert 0 == launch({"sleeper": SLEEPER}, ini=ini).stop()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("request_", [b"GET /sleeper HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"BAD\r\n\r\n"])
def test_a_connection_ends_for_its_client_though_a_child_has_it(launch: Launch, request_: bytes) -> None:
    """One that is closed after an answer or refusal, and an idle one when the server stops."""
    server = launch({"sleeper": SLEEPER}, ini_more="[server]\nshutdown_timeout = 1\n")
    with server.connect() as closing, server.connect() as idle:
        # Answered on connections that were accepted after both.
        child = int(server.get("/sleeper/fork").text)
        try:
            closing.sendall(request_)
            assert receive_all(closing).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
            server.send(signal.SIGTERM)
            assert b"" == receive_all(idle)
            server.process.wait(TIMEOUT)
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_started_afresh_work(launch: Launch, method: str) -> None:
    """They import the plugin's module by its name, and end with their pool."""
    plugin = """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from plugincore.baseplugin import BasePlugin

        def cube(number):
            return number**3

        class Cubes(BasePlugin):
            def request_handler(self, **data):
                context = multiprocessing.get_context(data["subpath"])
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    return 200, list(pool.map(cube, range(4)))
    """
    server = launch({"cubes": plugin})
    assert [0, 1, 8, 27] == server.get(f"/cubes/{method}").json()
    assert 0 == server.stop()
