"""Each answer is of one generation as a whole: the rules that a request was judged by, and the plugin that it got."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from support.plugins import INI
from support.server import Launch, Server
from support.wire import receive_all

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Whole(BasePlugin):
    http_methods = ("GET", "POST")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.version = kwargs["version"]

    async def request_handler(self, **data):
        return 200, {"version": self.version}
"""

MORE = """
[cors]
enabled = true
origin_url = http://{parity}.test

[plugin_parms]
whole = version={version}
"""


def more(version: int) -> str:
    """Return the rules and the parameters of a version: web pages of another origin for odd ones."""
    return MORE.format(version=version, parity="odd" if version % 2 else "even")


def reload(server: Server, version: int) -> None:
    """Have the ini file say another version in two places, and apply it."""
    (server.folder / "server.ini").write_text(INI + more(version))
    assert 200 == server.post("/reload/all").status_code


def test_rules_and_plugin_of_an_answer_belong_together(launch: Launch) -> None:
    """Under load, while both are changed in one reload after the other."""
    server = launch({"whole": PLUGIN}, ini_more=more(0))
    end = threading.Event()

    def ask() -> set[tuple[int, int, bool]]:
        seen = set()
        with server.client() as client:
            while not end.is_set():
                response = client.get("/whole", headers={"Origin": "http://odd.test"})
                allowed = response.headers.get("access-control-allow-origin") == "http://odd.test"
                seen.add((response.status_code, int(response.json()["version"]), allowed))
        return seen

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        for version in range(1, 40):
            reload(server, version)
        end.set()
        seen = set().union(*(one.result() for one in asking))
    assert {200} == {status for status, _, _ in seen}
    assert not [one for one in seen if (one[1] % 2 == 1) != one[2]]
    assert 20 <= len(seen)


def test_a_body_that_ends_after_a_reload_is_answered_by_the_new_generation(launch: Launch) -> None:
    """Its rules and its plugin."""
    server = launch({"whole": PLUGIN}, ini_more=more(0))
    with server.connect() as connection:
        connection.sendall(
            b"POST /whole HTTP/1.1\r\nHost: x\r\nOrigin: http://odd.test\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{"
        )
        reload(server, 1)
        connection.sendall(b'"a": 1}')
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'{"version": "1"}' in answer
    assert b"access-control-allow-origin: http://odd.test" in answer
