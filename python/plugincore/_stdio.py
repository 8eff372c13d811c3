"""Replaces ``sys.stdout`` and ``sys.stderr`` with streams that write through the output of the server's log."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from plugincore._core import write_standard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardStream(io.FileIO):
    """A standard stream of the process; a write neither fails nor waits for a reader."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Accept all of ``data``, even if it cannot be written."""
        return write_standard(self.fileno(), memoryview(data).tobytes())


def install() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``; they keep their encodings and are line-buffered."""
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        current = getattr(sys, name)
        if not isinstance(current, io.TextIOWrapper | None):
            continue  # another program has replaced the stream
        encoding = "utf-8"
        write_through = False
        if current is not None:
            encoding, errors, write_through = current.encoding, current.errors or errors, current.write_through
            with contextlib.suppress(OSError):
                current.flush()
        raw = StandardStream(number, "wb", closefd=False)
        raw.name = f"<{name}>"
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding, errors, newline="\n", line_buffering=True, write_through=write_through
        )
        vars(stream)["mode"] = "w"  # in this way, because the type stub does not allow an assignment
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
