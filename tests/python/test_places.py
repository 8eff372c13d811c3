"""Where relative paths of the ini file begin, and folders that are not there."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from support.plugins import INI, prepare
from support.server import Launch, Server, command

WHERE = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"plugins": self.config.paths.plugins, "documents": self.config.paths.get("documents")}}
"""

PLUGIN = WHERE.format(name="Where")


def outcome(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a server that does not start; return its exit code and output."""
    with Server([*command(), *arguments], folder, {}) as server:
        return server.wait(), server.log


Beside = Callable[..., Server]


@pytest.fixture
def beside(home: Path) -> Iterator[Beside]:
    """Return a function that starts the server in the folder ``elsewhere`` with the ini file of ``home``."""
    with ExitStack() as servers:

        def start(scheme: str = "http") -> Server:
            folder = home.parent / "elsewhere"
            folder.mkdir(exist_ok=True)
            server = servers.enter_context(Server([*command(), "-i", "../home/server.ini"], folder, {}, scheme))
            return server.ready()

        yield start


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder of an ini file and of everything that it names."""
    home = tmp_path / "home"
    prepare(home, {"where": PLUGIN}, INI)
    return home


@pytest.mark.parametrize("name", ["nothere", "./nothere", "server.ini", "plugins ; mine", "/nothere/at/all"])
def test_a_folder_of_plugins_that_the_ini_file_names_must_be_there(home: Path, name: str) -> None:
    """A service without plugins is no healthy service; the whole path is reported, and nothing starts."""
    (home / "server.ini").write_text(INI.replace("plugins = plugins", f"plugins = {name}"))
    code, told = outcome(home, "-i", "server.ini")
    whole = home / name if name != "./nothere" else home / "nothere"
    assert 2 == code, told
    assert re.search(rf"^server\.ini:6: \[paths\] plugins: {re.escape(str(whole))} is not a folder of plugins", told)
    assert ("; behind a value is part of it" in told) == (";" in name)


def test_a_folder_that_a_variable_names_must_be_there(home: Path) -> None:
    """A folder that is named is meant, wherever it is named."""
    with Server([*command(), "-i", "server.ini"], home, {"PLUGINCORE_PATHS_PLUGINS": "nothere"}) as server:
        assert 2 == server.wait()
    assert f"environment variable PLUGINCORE_PATHS_PLUGINS: [paths] plugins: {home}/nothere is not" in server.log


def test_a_reload_without_the_folder_changes_nothing(launch: Launch) -> None:
    """The plugins go on, and the reason is reported."""
    server = launch({"where": PLUGIN})
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("plugins = plugins", "plugins = nothere"))
    answer = server.get("/reload/all")
    assert (500, ["where"]) == (answer.status_code, answer.json()["loaded_plugins"])
    assert f"{server.folder}/nothere is not a folder of plugins" in answer.json()["reasons"][0]
    assert "plugins" == server.get("/where").json()["plugins"]


def test_paths_begin_at_the_ini_files_folder(beside: Beside, home: Path) -> None:
    """From wherever the server is started: plugins, certificate, documents, pidfile and access log."""
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(home / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(home / "cert.pem"))
    for folder in ("documents", "run", "log"):
        (home / folder).mkdir()
    (home / "documents" / "index.html").write_text("start")
    more = """\
pidfile = run/server.pid
documents = pages:./documents
[file_server]
common_log = log/access.log
[ssl]
enabled = bool:true
certfile = cert.pem
keyfile = ./key.pem
"""
    (home / "server.ini").write_text(INI + more)
    server = beside("https")
    for _ in range(2):
        with server.client(verify=False) as client:
            assert {"plugins": "../home/plugins", "documents": "pages:../home/./documents"} == client.get(
                "/where"
            ).json()
            assert "start" == client.get("/pages/").text
            assert 200 == client.get("/reload/all").status_code
        assert f"{server.process.pid}\n" == (home / "run" / "server.pid").read_text()
        mark = len(server.lines)
        server.send(signal.SIGUSR1)
        server.wait_for("Server started on ", mark)
    assert (home / "log" / "access.log").read_text().count('"GET /pages/') == 2
    assert 0 == server.stop()
    assert [] == list(server.folder.iterdir())
    assert "WARN" not in server.log, server.log


def test_what_the_ini_files_folder_lacks_is_looked_for_where_the_server_was_started(beside: Beside, home: Path) -> None:
    """As in pluginserver, for set-ups that rely on it."""
    (home / "server.ini").write_text(INI + "pidfile = server.pid\n")
    (home / "plugins").rename(home.parent / "plugins")
    (home.parent / "elsewhere").mkdir()
    (home.parent / "plugins").rename(home.parent / "elsewhere" / "plugins")
    server = beside()
    assert "plugins" == server.get("/where").json()["plugins"]
    server.wait_for(rf"Loading plugins from {server.folder}/plugins$")
    assert (server.folder / "server.pid").exists()
    assert "WARN" not in server.log, server.log


def test_two_folders_of_one_name_are_told_apart(beside: Beside, home: Path) -> None:
    """The one beside the ini file is used, and the other one named."""
    elsewhere = home.parent / "elsewhere"
    prepare(elsewhere, {"other": WHERE.format(name="Other")}, None)
    server = beside()
    assert {"loaded_plugins": ["where"]} == server.get("/plugins").json()
    told = f"{home}/plugins is used, not {elsewhere}/plugins"
    server.wait_for(rf"WARN - .*server\.ini:6: \[paths\] plugins: {re.escape(told)}")


def test_a_link_to_the_same_folder_is_the_same(beside: Beside, home: Path) -> None:
    """There is nothing to choose between."""
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "plugins").symlink_to(home / "plugins")
    server = beside()
    assert 200 == server.get("/where").status_code
    assert "is used, not" not in server.log


def test_a_plugin_that_goes_elsewhere_changes_no_path(beside: Beside, home: Path) -> None:
    """A reload decides as the start did."""
    source = PLUGIN.replace("from plugincore", "import os\nos.chdir('/')\nfrom plugincore")
    prepare(home, {"where": source}, INI)
    server = beside()
    for _ in range(2):
        assert "../home/plugins" == server.get("/where").json()["plugins"]
        assert 200 == server.get("/reload/all").status_code
