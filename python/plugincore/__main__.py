"""Entry point of the commands ``plugincore`` and ``pserve`` and of ``python -m plugincore``."""

import os
import sys

SHARED = ("__init__.py", "baseplugin.py", "configfile.py", "logjam.py", "pluginmanager.py")
"""The files that pluginserver, which is called plugincore inside, has too: whichever is removed takes them with it."""


def main() -> int:
    """Serve plugins until asked to stop; see ``plugincore --help``.

    Returns the exit code: 0 after a stop that was asked for, 1 when the start failed, 2 for a wrong command line or
    configuration.
    """
    problem = _damage()
    if problem:
        print(f"plugincore: {problem}", file=sys.stderr)
        return 1
    from plugincore import _core

    # orig_argv names the interpreter first, so that SIGUSR1 can start the very same command again.
    return _core.main(sys.argv, [sys.executable, *sys.orig_argv[1:]])


def _damage() -> str | None:
    """Say what pluginserver did to this package, or will do, and what helps; None if all is well."""
    pip = f"{sys.executable} -m pip"
    again = f"{pip} install --force-reinstall plugincore"
    package = os.path.dirname(os.path.abspath(__file__))
    for name in os.listdir(os.path.dirname(package)):
        if name.lower().startswith("pluginserver-") and name.endswith((".dist-info", ".egg-info")):
            both = f"{pip} uninstall pluginserver && {again}"
            return f"pluginserver is installed, too, and has files of the same names; run: {both}"
    missing = [name for name in SHARED if not os.path.exists(os.path.join(package, name))]
    if missing:
        return (
            f"{', '.join(missing)} of its files are missing, perhaps since pluginserver was uninstalled; run: {again}"
        )
    try:
        from plugincore import _core, baseplugin

        whole = baseplugin.BasePlugin is _core.BasePlugin
    except (ImportError, AttributeError) as error:
        return f"it cannot be loaded: {error}; run: {again}"
    return None if whole else f"its files are those of another package, perhaps of pluginserver; run: {again}"


if __name__ == "__main__":
    sys.exit(main())
