"""The standalone executable: the same server, with CPython inside.

The environment variable PLUGINCORE_BINARY names the file to test; `make test` sets it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from opentelemetry import trace

import plugincore
from environments import create, site_packages
from support.plugins import prepare
from support.server import Launch
from support.wait import TIMEOUT

HELLO = """
    from plugincore.baseplugin import BasePlugin

    class Hello(BasePlugin):
        async def request_handler(self, **data):
            return 200, {"hello": data.get("name", "world")}
"""
LOOK = """
    import subprocess
    import sys
    from plugincore.baseplugin import BasePlugin

    class Look(BasePlugin):
        def request_handler(self, **data):
            child = subprocess.check_output([sys.executable, "-c", "import sys; print(sys.prefix)"], text=True)
            return 200, {
                "prefix": sys.prefix,
                "executable": sys.executable,
                "child": child.strip(),
                "version": sys.version.split()[0],
                "module": __name__,
            }
"""
#: No environment is active, and nothing of the test run's own leaks in.
BARE = {"VIRTUAL_ENV": "", "PYTHONPATH": "", "PYTHONHOME": ""}


@pytest.fixture(scope="session")
def binary() -> str:
    """Return the path of the executable."""
    path = os.environ.get("PLUGINCORE_BINARY", "")
    if not path:
        pytest.fail("set PLUGINCORE_BINARY to the executable that `cargo build --release --bin plugincore` makes")
    assert os.access(path, os.X_OK), f"PLUGINCORE_BINARY={path} is not an executable file"
    return str(Path(path).absolute())


def environment(folder: Path, *packages: Path) -> tuple[Path, dict[str, str]]:
    """Make a virtual environment and return it with the variables that activate it."""
    return create(folder, *packages), {**BARE, "VIRTUAL_ENV": str(folder)}


def run(binary: str, *arguments: str, cwd: Path, env: dict[str, str] = BARE) -> subprocess.CompletedProcess[str]:
    """Run the executable to its end."""
    everything = {**os.environ, **env}
    command = [binary, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=everything, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_stops_without_any_environment(launch: Launch, binary: str, number: signal.Signals) -> None:
    """Neither an active environment nor an installed plugincore is needed."""
    server = launch({"hello": HELLO}, program=[binary], env=BARE)
    assert {"hello": "you"} == server.get("/hello?name=you").json()
    assert {"loaded_plugins": ["hello"]} == server.get("/plugins").json()
    assert 0 == server.stop(number)
    assert "Traceback" not in server.log


def test_it_uses_the_packages_of_the_active_environment(launch: Launch, binary: str, tmp_path: Path) -> None:
    """`VIRTUAL_ENV` decides what plugins can import, and child processes get the environment's interpreter."""
    folder, active = environment(tmp_path / "venv")
    (site_packages(folder) / "greetings.py").write_text("WORD = 'welcome'\n")
    greet = HELLO.replace("    class", "    import greetings\n\n    class").replace('"world"', "greetings.WORD")
    server = launch({"hello": greet, "look": LOOK}, program=[binary], env=active)
    assert {"hello": "welcome"} == server.get("/hello").json()
    seen = server.get("/look").json()
    expected = {
        "prefix": str(folder),
        "executable": str(folder / "bin" / "python"),
        "child": str(folder),
        "version": sys.version.split()[0],
        "module": "look",
    }
    assert expected == seen

    other = launch({"hello": greet}, program=[binary], env=BARE)
    assert "hello.py:4: ModuleNotFoundError: No module named 'greetings'" in other.log


TRACED = """
    from opentelemetry import propagate
    from plugincore.baseplugin import BasePlugin

    class Traced(BasePlugin):
        async def request_handler(self, request, **data):
            carrier = {}
            propagate.inject(carrier)
            return 200, [carrier["traceparent"], request.traceparent]
"""


def test_the_environments_opentelemetry_finds_the_trace(launch: Launch, binary: str, tmp_path: Path) -> None:
    """What it needs of the executable is loaded only then: elsewhere, the package is missing."""
    folder, active = environment(tmp_path / "venv")
    (site_packages(folder) / "more.pth").write_text(f"{Path(trace.__file__).parents[2]}\n")
    server = launch({"traced": TRACED}, program=[binary], env=active)
    found, own = server.get("/traced").json()
    assert own == found


