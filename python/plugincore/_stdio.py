"""What ``print`` writes to: text streams like Python's own, whose bytes go the way of the server's log."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from plugincore._core import write_standard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardStream(io.FileIO):
    """One of the process's standard streams; a write to it neither fails nor waits for a reader."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Take all of ``data``, whether or not it can be written."""
        return write_standard(self.fileno(), memoryview(data).tobytes())


def install() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``, which keep their encodings and write line by line."""
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        current = getattr(sys, name)
        if not isinstance(current, io.TextIOWrapper | None):
            continue  # the plugins' host was given streams of somebody else's
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
        vars(stream)["mode"] = "w"  # which a text stream's own attributes may hold, whatever its type's stub says
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
