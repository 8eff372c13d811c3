"""The whole way: ini file, plugin file, HTTP answer."""

from __future__ import annotations

from support.server import Launch

HELLO = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"hello": data.get("name", "world")}
"""


def test_a_file_in_the_folder_is_an_endpoint(launch: Launch) -> None:
    """A plugin file needs nothing more than being there."""
    server = launch({"hello": HELLO})
    answer = server.get("/hello?name=you")
    assert (200, "application/json; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    assert '{"hello": "you"}' == answer.text
    assert 0 == server.stop()
