"""`/reload/all` loads what has changed: all else goes on, with its state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.plugins import INI
from support.server import Launch, Server

#: A plugin that counts its requests and says what it was loaded with.
COUNTER = """
import {helper}
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = 0
        self.size = kwargs.get("size")
        self.motto = kwargs["config"].house.motto

    async def request_handler(self, **data):
        self.count += 1
        return 200, {{"count": self.count, "size": self.size, "motto": self.motto, "word": {helper}.WORD}}
"""

PLUGINS = {
    "a": COUNTER.format(name="A", helper="first"),
    "b": COUNTER.format(name="B", helper="second"),
    "first": "from nested import WORD\n",
    "nested": "WORD = 'one'\n",
    "second": "try:\n    from optional import WORD\nexcept ImportError:\n    WORD = 'none'\n",
    "b.json": '{"size": 2}',
}

MORE = """
[plugin_parms]
a = size=1
b = json=b.json

[house]
motto = old
"""


def counts(server: Server) -> list[int]:
    """Ask both plugins once more."""
    return [server.get(f"/{plugin}").json()["count"] for plugin in "ab"]


def started(launch: Launch) -> Server:
    """Return a server whose plugins have answered once."""
    server = launch(PLUGINS, ini_more=MORE)
    assert [1, 1] == counts(server)
    return server


def ini(server: Server, old: str, new: str) -> None:
    """Replace a text in the ini file."""
    file = server.folder / "server.ini"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def plugin(name: str, text: str) -> Callable[[Server], object]:
    """Return what writes a file of the plugin folder."""
    return lambda server: (server.plugins / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda server: None, [2, 2]),
        (lambda server: (server.plugins / "a.py").touch(), [2, 2]),
        (plugin("a.py", PLUGINS["a"] + "# edited\n"), [1, 2]),
        (plugin("nested.py", "WORD = 'two'\n"), [1, 2]),
        (plugin("optional.py", "WORD = 'some'\n"), [2, 1]),
        (plugin("b.json", '{"size": 3}'), [2, 1]),
        (lambda server: ini(server, "size=1", "size=4"), [1, 2]),
        (lambda server: ini(server, "motto = old", "motto = new"), [1, 1]),
        (lambda server: ini(server, "[paths]", "[cors]\nenabled = true\norigin_url = http://x.test\n[paths]"), [2, 2]),
        (lambda server: ini(server, "[paths]", "[compat]\nlegacy_status = true\n[paths]"), [1, 1]),
    ],
    ids=["nothing", "touch", "file", "helper", "new helper", "json", "line", "section", "host", "compat"],
)
def test_only_what_has_changed_is_loaded(
    launch: Launch, change: Callable[[Server], object], expected: list[int]
) -> None:
    """File, helpers, parameter file, the lines of the ini file that concern it: whatever of it has changed."""
    server = started(launch)
    before = {one["id"]: one["content_hash"] for one in server.get("/-/api/plugins").json()["plugins"]}
    change(server)
    response = server.post("/reload/all")
    assert (200, ["a", "b"]) == (response.status_code, response.json()["loaded_plugins"])
    assert expected == counts(server)
    after = {one["id"]: one["content_hash"] for one in server.get("/-/api/plugins").json()["plugins"]}
    assert [before[one] == after[one] for one in "ab"] == [count == 2 for count in expected]


def test_one_that_is_named_is_loaded_even_if_nothing_has_changed(launch: Launch) -> None:
    """And no other one."""
    server = started(launch)
    assert 200 == server.post("/reload/b").status_code
    assert [2, 1] == counts(server)


def test_an_unchanged_plugin_goes_by_the_new_key_of_the_server(launch: Launch) -> None:
    """And by new CORS rules; its state stays."""
    more = MORE.replace("size=1", "size=1&auth_type=global")
    server = launch(PLUGINS, ini=INI + "[auth]\napikey = before\n", ini_more=more)
    ask = {key: {"headers": {"X-Custom-Auth": key}} for key in ("before", "after")}
    assert [200, 403] == [server.get("/a", **ask[key]).status_code for key in ("before", "after")]
    ini(server, "apikey = before", "apikey = after")
    assert 200 == server.post("/reload/all", **ask["before"]).status_code
    assert 403 == server.get("/a", **ask["before"]).status_code
    assert 2 == server.get("/a", **ask["after"]).json()["count"]


def test_a_file_that_could_not_be_loaded_is_tried_again_when_asked(launch: Launch) -> None:
    """What it needs may not be a file beside it."""
    source = COUNTER.format(name="C", helper="first") + "import os\nassert os.path.exists('ready')\n"
    server = launch({**PLUGINS, "c": source}, ini_more=MORE)
    response = server.post("/reload/all")
    assert 200 == response.status_code
    assert "plugins/c.py:" in response.json()["failed"][0]
    (server.folder / "ready").touch()
    assert ["a", "b", "c"] == server.post("/reload/all").json()["loaded_plugins"]


def test_a_file_that_is_broken_from_before_holds_nobody_up(launch: Launch) -> None:
    """The watcher takes the change of another file, and the broken one when it is mended."""
    server = launch(PLUGINS, ini_more=MORE, args=["--watch"])
    (server.plugins / "a.py").write_text("1 / 0\n")
    server.wait_for("plugins/a.py:1: ZeroDivisionError")
    assert [1, 1] == counts(server)
    seen = len(server.lines)
    (server.plugins / "b.py").write_text(PLUGINS["b"] + "# edited\n")
    server.wait_for("Terminating plugin b", seen)
    assert [2, 1] == counts(server)
    assert "ZeroDivisionError" not in "\n".join(server.lines[seen:]), "it is not tried again for another file"
    seen = len(server.lines)
    (server.plugins / "a.py").write_text(PLUGINS["a"] + "# mended\n")
    server.wait_for("Terminating plugin a", seen)
    assert [1, 2] == counts(server)


def test_a_reload_without_a_change_leaves_nothing_behind(launch: Launch) -> None:
    """Not even an empty set of modules."""
    counts_tables = """
    import gc
    from plugincore.baseplugin import BasePlugin

    class Tables(BasePlugin):
        def request_handler(self, **data):
            gc.collect()
            return 200, {"tables": sum(type(one).__name__ == "ModuleTable" for one in gc.get_objects())}
    """
    server = launch({"tables": counts_tables})
    assert 200 == server.post("/reload/all").status_code
    before = server.get("/tables").json()
    for _ in range(5):
        assert 200 == server.post("/reload/all").status_code
    assert before == server.get("/tables").json()
