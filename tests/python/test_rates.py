"""Rate limits: `rate`, `rate_per_key` and their bursts, in `[limits]` and for each plugin."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server
from support.wait import wait_until

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, "ok"
"""

PLUGINS = {name: PLUGIN.format(name=name.title()) for name in ("greet", "clock", "keyed")}

KEYED = "[plugin_parms]\nkeyed = auth_type=key\n[keys]\na = key=key-a&scopes=*\nb = key=key-b&scopes=*\n"


def statuses(server: Server, path: str, number: int, **options: object) -> Counter[int]:
    """Make requests one after the other on one connection; count the statuses."""
    with server.client() as client:
        return Counter(client.get(path, **options).status_code for _ in range(number))  # type: ignore[arg-type]


def of(address: str) -> dict[str, object]:
    """Return what a trusted proxy sends for a client."""
    return {"headers": {"X-Forwarded-For": address}}


def check_refusal(answer: httpx.Response, policy: str, quota: int, window: int, most: int) -> None:
    """Check everything that a client gets to know."""
    assert 429 == answer.status_code
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= most
    assert f'"{policy}";q={quota};w={window}' == answer.headers["ratelimit-policy"]
    assert f'"{policy}";r=0;t={wait}' == answer.headers["ratelimit"]
    assert {"error": f"too many requests; try again in {wait} s"} == without_ids(answer.json())
    assert answer.headers["x-request-id"]


def test_each_client_has_its_own_rate_over_all_plugins_together(launch: Launch) -> None:
    """Behind a trusted proxy, the client is the one that the proxy names; IPv6 clients are networks."""
    server = launch(PLUGINS, ini_more="[limits]\nrate = 5/h\n")
    assert Counter({200: 3}) == statuses(server, "/greet", 3)
    assert Counter({200: 2, 429: 2}) == statuses(server, "/clock", 4)
    check_refusal(server.get("/greet"), "client", 5, 3600, 720)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1"):
        assert Counter({200: 5, 429: 1}) == statuses(server, "/greet", 6, **of(address)), address
    assert Counter({429: 2}) == statuses(server, "/greet", 2, **of("2001:db8:0:1:ffff::2"))
    assert Counter({200: 1}) == statuses(server, "/greet", 1, **of("2001:db8:0:2::1"))


def test_files_and_the_servers_own_endpoints_count_and_health_does_not(launch: Launch, tmp_path: Path) -> None:
    """Nor does OPTIONS, nor what is not there: these cost nothing."""
    (tmp_path / "page.html").write_text("page")
    server = launch(PLUGINS, ini_more=f"[limits]\nrate = 2/h\n[file_server]\ndocuments = docs:{tmp_path}\n")
    for path in ("/plugins", "/docs/page.html", "/-/api/status"):
        own = of({"/plugins": "127.0.0.2", "/docs/page.html": "127.0.0.3"}.get(path, "127.0.0.4"))
        assert Counter({200: 2, 429: 1}) == statuses(server, path, 3, **own), path
    assert Counter({200: 9}) == statuses(server, "/-/healthy", 9)
    assert Counter({404: 9}) == statuses(server, "/nowhere", 9)
    assert {204} == {server.request("OPTIONS", "/greet").status_code for _ in range(9)}
    assert {405} == {server.request("DELETE", "/greet").status_code for _ in range(9)}
    assert Counter({200: 2, 429: 1}) == statuses(server, "/greet", 3)


def test_the_burst_is_what_may_come_at_once(launch: Launch) -> None:
    """It is what the rate allows in one of its units, unless it is set."""
    server = launch(PLUGINS, ini_more="[limits]\nrate = 1/h\nrate_burst = 3\n[plugin clock]\nrate = 4/h\n")
    assert Counter({200: 3, 429: 2}) == statuses(server, "/greet", 5)
    check_refusal(server.get("/greet"), "client", 1, 3600, 3600)
    assert Counter({200: 3, 429: 2}) == statuses(server, "/clock", 5)


def test_what_was_used_comes_back(launch: Launch) -> None:
    """After the time that `Retry-After` names, the next request is answered."""
    server = launch(PLUGINS, ini_more="[limits]\nrate = 2/s\nrate_burst = 1\n")
    assert 200 == server.get("/greet").status_code
    begun = time.monotonic()
    wait_until(lambda: server.get("/greet").status_code == 200)
    assert time.monotonic() - begun > 0.3