def test_it_never_mixes_with_an_installed_package(launch: Launch, binary: str, tmp_path: Path) -> None:
    """The Python half comes from the executable, whatever version of plugincore the environment holds."""
    folder, active = environment(tmp_path / "venv")
    (site_packages(folder) / "plugincore").mkdir()
    (site_packages(folder) / "plugincore" / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    everything = """
        import plugincore, plugincore._core
        from plugincore import FileField, MultiDict, Request, RequestHeaders, baseplugin
        from plugincore.baseplugin import BasePlugin
        from plugincore.configfile import Config
        from plugincore.logjam import LogJam
        from plugincore.pluginmanager import PluginManager
        from plugincore.sysinfo import cpu_count

        class All(BasePlugin):
            def request_handler(self, **data):
                classes = [BasePlugin, Config, LogJam, PluginManager, Request]
                assert plugincore.baseplugin is baseplugin and baseplugin.BasePlugin is BasePlugin
                return 200, {"version": plugincore.__version__, "modules": [one.__module__ for one in classes]}
    """
    server = launch({"all": everything}, program=[binary], env=active)
    modules = ["baseplugin", "configfile", "logjam", "pluginmanager"]
    expected = {
        "version": plugincore.__version__,
        "modules": [f"plugincore.{module}" for module in modules] + ["plugincore"],
    }
    assert expected == server.get("/all").json()


@pytest.mark.parametrize("key", ["version", "version_info"])
def test_an_environment_of_another_python_is_refused(binary: str, tmp_path: Path, key: str) -> None:
    """Its packages would not be found, which is an error at the start."""
    prepare(tmp_path, {"hello": HELLO}, None)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\n{key} = 3.9.18\n")
    ended = run(binary, cwd=tmp_path, env={**BARE, "VIRTUAL_ENV": str(tmp_path / "venv")})
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (1, "") == (ended.returncode, ended.stdout)
    assert f"is an environment of Python 3.9, but this executable embeds Python {own}" in ended.stderr
    assert f"activate an environment of {own}" in ended.stderr
    assert 1 == len(ended.stderr.splitlines())


def test_an_environment_that_is_gone_is_told(binary: str, tmp_path: Path) -> None:
    """A `VIRTUAL_ENV` that leads nowhere is an error with its remedy."""
    ended = run(binary, cwd=tmp_path, env={**BARE, "VIRTUAL_ENV": str(tmp_path / "gone")})
    assert 1 == ended.returncode
    assert f"{tmp_path}/gone/pyvenv.cfg" in ended.stderr
    assert "unset it or activate an environment" in ended.stderr


def test_it_is_found_by_its_name_from_anywhere(launch: Launch, binary: str, tmp_path: Path) -> None:
    """A link on PATH works from another directory, the name of the link is the name in the log, and so does -i."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pserve").symlink_to(binary)
    active = {**BARE, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    server = launch({"hello": HELLO}, program=["pserve"], env=active)
    assert 200 == server.get("/hello").status_code
    assert " - pserve - Server started on " in server.wait_for("Server started")
    assert 0 == server.stop()


def test_sigusr1_restarts_it_in_place(launch: Launch, binary: str) -> None:
    """Same process, same sockets, new files."""
    server = launch({"hello": HELLO}, program=[binary], env=BARE)
    (server.plugins / "hello.py").write_text((server.plugins / "hello.py").read_text().replace("world", "again"))
    before, pid = len(server.lines), server.process.pid
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on ", since=before)
    server.ready()
    assert {"hello": "again"} == server.get("/hello").json()
    assert (pid, None) == (server.process.pid, server.process.poll())
    assert 0 == server.stop()


def test_a_plugin_is_reloaded(launch: Launch, binary: str) -> None:
    """The control addresses are the wheel's."""
    server = launch({"hello": HELLO}, program=[binary], env=BARE)
    (server.plugins / "hello.py").write_text((server.plugins / "hello.py").read_text().replace("world", "again"))
    assert {"reloaded": "hello", "success": True} == server.get("/reload/hello").json()
    assert {"hello": "again"} == server.get("/hello").json()


def test_psutil_is_stood_in_for_only_where_it_is_missing(launch: Launch, binary: str, tmp_path: Path) -> None:
    """`import psutil` works in any environment, and gives the real one where it is installed."""
    tell = """
        import psutil
        from plugincore.baseplugin import BasePlugin

        class Tell(BasePlugin):
            def request_handler(self, **data):
                return 200, {"name": psutil.__name__, "count": psutil.cpu_count()}
    """
    without = environment(tmp_path / "without")[1]
    having = environment(tmp_path / "having", Path(psutil.__file__).parent)[1]
    names = []
    for active in (without, having):
        answer = launch({"tell": tell}, program=[binary], env=active).get("/tell").json()
        assert psutil.cpu_count() == answer["count"]
        names.append(answer["name"])
    assert ["plugincore.sysinfo", "psutil"] == names


def test_its_command_line_is_that_of_the_wheel(binary: str, tmp_path: Path) -> None:
    """Version, help and exit codes are the same."""
    version = run(binary, "--version", cwd=tmp_path)
    assert (0, f"plugincore {plugincore.__version__}\n", "") == (version.returncode, version.stdout, version.stderr)
    assert "--ini-file <INI>" in run(binary, "--help", cwd=tmp_path).stdout
    assert 2 == run(binary, "--no-such-option", cwd=tmp_path).returncode
    missing = run(binary, "-i", "missing.ini", cwd=tmp_path)
    assert (2, True) == (missing.returncode, "missing.ini: there is no such ini file" in missing.stderr)


CALCULATOR = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from plugincore.baseplugin import BasePlugin

    def cube(number):
        return number**3

    def nested(method):
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            return pool.map(cube, [2])

    class Calculator(BasePlugin):
        def request_handler(self, **data):
            context = multiprocessing.get_context(data["subpath"])
            queue = context.Queue()
            child = context.Process(target=queue.put, args=("hello",))
            child.start()
            word = queue.get(timeout=20)
            child.join()
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                cubes = list(pool.map(cube, range(4)))
                deep = pool.submit(nested, data["subpath"]).result()
            return 200, [word, child.exitcode, cubes, deep]
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_find_the_package(
    launch: Launch, binary: str, tmp_path: Path, method: str
) -> None:
    """They are started from the executable, since the environment has no plugincore; also those of their own."""
    _, env = environment(tmp_path / "venv")
    server = launch({"calculator": CALCULATOR}, program=[binary], env=env)
    assert ["hello", 0, [0, 1, 8, 27], [8]] == server.get(f"/calculator/{method}").json()
    assert 0 == server.stop()


def test_a_command_that_only_looks_like_python_is_refused(binary: str, tmp_path: Path) -> None:
    """It is no `python` for anything but `multiprocessing`."""
    for code in ("print(1)", "import multiprocessing"):
        ended = run(binary, "-c", code, cwd=tmp_path)
        assert (2, "") == (ended.returncode, ended.stdout)
