"""Starting and starting again: odd descriptors, folders that move, and what Python does at its end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from support.plugins import INI, prepare
from support.server import Launch, command
from support.wait import wait_until

WHERE = """
    import os
    from plugincore.baseplugin import BasePlugin

    class Where(BasePlugin):
        async def request_handler(self, **data):
            if "chdir" in data:
                os.chdir(data["chdir"])
            self.log("asked", data.get("what"))
            numbers = {}
            for number in range(3):
                numbers[number] = os.readlink(f"/proc/self/fd/{number}")
            return 200, {"pid": os.getpid(), "version": "VERSION", "numbers": numbers,
                         "variable": os.environ.get("PLUGINCORE_LISTENERS"), "folder": os.getcwd()}
"""


def shell(script: str, program: list[str] | None = None) -> list[str]:
    """Return the command that runs the server from a shell script, as ``$@``."""
    return ["sh", "-c", script, "sh", *(program or command())]


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(launch: Launch, tmp_path: Path, closed: str) -> None:
    """No file and no socket takes their place, and plugins can print."""
    log = tmp_path / "server.log"
    noisy = WHERE.replace("numbers = {}", "numbers = {}; print('x'); import sys; print('y', file=sys.stderr)")
    server = launch({"where": noisy}, program=shell(f'exec "$@" {closed}'), args=["-l", str(log)], ready=False)
    wait_for_line(server.process.pid, log, "Server started on ")
    server.base_url = "http://" + log.read_text().partition("Server started on ")[2].split()[0]
    for _ in range(2):
        numbers = server.get("/where").json()["numbers"]
        assert all(
            numbers[number] == "/dev/null" for number in "012" if f"{number}<&" in closed or f"{number}>&" in closed
        )
    assert 0 == server.stop()
    assert "asked None" in log.read_text()


def wait_for_line(pid: int, file: Path, text: str, count: int = 1) -> None:
    """Wait until a file holds a text that many times."""

    def written() -> str:
        return file.read_text() if file.exists() else "there is no file"

    wait_until(lambda: written().count(text) >= count, lambda: f"process {pid} has written: {written()}")


@pytest.mark.parametrize("program", ["plugincore", "-m"])
def test_a_restart_does_first_what_python_does_at_its_end(launch: Launch, program: str) -> None:
    """Functions of `atexit` run, pools and threads are joined; then the new program starts."""
    plugin = """
        import atexit, concurrent.futures, threading, time
        from plugincore.baseplugin import BasePlugin

        atexit.register(print, "atexit of the plugin")
        POOL = concurrent.futures.ThreadPoolExecutor(1)

        def work(what):
            time.sleep(0.2)
            print(what)

        class Late(BasePlugin):
            def terminate_plugin(self):
                POOL.submit(work, "the pool's work is done")
                threading.Thread(target=work, args=("the thread's work is done",)).start()
    """
    started = command() if program == "plugincore" else [sys.executable, "-m", "plugincore"]
    server = launch({"late": plugin}, program=started)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        since = len(server.lines)
        server.send(number)
        if number == signal.SIGUSR1:
            server.wait_for("Server started on ", since)
        else:
            assert 0 == server.wait()
        seen = server.lines[since:]
        ends = ["the pool's work is done", "the thread's work is done", "atexit of the plugin"]
        assert all(seen.count(line) == 1 for line in ends), seen
        assert seen.index(ends[2]) > max(seen.index(ends[0]), seen.index(ends[1]))


@pytest.mark.parametrize(
    "blocker", ["atexit.register(time.sleep, 60)", "threading.Thread(target=time.sleep, args=(60,)).start()"]
)
def test_what_does_not_end_is_left_behind_by_a_restart(launch: Launch, blocker: str) -> None:
    """The time limit of a stop holds for a restart, too."""
    plugin = f"""
        import atexit, threading, time
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin

        if not Path("second").exists():
            {blocker}
        Path("second").touch()

        class Late(BasePlugin):
            pass
    """
    server = launch({"late": plugin}, ini_more="[server]\nshutdown_timeout = 0.5\n")
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on ", since)
    assert 0 == server.stop()


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Two versions of an application in folders of their own; the link ``current`` leads to the first."""
    for version in ("one", "two"):
        ini = "[network]\nbindto = 127.0.0.1\nport = 0\n[paths]\nplugins = plugins\n"
        prepare(tmp_path / version, {"where": WHERE.replace("VERSION", version)}, ini)
    (tmp_path / "current").symlink_to("one")
    return tmp_path


