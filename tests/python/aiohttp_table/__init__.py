"""What is evaluated on our server and on aiohttp's own: every public attribute of the objects that handlers meet.

``REQUESTS``, ``RESPONSES`` and ``SOCKETS`` are tables of Python code. A line of the first gives a value, each text of
the others an answer. ``DIFFERENCES`` and ``ANSWERS`` list those that are meant to differ, with the reason.
"""

from aiohttp_table.requests import DIFFERENCES, REQUESTS, SHAPES
from aiohttp_table.responses import ANSWERS, RESPONSES, SHOW
from aiohttp_table.sockets import SOCKETS

__all__ = ["ANSWERS", "DIFFERENCES", "REQUESTS", "RESPONSES", "SHAPES", "SHOW", "SOCKETS"]
