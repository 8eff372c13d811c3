"""`previous` brings back what a plugin was before the last change, until its files change again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from support.server import Launch, Server, command

PLUGIN = """
import helper
from plugincore.baseplugin import BasePlugin

class Shop(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"plugin": 1, "helper": helper.VERSION, "file": __file__}
"""


def started(launch: Launch) -> Server:
    """Return a server whose plugin and helper have version 1."""
    return launch({"shop": PLUGIN, "helper": "VERSION = 1\n", "other": PLUGIN.replace("Shop", "Other")})


def edit(server: Server, plugin: int, helper: int) -> None:
    """Write other versions of the plugin and of its helper."""
    (server.plugins / "shop.py").write_text(PLUGIN.replace('"plugin": 1', f'"plugin": {plugin}'))
    (server.plugins / "helper.py").write_text(f"VERSION = {helper}\n")


def versions(server: Server, plugin: str = "shop") -> tuple[int, int]:
    """Ask which versions serve."""
    answer = server.get(f"/{plugin}").json()
    assert str(server.plugins / f"{plugin}.py") == answer["file"]
    return answer["plugin"], answer["helper"]


def status(server: Server) -> dict[str, Any]:
    """Return what the list has of the plugin."""
    return next(one for one in server.get("/-/api/plugins").json()["plugins"] if one["id"] == "shop")


def previous(server: Server) -> int:
    """Ask for what was before; return the status."""
    return server.post("/-/api/plugins/shop/previous").status_code


def test_the_version_before_comes_back_with_its_helpers(launch: Launch) -> None:
    """As one that is marked; asked again, it goes forward again. Other plugins stay as they are."""
    server = started(launch)
    first = status(server)
    edit(server, 2, 2)
    assert 200 == server.post("/reload/shop").status_code
    second = status(server)
    assert ((2, 2), (1, 1)) == (versions(server), versions(server, "other"))
    assert 200 == previous(server)
    assert (1, 1) == versions(server)
    assert (True, 3, first["content_hash"]) == tuple(
        status(server)[key] for key in ("previous", "generation", "content_hash")
    )
    assert 200 == previous(server)
    assert (2, 2) == versions(server)
    assert second["content_hash"] == status(server)["content_hash"]
    assert (1, 1) == versions(server, "other")


def test_it_stays_until_its_file_or_a_helper_changes(launch: Launch) -> None:
    """A reload of everything leaves it, one that names it loads the file."""
    server = started(launch)
    edit(server, 2, 2)
    assert 200 == server.post("/reload/all").status_code
    assert 200 == previous(server)
    assert 200 == server.post("/reload/all").status_code
    assert ((1, 1), True) == (versions(server), status(server)["previous"])
    edit(server, 2, 3)
    assert 200 == server.post("/reload/all").status_code
    assert ((2, 3), False) == (versions(server), status(server)["previous"])
    assert 200 == previous(server)
    assert (1, 1) == versions(server)
    assert 200 == server.post("/reload/shop").status_code
    assert ((2, 3), False) == (versions(server), status(server)["previous"])


def test_it_needs_no_file(launch: Launch) -> None:
    """What it was run from is kept, even if plugin and helper are gone or broken by now."""
    server = started(launch)
    edit(server, 2, 2)
    assert 200 == server.post("/reload/shop").status_code
    (server.plugins / "helper.py").unlink()
    (server.plugins / "shop.py").write_text("1 / 0\n")
    assert 200 == previous(server)
    assert (1, 1) == versions(server)


def test_without_a_version_before_there_is_a_conflict(launch: Launch) -> None:
    """Nothing changes then."""
    server = started(launch)
    response = server.post("/-/api/plugins/shop/previous")
    assert 409 == response.status_code
    assert 'Plugin "shop" has no previous version' in response.json()["error"]
    assert 404 == server.post("/-/api/plugins/unknown/previous").status_code
    assert ((1, 1), False) == (versions(server), status(server)["previous"])


def test_one_that_does_not_load_any_more_is_refused(launch: Launch) -> None:
    """The newer one serves on."""
    server = launch({"shop": "import os\nassert not os.path.exists('moved')\n" + PLUGIN, "helper": "VERSION = 1\n"})
    (server.folder / "moved").touch()
    edit(server, 2, 2)
    assert 200 == server.post("/reload/shop").status_code
    response = server.post("/-/api/plugins/shop/previous")
    assert 500 == response.status_code
    assert "plugins/shop.py:2: AssertionError" in response.json()["reasons"][0]
    assert (2, 2) == versions(server)


def test_ctl_does_it(launch: Launch, tmp_path: Path) -> None:
    """By the control socket."""
    server = launch(
        {"shop": PLUGIN, "helper": "VERSION = 1\n"}, ini_more=f"[server]\ncontrol_socket = {tmp_path}/control.sock\n"
    )
    edit(server, 2, 2)
    assert 200 == server.post("/reload/shop").status_code
    arguments = [*command(), "ctl", "-i", "server.ini", "previous", "shop"]
    ended = subprocess.run(arguments, cwd=server.folder, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "reloaded shop\n") == (ended.returncode, ended.stdout), ended.stderr
    assert (1, 1) == versions(server)
