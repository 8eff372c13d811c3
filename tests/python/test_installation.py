"""What pluginserver, which installs a package of the same name, may have done to this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plugincore
from support.plugins import prepare
from support.wait import TIMEOUT

HELLO = "from plugincore.baseplugin import BasePlugin\n\nclass Hello(BasePlugin): pass\n"

AGAIN = f"{sys.executable} -m pip install --force-reinstall plugincore"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder of packages with a copy of the installed one."""
    shutil.copytree(Path(plugincore.__file__).parent, tmp_path / "site" / "plugincore")
    prepare(tmp_path, {"hello": HELLO}, "[paths]\nplugins = plugins\n[network]\nport = wrong\n")
    return tmp_path / "site"


def start(site: Path, *arguments: str) -> tuple[int, str]:
    """Start what is in the folder, and no other; return the exit code and the output."""
    ended = subprocess.run(
        [sys.executable, "-S", *(arguments or ("-m", "plugincore")), "-i", "server.ini"],
        cwd=site.parent,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return ended.returncode, ended.stderr


def told(site: Path) -> str:
    """Start by module and by command; return the one line that both print."""
    command = site.parent / "command"
    command.write_text("import sys\nfrom plugincore.__main__ import main\nsys.exit(main())\n")
    seen = {start(site), start(site, str(command))}
    assert 1 == len(seen), seen
    code, text = seen.pop()
    assert (1, 1) == (code, text.count("\n")), text
    return text


def test_a_whole_package_gets_as_far_as_the_ini_file(site: Path) -> None:
    """The copy that the other tests damage works."""
    code, text = start(site)
    assert (2, True) == (code, "port: must be a number" in text), text


@pytest.mark.parametrize("name", ["pluginserver-0.10.5.dist-info", "pluginserver-0.9-py3.11.egg-info"])
def test_pluginserver_beside_it_is_told(site: Path, name: str) -> None:
    """Before its uninstallation takes files away, in the order that helps."""
    (site / name).mkdir()
    text = told(site)
    assert "pluginserver is installed" in text
    assert f"-m pip uninstall pluginserver && {AGAIN}" in text


@pytest.mark.parametrize(
    "names",
    [
        ["__init__.py", "baseplugin.py", "configfile.py", "logjam.py", "pluginmanager.py"],
        ["__init__.py"],
        ["configfile.py"],
        ["baseplugin.py"],
    ],
)
def test_files_that_went_with_pluginserver_are_named(site: Path, names: list[str]) -> None:
    """With what brings them back."""
    for name in names:
        (site / "plugincore" / name).unlink()
    text = told(site)
    assert f"{', '.join(names)} of its files are missing" in text
    assert text.endswith(f"run: {AGAIN}\n")


@pytest.mark.parametrize(
    "source", ["class BasePlugin: pass\n", "import no_such_module\n", "", "raise ImportError('no')\n"]
)
def test_files_of_another_package_are_told(site: Path, source: str) -> None:
    """As when pluginserver was installed later."""
    (site / "plugincore" / "baseplugin.py").write_text(source)
    assert told(site).endswith(f"run: {AGAIN}\n")