def test_the_value_of_a_plugin_counts_alone_for_its_requests(launch: Launch) -> None:
    """It may be higher, lower or `none`, and its requests take nothing of what the others have."""
    more = "[limits]\nrate = 2/h\n[plugin clock]\nrate = 4/h\n[plugin keyed]\nrate = none\n"
    plugins = PLUGINS | {"few": PLUGIN.format(name="Few")}
    server = launch(plugins, ini_more=more + "[plugin few]\nrate_burst = 1\n")
    assert Counter({200: 9}) == statuses(server, "/keyed", 9)
    assert Counter({200: 4, 429: 1}) == statuses(server, "/clock", 5)
    assert Counter({200: 1, 429: 1}) == statuses(server, "/few", 2)
    assert Counter({200: 2, 429: 1}) == statuses(server, "/greet", 3)


def test_each_key_has_its_own_rate(launch: Launch) -> None:
    """Wherever its requests come from; requests without a key, or with a wrong one, do not count."""
    server = launch(PLUGINS, ini_more=KEYED + "[limits]\nrate_per_key = 3/h\n[auth]\napikey = k\n")
    a, b = ({"X-Custom-Auth": f"key-{name}"} for name in "ab")
    assert Counter({403: 5}) == statuses(server, "/keyed", 5)
    assert Counter({403: 5}) == statuses(server, "/keyed", 5, headers={"X-Custom-Auth": "wrong"})
    assert Counter({200: 3, 429: 1}) == statuses(server, "/keyed", 4, headers=a)
    assert Counter({429: 1}) == statuses(server, "/keyed", 1, headers=a | {"X-Forwarded-For": "192.0.2.1"})
    assert 429 == server.post("/keyed", json={"apikey": "key-a"}).status_code
    check_refusal(server.get("/keyed", headers=a), "key", 3, 3600, 1200)
    assert Counter({200: 3, 429: 1}) == statuses(server, "/keyed", 4, headers=b)
    assert Counter({200: 3, 429: 1}) == statuses(server, "/plugins", 4, headers={"X-Custom-Auth": "k"})
    assert Counter({200: 9}) == statuses(server, "/greet", 9, headers=a)


def test_the_value_of_a_plugin_for_keys_counts_alone_too(launch: Launch) -> None:
    """With a burst of its own."""
    more = "[limits]\nrate_per_key = 1/h\n[plugin keyed]\nrate_per_key = 9/h\nrate_per_key_burst = 2\n"
    server = launch(PLUGINS, ini_more=KEYED.replace("keyed =", "clock = auth_type=key\nkeyed =") + more)
    key = {"X-Custom-Auth": "key-a"}
    assert Counter({200: 2, 429: 1}) == statuses(server, "/keyed", 3, headers=key)
    assert Counter({200: 1, 429: 1}) == statuses(server, "/clock", 2, headers=key)


def test_what_was_used_outlives_a_reload_and_a_new_rate_counts_at_once(launch: Launch) -> None:
    """So a client that has reached its limit does not gain by a reload."""
    server = launch(PLUGINS, ini_more="[limits]\nrate = 3/h\n")
    assert Counter({200: 3, 429: 1}) == statuses(server, "/greet", 4)
    ini = server.folder / "server.ini"

    def reload(rate: str) -> None:
        ini.write_text(re.sub("rate = .*", f"rate = {rate}", ini.read_text()))
        assert 200 == server.get("/reload/all", headers={"X-Forwarded-For": "127.0.0.9"}).status_code

    reload("3/h")
    assert Counter({429: 2}) == statuses(server, "/greet", 2)
    reload("none")
    assert Counter({200: 9}) == statuses(server, "/greet", 9)


@pytest.mark.parametrize("section", ["[limits]", "[plugin greet]"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rate = 10", "rate: must be a rate"),
        ("rate = 10/d", "rate: must be a rate"),
        ("rate_per_key = 0/s", "rate_per_key: must be a rate"),
        ("rate_burst = 0", "rate_burst: must be a whole number"),
        ("rate_per_key_burst = many", "rate_per_key_burst: must be a whole number"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_place(launch: Launch, section: str, line: str, message: str) -> None:
    """The start is refused with code 2."""
    server = launch(PLUGINS, ini_more=f"{section}\n{line}\n", ready=False)
    assert 2 == server.wait()
    assert f"server.ini:9: {section} {message}" in server.log
