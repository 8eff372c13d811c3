"""Entry point of the commands ``plugincore`` and ``pserve`` and of ``python -m plugincore``."""

import sys

from plugincore import _core


def main() -> int:
    """Serve plugins until asked to stop; see ``plugincore --help``.

    Returns the exit code: 0 after a stop that was asked for, 1 when the start failed, 2 for a wrong command line or
    configuration.
    """
    # orig_argv names the interpreter first, so that SIGUSR1 can start the very same command again.
    return _core.main(sys.argv, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
