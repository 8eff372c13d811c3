"""The server's key: changed in the ini file, and with white space around it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from support.server import Launch, Server

ECHO = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"id": self._plugin_id}}
"""

CHECKS = (
    ECHO
    + """
    def _check_auth(self, data):
        return super()._check_auth(data)
"""
)

CHANGES = (
    ECHO
    + """
    async def initialize(self, **kwargs):
        self._apikey = "its own choice"
"""
)

PLUGINS = {
    "common": ECHO.format(name="Common"),
    "broken": ECHO.format(name="Broken"),
    "checks": CHECKS.format(name="Checks"),
    "changes": CHANGES.format(name="Changes"),
    "own": ECHO.format(name="Own"),
}

INI_MORE = """
[auth]
apikey = old-key

[plugin_parms]
common = auth_type=global
broken = auth_type=global
checks = auth_type=global
changes = auth_type=global
own = auth_type=plugin&apikey=own-key
"""


def by_signal(server: Server) -> None:
    """Reload all by SIGHUP, and wait until it is done."""
    mark = len(server.lines)
    server.send(signal.SIGHUP)
    server.wait_for(r"Nothing was reloaded|Reloaded all", mark)


def by_address(path: str) -> Callable[[Server], None]:
    """Reload with the key that counts until then."""

    def reload(server: Server) -> None:
        server.get(path, headers={"X-Custom-Auth": "old-key"})

    return reload


WAYS = {"SIGHUP": by_signal, "/reload/all": by_address("/reload/all")}


def opens(server: Server, path: str, key: str) -> bool:
    """Whether a key opens a path; anything but yes and no is a failure."""
    status = server.get(path, headers={"X-Custom-Auth": key}).status_code
    assert status in (200, 403), (path, key, status)
    return status == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_new_key_counts_everywhere_at_once(launch: Launch, way: str) -> None:
    """For the server's own addresses and plugins with `auth_type=global`; the old one never again."""
    server = launch(PLUGINS, ini_more=INI_MORE)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("old-key", "new-key"))
    WAYS[way](server)
    for path in ("/plugins", "/common", "/broken", "/checks"):
        assert (True, False) == (opens(server, path, "new-key"), opens(server, path, "old-key")), path
    for path, key in (("/own", "own-key"), ("/changes", "its own choice")):
        assert (True, False) == (opens(server, path, key), opens(server, path, "new-key")), path


@pytest.mark.parametrize("way", [*WAYS, "/reload/own", "/reload/common", "/reload/broken"])
def test_a_new_key_counts_nowhere_until_all_plugins_take_it(launch: Launch, way: str) -> None:
    """With a plugin that cannot be loaded, or when one plugin is reloaded alone, the old key counts everywhere."""
    server = launch(PLUGINS, ini_more=INI_MORE)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("old-key", "new-key"))
    (server.plugins / "broken.py").write_text("def broken(:")
    WAYS.get(way, by_address(way))(server)
    for path in ("/plugins", "/common", "/broken", "/checks"):
        assert (False, True) == (opens(server, path, "new-key"), opens(server, path, "old-key")), path
    for path, key in (("/own", "own-key"), ("/changes", "its own choice")):
        assert (True, False) == (opens(server, path, key), opens(server, path, "new-key")), path
    (server.plugins / "broken.py").write_text(PLUGINS["broken"])
    by_address("/reload/all")(server)
    for path in ("/plugins", "/common", "/broken", "/checks"):
        assert (True, False) == (opens(server, path, "new-key"), opens(server, path, "old-key")), path


def test_a_key_that_plugins_ask_for_cannot_be_removed(launch: Launch) -> None:
    """The reload is refused with the plugins that ask for it, and the old key counts."""
    server = launch(PLUGINS, ini_more=INI_MORE)
    ini = server.folder / "server.ini"
    text = ini.read_text()
    ini.write_text(text.replace("apikey = old-key", ""))
    answer = server.get("/reload/all", headers={"X-Custom-Auth": "old-key"})
    assert 500 == answer.status_code
    for name in ("common", "broken", "checks", "changes"):
        assert any(f"[plugin_parms] {name}: " in reason for reason in answer.json()["reasons"]), answer.text
    for path in ("/plugins", "/common", "/broken", "/checks"):
        assert (True, False) == (opens(server, path, "old-key"), opens(server, path, "")), path


def test_a_mistake_in_the_ini_file_changes_no_key(launch: Launch) -> None:
    """All of the new file counts or nothing."""
    server = launch(PLUGINS, ini_more=INI_MORE)
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("old-key", "new-key") + "[server]\nio_threads = none\n")
    answer = server.get("/reload/all", headers={"X-Custom-Auth": "old-key"})
    assert 500 == answer.status_code
    for path in ("/plugins", "/common", "/broken", "/checks"):
        assert (False, True) == (opens(server, path, "new-key"), opens(server, path, "old-key")), path


@pytest.mark.parametrize(
    ("key", "env"),
    [
        ("apikey = ${ENV:KEY}", {"KEY": " secret \r\n"}),
        ("apikey = ${ENV:KEY}", {"KEY": "\tsecret"}),
        ("apikey = other", {"PLUGINCORE_AUTH_APIKEY": " secret "}),
        ("apikey =   secret   ", {}),
    ],
)
@pytest.mark.parametrize("section", ["auth", "AUTH"])
def test_white_space_around_the_key_belongs_to_it_for_nobody(
    launch: Launch, section: str, key: str, env: dict[str, str]
) -> None:
    """The server and plugins go by the same key, wherever its section is written in capitals, too."""
    more = INI_MORE.replace("[auth]", f"[{section}]").replace("apikey = old-key", key)
    server = launch(PLUGINS, ini_more=more.replace("own-key", "+own-key%20"), env=env)
    for path in ("/plugins", "/common", "/checks"):
        assert opens(server, path, "secret"), path
        assert 200 == server.get(f"{path}?apikey=secret").status_code, path
    assert opens(server, "/own", "own-key")


def test_a_key_of_white_space_is_none(launch: Launch) -> None:
    """A plugin that asks for it is not loaded, and not open."""
    more = "[plugin_parms]\nown = auth_type=plugin&apikey=+%20\n"
    server = launch({"own": PLUGINS["own"]}, ini_more=more)
    server.wait_for("Auth is plugin but no plugin apikey")
    assert 404 == server.get("/own").status_code


@pytest.mark.parametrize(
    ("key", "status"),
    [("", 403), ("apikey: old-key", 403), ("X-Custom-Auth: old-key", 403), ("X-Custom-Auth: new", 200)],
)
def test_a_body_that_comes_after_a_reload_is_judged_by_the_version_that_answers(
    launch: Launch, key: str, status: int
) -> None:
    """The plugin was open when the head came; a slow body does not keep it open."""
    server = launch({"common": PLUGINS["common"]}, ini_more="[auth]\napikey = new\n")
    head = f"POST /common HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n{key}"
    with server.connect() as client:
        client.sendall(head.encode() + (b"\r\n\r\n" if key else b"\r\n"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")  # the head has been judged, the body is awaited
        ini = server.folder / "server.ini"
        ini.write_text(ini.read_text() + "[plugin_parms]\ncommon = auth_type=global\n")
        assert 200 == server.post("/reload/common", headers={"X-Custom-Auth": "new"}).status_code
        client.sendall(b"{}")
        assert client.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
