"""``import psutil`` without psutil.

`install` appends a finder to the END of `sys.meta_path`: it is used only if no other finder finds psutil, so an
installed psutil always wins, even one that is installed while the process runs. Caveat: a process that has imported
the substitute keeps it until ``sys.modules["psutil"]`` is removed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "psutil"


class _StandInLoader(Loader):
    """Loads `plugincore.sysinfo` in place of psutil."""

    def exec_module(self, module: ModuleType) -> None:
        """Replace the new, empty module; the import system then returns the module in `sys.modules`."""
        from plugincore import sysinfo

        sys.modules[_NAME] = sysinfo


class _StandInFinder(MetaPathFinder):
    """Finds psutil for `_StandInLoader`, and explains why its submodules are missing."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of psutil; raise ModuleNotFoundError for its submodules."""
        if fullname == _NAME:
            return ModuleSpec(_NAME, _StandInLoader(), origin="plugincore.sysinfo")
        if fullname.startswith(f"{_NAME}.") and sys.modules.get(_NAME) is sys.modules.get("plugincore.sysinfo"):
            message = (
                f"No module named {fullname!r}: plugincore.sysinfo stands in for psutil and has no submodules; "
                "installing psutil gives them"
            )
            raise ModuleNotFoundError(message, name=fullname)
        return None


_FINDER = _StandInFinder()


def install() -> None:
    """Make ``import psutil`` work without psutil. Calling it again moves the finder back to the end."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    sys.meta_path.append(_FINDER)