def switch(releases: Path) -> None:
    """Let ``current`` lead to the second version, in one step, as deployments do."""
    (releases / "next").symlink_to("two")
    (releases / "next").rename(releases / "current")


@pytest.mark.parametrize("by", ["reload", "SIGHUP", "SIGUSR1"])
def test_a_server_that_was_started_in_a_link_follows_it(launch: Launch, releases: Path, by: str) -> None:
    """Plugins, ini file and log file are those of where the link leads by then."""
    current = releases / "current"
    server = launch(
        {},
        folder=current,
        ini=None,
        env={"PWD": str(current)},
        args=["-i", "server.ini", "-l", "server.log"],
        ready=False,
    ).ready()
    assert "one" == server.get("/where").json()["version"]
    switch(releases)
    since = len(server.lines)
    if by == "reload":
        assert 200 == server.get("/reload/all").status_code
    else:
        server.send(getattr(signal, by))
        server.wait_for("Reloaded all" if by == "SIGHUP" else "Server started on ", since)
        if by == "SIGUSR1":
            server.base_url = "http://" + server.wait_for("Server started on ", since).rpartition(" ")[2]
    assert "two" == server.get("/where").json()["version"]
    assert 0 == server.stop()
    if by != "reload":
        assert "asked" in (releases / "two" / "server.log").read_text()


@pytest.mark.parametrize("by", ["SIGUSR1", "SIGUSR2"])
def test_a_program_in_a_link_is_that_of_where_the_link_leads_by_then(launch: Launch, tmp_path: Path, by: str) -> None:
    """So a deployment may bring another version of the server, or another Python."""
    for version in ("one", "two"):
        script = tmp_path / version / "bin" / "plugincore"
        script.parent.mkdir(parents=True)
        start = f"import os\nos.environ['RELEASE'] = {version!r}\nfrom plugincore.__main__ import main\nexit(main())\n"
        script.write_text(f"#!{sys.executable}\n{start}")
        script.chmod(0o755)
    (tmp_path / "current").symlink_to("one")
    plugin = """
        import os
        from plugincore.baseplugin import BasePlugin

        class Who(BasePlugin):
            def request_handler(self, **data):
                return 200, os.environ["RELEASE"]
    """
    server = launch(
        {"who": plugin}, ini=INI + "pidfile = server.pid\n", program=[str(tmp_path / "current" / "bin" / "plugincore")]
    )
    assert "one" == server.get("/who").text
    switch(tmp_path)
    since = len(server.lines)
    server.send(getattr(signal, by))
    server.wait_for("Server started on " if by == "SIGUSR1" else r"upgrade: process \d+ serves", since)
    assert "two" == server.get("/who").text
    os.kill(int((server.folder / "server.pid").read_text()), signal.SIGTERM)
    assert 0 == server.wait()


@pytest.mark.parametrize("name", ["/", "/no/such/folder", "relative", ""])
def test_a_wrong_name_of_the_folder_is_not_believed(launch: Launch, name: str) -> None:
    """`PWD` counts only if it names the very folder."""
    server = launch({"where": WHERE}, env={"PWD": name})
    assert str(server.folder.resolve()) == server.get("/where").json()["folder"]
    assert 200 == server.get("/reload/all").status_code


