"""An installed package that is changed while it is loaded needs a restart, and the log says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.server import Launch

USER = """
import {module}
from plugincore.baseplugin import BasePlugin

class User(BasePlugin):
    async def request_handler(self, **data):
        return 200, {{"version": {module}.VERSION}}
"""


def install(folder: Path, name: str, module: str, version: str) -> None:
    """Install a version of a package as pip does, in place of the one that is there."""
    for old in folder.glob(f"{name}-*.dist-info"):
        old.rename(folder / f"{name}-{version}.dist-info")
    (folder / f"{name}-{version}.dist-info").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{version}.dist-info" / "top_level.txt").write_text(f"{module}\n")
    (folder / f"{module}.py").write_text(f"VERSION = '{version}'\n")


@pytest.mark.parametrize(("name", "module"), [("some_lib", "some_lib"), ("PySome", "other")])
def test_an_update_of_a_loaded_package_is_told_with_the_remedy(
    launch: Launch, tmp_path: Path, name: str, module: str
) -> None:
    """Once for each update, at the next reload; a package that nobody has imported is no news."""
    folder = tmp_path / "packages"
    install(folder, name, module, "1.0")
    install(folder, "unused", "unused", "1.0")
    server = launch({"user": USER.format(module=module)}, env={"PYTHONPATH": str(folder)})
    install(folder, name, module, "1.1")
    install(folder, "unused", "unused", "1.1")
    assert 200 == server.post("/reload/user").status_code
    line = server.wait_for("restart needed")
    assert f"{name.lower()} 1.0 is loaded, 1.1 is installed" in line
    assert f"kill -USR1 {server.pid}" in line
    assert {"version": "1.0"} == server.get("/user").json()
    assert 200 == server.post("/reload/user").status_code
    assert 1 == server.log.count("restart needed")
    install(folder, name, module, "1.2")
    assert 200 == server.post("/reload/all").status_code
    server.wait_for(f"{name.lower()} 1.0 is loaded, 1.2 is installed")
    assert "1.1 is loaded, 1.2" not in server.log
    assert "unused" not in server.log
