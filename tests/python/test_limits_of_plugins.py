"""Sections ``[plugin x]``: what the server goes by for the requests to one plugin."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.plugins import INI, prepare
from support.server import Launch, Server, command
from support.wait import wait_until
from support.wire import HOST, Wire

ECHO = """
from plugincore.baseplugin import BasePlugin

class Echo(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.given = sorted(kwargs)

    async def request_handler(self, **data):
        body = await data["request"].read()
        return 200, {"length": len(body), "given": self.given, "sections": sorted(self.config), "object": id(self)}
"""

GATE = """
import asyncio, pathlib
from plugincore.baseplugin import BasePlugin

class Gate(BasePlugin):
    inside = 0

    async def request_handler(self, **data):
        self.inside += 1
        self.log.info(f"{self._plugin_id} inside {self.inside}")
        try:
            while not pathlib.Path("go").exists():
                await asyncio.sleep(0.005)
        finally:
            self.inside -= 1
        return 200, "waited"
"""


def plugins(source: str, *names: str) -> dict[str, str]:
    """Return a copy of the plugin for each of these ids."""
    return {name: re.sub(r"class \w+", f"class {name.title()}", source) for name in names}


def status(server: Server, plugin: str, size: int) -> int:
    """POST a body of ``size`` bytes."""
    return server.post(f"/{plugin}", content=b"x" * size).status_code


def rewrite(server: Server, more: str) -> None:
    """Change the ini file."""
    (server.folder / "server.ini").write_text(INI + more)


def enter(server: Server, plugin: str, count: int) -> list[Wire]:
    """Have ``count`` requests wait inside ``plugin``."""
    since = len(server.lines)
    wires = [Wire(server) for _ in range(count)]
    for wire in wires:
        wire.send(f"GET /{plugin}".encode() + HOST + b"\r\n")
    server.wait_for(f"{plugin} inside {count}$", since)
    return wires


def finish(server: Server, wires: list[Wire]) -> list[int]:
    """Let all requests go on; return their statuses."""
    (server.folder / "go").touch()
    statuses = [wire.answer().status for wire in wires]
    for wire in wires:
        wire.socket.close()
    return statuses


def test_the_body_size_of_a_plugin_counts_for_it_alone(launch: Launch) -> None:
    """Larger or smaller than the general one, and for nobody else."""
    more = "[limits]\nbody_size = 1000\n[plugin large]\nbody_size = 2000\n[plugin small]\nbody_size = 500\n"
    server = launch(plugins(ECHO, "large", "small", "other"), ini_more=more)
    sizes = {"large": 2000, "small": 500, "other": 1000}
    for plugin, size in sizes.items():
        assert (200, 413) == (status(server, plugin, size), status(server, plugin, size + 1)), plugin


def test_none_takes_the_limit_away(launch: Launch) -> None:
    """Also for one plugin alone."""
    server = launch(plugins(ECHO, "any", "other"), ini_more="[plugin any]\nbody_size = none\n")
    assert (200, 413) == (status(server, "any", 3 << 20), status(server, "other", 3 << 20))


def test_a_section_is_found_by_the_id_and_then_by_the_file(launch: Launch) -> None:
    """A plugin whose id has a section goes by that, whatever its file is called; the file's name may have any case."""
    more = "[plugin_parms]\none = route_path=shop/cart\n[plugin shop/cart]\nbody_size = 10\n"
    more += "[plugin one]\nbody_size = 20\n"
    server = launch(plugins(ECHO, "one", "Two"), ini_more=f"{more}[plugin TWO]\nbody_size = 30\n")
    assert (200, 413) == (status(server, "shop/cart", 10), status(server, "shop/cart", 11))
    assert (200, 413) == (status(server, "two", 30), status(server, "two", 31))


def test_the_plugin_does_not_see_its_section(launch: Launch) -> None:
    """Neither as parameters nor as a part of its configuration."""
    server = launch({"echo": ECHO}, ini_more="[shop]\na = 1\n[plugin echo]\nbody_size = 10\n")
    answer = server.get("/echo").json()
    assert "shop" in answer["sections"]
    assert not [name for name in answer["sections"] if name.startswith("plugin ")]
    assert "body_size" not in answer["given"]


@pytest.mark.parametrize("reload", ["all", "echo"])
def test_a_reload_applies_a_section(launch: Launch, reload: str) -> None:
    """Whether of everything or of the plugin; of everything without loading the plugin anew."""
    server = launch({"echo": ECHO}, ini_more="[plugin echo]\nbody_size = 10\n")
    before = server.get("/echo").json()["object"]
    assert 413 == status(server, "echo", 11)
    rewrite(server, "[plugin echo]\nbody_size = 20\n")
    assert 413 == status(server, "echo", 11)
    assert 200 == server.get(f"/reload/{reload}").status_code
    assert (200, 413) == (status(server, "echo", 20), status(server, "echo", 21))
    assert (reload == "all") == (before == server.get("/echo").json()["object"])
    rewrite(server, "")
    assert 200 == server.get(f"/reload/{reload}").status_code
    assert 200 == status(server, "echo", 1000)


def test_a_reload_by_signal_applies_a_section(launch: Launch) -> None:
    """SIGHUP is a reload of everything."""
    server = launch({"echo": ECHO})
    rewrite(server, "[plugin echo]\nbody_size = 20\n")
    server.process.send_signal(1)
    wait_until(lambda: 413 == status(server, "echo", 21))


def test_a_reload_of_another_plugin_leaves_it_alone(launch: Launch) -> None:
    """Only what is reloaded goes by the file as it is now."""
    server = launch(plugins(ECHO, "echo", "other"), ini_more="[plugin echo]\nbody_size = 10\n")
    rewrite(server, "[plugin echo]\nbody_size = 20\n[plugin other]\nbody_size = 5\n")
    assert 200 == server.get("/reload/other").status_code
    assert (413, 413) == (status(server, "echo", 11), status(server, "other", 6))


def test_the_places_of_a_plugin_are_its_own(launch: Launch) -> None:
    """Those in its section count alone: its requests take no places of the others, and it needs none of theirs."""
    more = "[limits]\nin_flight = 2\n[plugin own]\nin_flight = 3\n"
    server = launch({**plugins(GATE, "own", "one"), "echo": ECHO}, ini_more=more)
    waiting = enter(server, "own", 3)
    assert 503 == server.get("/own").status_code
    assert 200 == server.get("/echo").status_code
    waiting += enter(server, "one", 2)
    refused = server.get("/echo")
    assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
    assert [200] * 5 == finish(server, waiting)
    assert 200 == server.get("/own").status_code


def test_a_reload_changes_the_places_of_a_plugin(launch: Launch) -> None:
    """Requests that are inside stay there."""
    server = launch(plugins(GATE, "own"), ini_more="[plugin own]\nin_flight = 3\n")
    waiting = enter(server, "own", 2)
    rewrite(server, "[plugin own]\nin_flight = 2\n")
    assert 200 == server.get("/reload/all").status_code
    assert 503 == server.get("/own").status_code
    rewrite(server, "[limits]\nin_flight_per_plugin = 1\n")
    assert 200 == server.get("/reload/all").status_code
    assert 503 == server.get("/own").status_code
    assert [200] * 2 == finish(server, waiting)
    assert 200 == server.get("/own").status_code


def test_a_section_that_fits_no_plugin_is_warned_of(launch: Launch) -> None:
    """With what may be meant; a section for a plugin that could not be loaded is not reported."""
    more = "[plugin ecco]\nbody_size = 1\n[plugin broken]\nbody_size = 1\n[plugin echo]\nbody_size = 5\n"
    server = launch({"echo": ECHO, "broken": "import nothing_there"}, ini_more=more)
    line = r"WARN - .*server\.ini:8: \[plugin ecco\]: no plugin has this id or file, .* \(is \[plugin echo\] meant\?\)"
    server.wait_for(line)
    assert "[plugin broken]" not in server.log
    since = len(server.lines)
    assert 200 == server.get("/reload/all").status_code
    server.wait_for(line, since)


def test_mistakes_are_named_with_their_lines(launch: Launch, tmp_path: Path) -> None:
    """A wrong value stops the start; at a reload nothing changes. An unknown key is reported with the nearest one."""
    prepare(tmp_path, {"echo": ECHO}, INI + "[plugin echo]\nin_flight = many\n")
    with Server([*command(), "-i", "server.ini"], tmp_path, {}) as failed:
        assert 2 == failed.wait()
    assert re.search(r"^server\.ini:8: \[plugin echo\] in_flight: must be .*\(.+\)$", failed.log, re.MULTILINE)
    server = launch({"echo": ECHO}, ini_more="[plugin echo]\nbody_size = 10\nin_fligt = 3\n", folder=tmp_path / "right")
    server.wait_for(r"WARN - .*server\.ini:10: \[plugin echo\] in_fligt: is not known .* \(is in_flight meant")
    rewrite(server, "[plugin echo]\nbody_size = -1\n")
    assert 200 != server.get("/reload/all").status_code
    assert (200, 413) == (status(server, "echo", 10), status(server, "echo", 11))


#: A wrong value of every key, and what is wrong with it.
WRONG = {
    "head_size": ("1k", "must be a size from 8192 bytes"),
    "head_fields": ("0", "must be a whole number from 1 to 10000"),
    "target_size": ("64KiB", "must be a size from 1 to 65534 bytes"),
    "body_size": ("big", "must be a size"),
    "head_time": ("0", "must be a time above 0"),
    "idle_time": ("-1", "must be a time above 0"),
    "send_idle_time": ("1 day", "must be a time above 0"),
    "body_idle_time": ("soon", "must be a time above 0"),
    "body_time": ("", "must be a time above 0"),
    "body_min_rate": ("1KiB/m", "must be a size in each second"),
    "handler_time": ("never", "must be a time above 0"),
    "queue_time": ("off", "must be a time above 0"),
    "in_flight": ("0", "must be a whole number of at least 1"),
    "in_flight_per_plugin": ("1.5", "must be a whole number of at least 1"),
    "in_flight_per_client": ("many", "must be a whole number of at least 1"),
    "connections": ("-3", "must be a whole number of at least 1"),
    "connections_per_client": ("all", "must be a whole number of at least 1"),
}


def test_every_wrong_value_is_named_with_its_line_and_none_is_right(tmp_path: Path) -> None:
    """All at once; `none` switches each of them off."""
    prepare(tmp_path, {}, INI + "[limits]\n" + "".join(f"{key} = {value}\n" for key, (value, _) in WRONG.items()))
    arguments = [*command(), "check", "-i", "server.ini"]
    ended = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert 1 == ended.returncode, ended.stderr
    *lines, summary = ended.stderr.splitlines()
    assert f"server.ini: {len(WRONG)} errors; plugin files are imported once it has none" == summary
    for number, (line, (key, (value, wrong))) in enumerate(zip(lines, WRONG.items(), strict=True)):
        assert line.startswith(f"server.ini:{8 + number}: [limits] {key}: {wrong}"), line
        assert f'not "{value}"' in line
        assert re.search(r"; none switches it off\)$|\(write for example 1KiB/s", line), line
    prepare(tmp_path, {}, INI + "[limits]\n" + "".join(f"{key} = none\n" for key in WRONG))
    ended = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (ended.returncode, ended.stderr)


def test_an_earlier_name_is_valid_and_the_log_names_the_new_one(launch: Launch, tmp_path: Path) -> None:
    """Both names together are an error, since one of them would have no effect."""
    server = launch({"echo": ECHO}, ini_more="[server]\nbody_limit = 10\n")
    server.wait_for(r"INFO - .*server\.ini:9: \[server\] body_limit: is called body_size in \[limits\] now")
    assert (200, 413) == (status(server, "echo", 10), status(server, "echo", 11))
    prepare(tmp_path / "both", {}, INI + "[server]\nbody_limit = 10\n[limits]\nbody_size = 10\n")
    with Server([*command(), "-i", "server.ini"], tmp_path / "both", {}) as failed:
        assert 2 == failed.wait()
    assert "server.ini:8: [server] body_limit: is the earlier name of [limits] body_size" in failed.log


def test_a_variable_replaces_a_key_of_a_section(launch: Launch) -> None:
    """What is not a letter or digit in the section's name is an underscore in the variable's."""
    more = "[plugin_parms]\necho = route_path=shop/cart\n[plugin shop/cart]\nbody_size = 10\n"
    server = launch({"echo": ECHO}, ini_more=more, env={"PLUGINCORE_PLUGIN_SHOP_CART_BODY_SIZE": "20"})
    assert (200, 413) == (status(server, "shop/cart", 20), status(server, "shop/cart", 21))
