"""The figures that plugins keep with the package ``prometheus_client``.

They are written in a thread, since a collector may take its time, and the package is made for that. Caveat: a collector
that never returns keeps its thread, and there are no new figures of the package from then on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Thread
from typing import Any


def collect(is_openmetrics: bool, done: Callable[[str], None], log: Callable[[str], None]) -> None:
    """Hand the text of the package's registry to `done`, now if it is empty because no plugin has imported the package.

    `done` is not called if the text cannot be written; `log` gets the reason.
    """
    package = sys.modules.get("prometheus_client")
    if package is None:
        done("")
        return
    work = (package, is_openmetrics, done, log)
    Thread(target=_write, args=work, name="plugincore prometheus_client", daemon=True).start()


def _write(package: Any, is_openmetrics: bool, done: Callable[[str], None], log: Callable[[str], None]) -> None:
    try:
        generate = package.openmetrics.exposition.generate_latest if is_openmetrics else package.generate_latest
        text = generate(package.REGISTRY).decode()
    except Exception as error:
        # A collector is code of a plugin, which may raise anything.
        log(f"the figures of prometheus_client cannot be written: {type(error).__name__}: {error}")
    else:
        done(text)
