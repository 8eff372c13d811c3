"""What a plugin can do at its own reload: check itself before it serves, and hand its state on."""

from __future__ import annotations

import pytest

from support.server import Launch, Server

CHECKED = """
import asyncio
from plugincore.baseplugin import BasePlugin

VERSION = 1

class Checked(BasePlugin):
    async def initialize(self, **kwargs):
        self.ready = True

    KIND self_check(self):
        assert self.ready
        BODY

    def request_handler(self, **data):
        return {"version": VERSION}

    def terminate_plugin(self):
        print("checked ends", VERSION)
"""


def checked(body: str, kind: str = "async def", version: int = 1) -> str:
    """Return a plugin with this `self_check`."""
    return CHECKED.replace("BODY", body).replace("KIND", kind).replace("VERSION = 1", f"VERSION = {version}")


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return False", "RuntimeError: self_check returned False"),
        ("raise OSError('no sensor')", "OSError: no sensor"),
        ("import sys; sys.exit(1)", "1"),
    ],
)
@pytest.mark.parametrize("target", ["checked", "all"])
def test_a_plugin_that_fails_its_own_check_does_not_serve(
    launch: Launch, target: str, body: str, reason: str, kind: str
) -> None:
    """At a reload the earlier version goes on; the new instance is terminated."""
    server = launch({"checked": checked("return True")})
    (server.plugins / "checked.py").write_text(checked(body, kind, 2))
    answer = server.get(f"/reload/{target}")
    assert 500 == answer.status_code
    (text,) = answer.json()["reasons"]
    assert text.startswith("plugins/checked.py")
    assert reason in text
    assert {"version": 1} == server.get("/checked").json()
    assert ["checked ends 2"] == [line for line in server.lines if line.startswith("checked ends")]


@pytest.mark.parametrize("body", ["return True", "return None", "return 0", "await asyncio.sleep(0.01)"])
def test_any_other_result_of_the_check_is_a_yes(launch: Launch, body: str) -> None:
    """A check that finds nothing wrong need not return anything."""
    server = launch({"checked": checked(body)})
    assert {"version": 1} == server.get("/checked").json()
    (server.plugins / "checked.py").write_text(checked(body, version=2))
    assert 200 == server.get("/reload/checked").status_code
    assert {"version": 2} == server.get("/checked").json()


def test_at_a_start_a_plugin_that_fails_its_check_is_left_out(launch: Launch) -> None:
    """One that takes longer than `plugin_timeout` is, too; the others serve."""
    slow = checked("await asyncio.sleep(60)").replace("Checked", "Slow")
    server = launch(
        {"checked": checked("return False"), "good": checked("pass").replace("Checked", "Good"), "slow": slow},
        ini_more="[server]\nplugin_timeout = 200ms\n",
    )
    assert ["good"] == server.get("/plugins").json()["loaded_plugins"]
    assert server.wait_for(r"ERROR - .*plugins/checked\.py: class Checked: RuntimeError: self_check returned False")
    assert server.wait_for(
        r"ERROR - .*plugins/slow\.py: class Slow: TimeoutError: self_check did not end within 0\.2 s"
    )


COUNTER = """
from plugincore.baseplugin import BasePlugin

class Counter(BasePlugin):
    STATE_VERSION
    count = 0

    EXPORT export_state(self):
        EXPORT_BODY

    IMPORT import_state(self, state):
        IMPORT_BODY

    def request_handler(self, **data):
        self.count += 1
        return {"count": self.count}
"""


def counter(
    *,
    version: str = "",
    export_kind: str = "def",
    export: str = "return {'count': self.count}",
    import_kind: str = "def",
    import_: str = "self.count = state['count']",
) -> str:
    """Return a plugin that counts its requests."""
    source = COUNTER.replace("STATE_VERSION", version or "pass").replace("EXPORT_BODY", export)
    return source.replace("IMPORT_BODY", import_).replace("EXPORT", export_kind).replace("IMPORT", import_kind)


def count(server: Server, times: int = 1) -> int:
    """Make requests; return what the last one says."""
    return [server.get("/counter").json()["count"] for _ in range(times)][-1]


@pytest.mark.parametrize("target", ["counter", "all"])
@pytest.mark.parametrize("version", ["", "state_version = 3", "state_version = 'a'"])
def test_state_is_handed_on(launch: Launch, target: str, version: str) -> None:
    """Over each reload, as often as there is one."""
    server = launch({"counter": counter(version=version)})
    assert 3 == count(server, 3)
    for expected in (4, 5):
        assert 200 == server.get(f"/reload/{target}").status_code
        assert expected == count(server)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (counter().replace("export_state", "other"), counter()),
        (counter(), counter().replace("import_state", "other")),
        (counter(), counter(version="state_version = 2")),
        (counter(version="state_version = 1"), counter(version="state_version = 2", import_="1 / 0")),
    ],
    ids=["nothing exported", "nothing imported", "a version", "another version"],
)
def test_without_both_methods_of_one_version_nothing_is_handed_on(launch: Launch, before: str, after: str) -> None:
    """The new instance begins as it is made."""
    server = launch({"counter": before})
    assert 3 == count(server, 3)
    (server.plugins / "counter.py").write_text(after)
    assert 200 == server.get("/reload/counter").status_code
    assert 1 == count(server)
    if "state_version = 2" in after:
        server.wait_for("INFO - .*plugin counter: state_version .* has become 2; it begins without state")


@pytest.mark.parametrize("target", ["counter", "all"])
@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (counter(import_="self.count = state['number']"), r"plugins/counter.py:12: KeyError: 'number'"),
        (counter(import_kind="async def"), "import_state must be a plain def"),
        (counter(import_="raise SystemExit(4)"), "SystemExit: 4"),
    ],
    ids=["raises", "async", "exits"],
)
def test_a_state_that_is_refused_refuses_the_reload(launch: Launch, target: str, new: str, reason: str) -> None:
    """The old instance serves on with the state that it has."""
    server = launch({"counter": counter()})
    assert 3 == count(server, 3)
    (server.plugins / "counter.py").write_text(new)
    answer = server.get(f"/reload/{target}")
    assert 500 == answer.status_code
    (text,) = answer.json()["reasons"]
    assert reason in text
    assert text.endswith("; the earlier version goes on serving")
    assert 4 == count(server)


@pytest.mark.parametrize(("kind", "body"), [("def", "1 / 0"), ("async def", "return 1")])
def test_a_state_that_cannot_be_exported_is_not_lost(launch: Launch, kind: str, body: str) -> None:
    """The reload is refused, and the reason names the method."""
    server = launch({"counter": counter(export_kind=kind, export=body)})
    assert 3 == count(server, 3)
    answer = server.get("/reload/counter")
    assert 500 == answer.status_code
    assert "ZeroDivisionError" in answer.text or "export_state must be a plain def" in answer.text
    assert 4 == count(server)