@pytest.mark.parametrize("gone", ["the folder", "the program"])
def test_a_restart_that_cannot_be_is_refused(launch: Launch, tmp_path: Path, gone: str) -> None:
    """The server logs the reason, and goes on."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    starter = (
        "import sys; from plugincore import _core; sys.exit(_core.main(['plugincore', *sys.argv[2:]], sys.argv[1:]))"
    )
    command_ = [sys.executable, "-c", starter, str(program)]
    server = launch({"where": WHERE}, program=command_)
    if gone == "the folder":
        server.folder.rename(tmp_path / "elsewhere")
    else:
        program.unlink()
    server.send(signal.SIGUSR1)
    told = server.wait_for("SIGUSR1 has no effect")
    assert (str(server.folder) if gone == "the folder" else str(program)) in told
    assert "No such file or directory" in told
    assert 200 == server.get("/where").status_code
    assert 200 == server.get("/-/ready").status_code
    assert 0 == server.stop()


def test_relative_paths_begin_where_the_server_was_started(launch: Launch, tmp_path: Path) -> None:
    """One log file, wherever a plugin went: for the server, plugins that are loaded later, and their own logs."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own = WHERE.replace(
        "class Where(BasePlugin):",
        "from plugincore.logjam import LogJam\n\n    class Where(BasePlugin):\n"
        "        def initialize(self, **kwargs):\n            LogJam(name='own', file='own.log')('own line')\n"
        "            self.log.common_log('192.0.2.7', '/', 0, 'GET', 'HTTP/1.1', 200, 'access.log')\n",
    )
    server = launch({"where": own}, args=["-l", "server.log"])
    server.get("/where", params={"chdir": str(elsewhere), "what": "first"})
    assert 200 == server.get("/reload/where").status_code
    server.get("/where", params={"what": "after a reload"})
    since = len(server.lines)
    with (server.plugins / "where.py").open("a") as file:
        file.write("# edited\n")
    server.send(signal.SIGHUP)
    server.wait_for("Reloaded all", since)
    server.get("/where", params={"chdir": str(elsewhere), "what": "after SIGHUP"})
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.base_url = "http://" + server.wait_for("Server started on ", since).rpartition(" ")[2]
    server.get("/where", params={"what": "after a restart"})
    assert 0 == server.stop()
    assert [] == list(elsewhere.iterdir())
    log = (server.folder / "server.log").read_text()
    assert all(f"asked {what}" in log for what in ("first", "after a reload", "after SIGHUP", "after a restart"))
    assert 4 == (server.folder / "own.log").read_text().count("own line")
    assert 4 == (server.folder / "access.log").read_text().count("192.0.2.7")


@pytest.mark.parametrize("numbers", ["0,1,2", "7", "8", "9,9", "-1,99999,x,"])
def test_foreign_descriptors_are_never_taken_for_listening_sockets(launch: Launch, numbers: str) -> None:
    """A variable that names what is no listening socket has no effect."""
    script = f'exec 7</dev/null; PLUGINCORE_LISTENERS=$$:{numbers} exec "$@"'
    server = launch({"where": WHERE}, program=shell(script))
    answer = server.get("/where").json()
    assert answer["variable"] is None
    assert "pipe:" in answer["numbers"]["1"]
    assert 0 == server.stop()


def test_the_sockets_variable_is_seen_by_nobody_else(launch: Launch) -> None:
    """After a restart neither plugins nor the programs that they become find it."""
    server = launch(
        {
            "where": WHERE
            + """
    class Become(BasePlugin):
        async def request_handler(self, **data):
            script = "import os; print('variable', os.environ.get('PLUGINCORE_LISTENERS'), flush=True)"
            os.execv(os.environ["PYTHON"], ["python", "-c", script])
"""
        },
        env={"PYTHON": sys.executable},
    )
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.base_url = "http://" + server.wait_for("Server started on ", since).rpartition(" ")[2]
    assert server.get("/where").json()["variable"] is None
    with pytest.raises(Exception, match=r"(?i)disconnected|reset|closed"):
        server.get("/become")
    server.wait_for("^variable None$")
    assert 0 == server.wait()
