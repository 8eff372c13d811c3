"""``python -m stress``: start a server, put it under stress, and say what came of it; the exit code is 1 for faults."""

from __future__ import annotations

import argparse
import asyncio
import platform
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from stress.run import run
from stress.server import Server
from stress.traffic import KINDS


def main() -> int:
    """Run the stress test; return the exit code."""
    names = [kind.kind() for kind in KINDS]
    parser = argparse.ArgumentParser(prog="stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long the traffic lasts (default: 600)")
    parser.add_argument("--seed", default="", help="what all decisions follow from (default: by chance)")
    parser.add_argument("--only", default="", help=f"kinds of traffic, with commas between: {', '.join(names)}")
    parser.add_argument("--command", default="", help="the server's command (default: plugincore beside this Python)")
    options = parser.parse_args()
    seed = options.seed or secrets.token_hex(4)
    only = {name for name in options.only.split(",") if name}
    if strange := only.difference(names):
        parser.error(f"no such kind of traffic: {', '.join(sorted(strange))}")
    command = shlex.split(options.command) or [str(Path(sys.executable).parent / "plugincore")]
    folder = Path(tempfile.mkdtemp(prefix="stress-"))
    print(f"stress: {options.seconds:.0f} s, SEED={seed}, client on Python {platform.python_version()}", flush=True)
    server = Server(folder, command)
    try:
        server.start()
        ledger = asyncio.run(run(server, seed, options.seconds, only))
    finally:
        server.end()
    print("\n".join(ledger.lines()))
    if ledger.faults:
        print(f"to repeat: make stress SECONDS={options.seconds:.0f} SEED={seed}; the server's log: {server.log}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
