"""Entry point of the commands ``plugincore`` and ``pserve`` and of ``python -m plugincore``."""

import os
import sys

SHARED = ("__init__.py", "baseplugin.py", "configfile.py", "logjam.py", "pluginmanager.py")
"""Files that pluginserver also installs, as package plugincore: uninstalling either of them removes these files."""


def main() -> int:
    """Serve plugins until the server is stopped; see ``plugincore --help``.

    Returns the exit code: 0 after a requested stop, 1 if the start failed, 2 for an invalid command line or
    configuration.
    """
    problem = _damage()
    if problem:
        print(f"plugincore: {problem}", file=sys.stderr)
        return 1
    from plugincore import _core

    return _core.main(sys.argv, _command())


def _command() -> list[str]:
    """Return the command that starts the same again, for a restart or an upgrade."""
    # orig_argv includes the interpreter's options.
    command = [sys.executable, *sys.orig_argv[1:]]
    script = sys.argv[0]
    if command[1:2] == [script] and os.access(script, os.X_OK):
        with open(script, "rb") as file:
            interpreter = file.readline()
        # Found by the script itself: by then it may be that of another version, with another Python.
        if interpreter.startswith(b"#!") and os.fsdecode(interpreter[2:].strip()) == sys.orig_argv[0]:
            return [script, *command[2:]]
    return command


def _damage() -> str | None:
    """Return how pluginserver has damaged this package, or will, with the remedy; None if the package is intact."""
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
