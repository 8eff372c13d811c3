"""A server whose output is a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path

from support.server import command
from support.wait import TIMEOUT


def on_terminal(folder: Path, *arguments: str, **env: str) -> str:
    """Return what a server writes to a terminal from its start to its end, with line feeds alone.

    It is stopped at the end of its banner, or at an error that has the words ``said so``.
    """
    own, terminal = pty.openpty()
    with os.fdopen(own, "rb", buffering=0) as screen:
        variables = {
            "TERM": "xterm",
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            **env,
        }
        words = [*command(), "serve", "-i", "server.ini", *arguments]
        with subprocess.Popen(words, cwd=folder, env=variables, stdout=terminal, stderr=terminal) as process:
            os.close(terminal)
            limit = threading.Timer(TIMEOUT, process.kill)
            limit.start()
            written = b""
            stopped = False
            try:
                while piece := screen.read(65536):
                    written += piece
                    # The banner ends with an empty line; where there is none, an error of the plugin is the last line.
                    if not stopped and re.search(rb"keys: \w+\r\n\r\n|said so", written):
                        process.send_signal(signal.SIGTERM)
                        stopped = True
            except OSError:
                pass  # that is how a terminal ends
            limit.cancel()
            assert 0 == process.wait(TIMEOUT)
    return written.decode().replace("\r\n", "\n")
