"""The types that editors and type checkers see are the ones that the package has."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import plugincore

PLUGIN = """
    from typing import Any

    from plugincore import FileField, HTTPError, MultiDict, Request, RequestHeaders, Response
    from plugincore.baseplugin import BasePlugin
    from plugincore.configfile import Config
    from plugincore.pluginmanager import PluginManager

    class Typed(BasePlugin):
        def __init__(self, size: int = 3, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.size = size

        async def initialize(self, **kwargs: Any) -> None:
            self.log.info("from", self.config.paths.plugins, self.args["prog_args"])

        async def handle_request(self, **data: Any) -> Any:
            return await super().handle_request(**data)

        async def request_handler(self, **data: Any) -> tuple[int, dict[str, str | None]]:
            request: Request = data["request"]
            headers: RequestHeaders = data["request_headers"]
            body: bytes = await request.read()
            form: MultiDict = await request.post()
            upload = form.get("file")
            name = upload.filename if isinstance(upload, FileField) else None
            self.log("bytes", len(body), request.query.getall("x", []), request.cookies["c"])
            return 200, {"accept": headers.get("accept"), "name": name, "id": self._plugin_id}

        def answer(self, found: bool) -> Response:
            if not found:
                raise HTTPError(404, "no such lamp", code="no_lamp")
            return Response(json={"found": True})

        async def terminate_plugin(self) -> None:
            self.log.common_log("ip", "/", 0, "GET", "HTTP/1.1", 200)

    async def load(config: Config) -> None:
        manager = PluginManager("plugins", config=config)
        await manager.load_plugins()
        for name, plugin in (await manager.all_plugins()).items():
            print(name.title(), plugin)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for mypy to work and keep its cache in."""
    return tmp_path_factory.mktemp("mypy")


def run(folder: Path, *arguments: str) -> str:
    """Run a module of mypy's on the package under test; return what it says after a success."""
    assert plugincore.__file__ is not None
    home = Path(plugincore.__file__).parent.parent
    # mypy finds an installed package by itself, and refuses to be told where it is.
    where = {} if "site-packages" in home.parts else {"MYPYPATH": str(home)}
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def test_the_python_half_is_strictly_typed(folder: Path) -> None:
    """A strict mypy has nothing to say about the package."""
    assert "Success" in run(folder, "mypy", "--strict", "-p", "plugincore")


def test_the_stubs_describe_the_compiled_half(folder: Path) -> None:
    """Names, signatures and defaults of `_core.pyi` are those of the module, without exception."""
    run(folder, "mypy.stubtest", "plugincore")


def test_a_plugin_can_be_strictly_typed(folder: Path) -> None:
    """What plugins do with the host's objects passes a type checker, overrides included."""
    (folder / "typed.py").write_text(textwrap.dedent(PLUGIN))
    run(folder, "mypy", "--strict", "typed.py")
