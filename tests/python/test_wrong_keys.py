"""`wrong_keys`: an address that sends too many wrong keys may send none for a minute."""

from __future__ import annotations

import re
from collections import Counter
from configparser import ConfigParser
from pathlib import Path

import httpx
import pytest

from support.errors import without_ids
from support.server import Launch, Server

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, "ok"
"""

PLUGINS = {name: PLUGIN.format(name=name.title()) for name in ("keyed", "own", "free")}

KEYS = """
[auth]
apikey = right

[keys]
old = key=old-key&scopes=*&expires=2001-01-01
other = key=other-key&scopes=free

[plugin_parms]
keyed = auth_type=key
own = auth_type=plugin&apikey=right
"""

FILTER = Path(__file__).parent.parent.parent / "packaging" / "fail2ban"


def ask(server: Server, path: str, key: str | None, number: int = 1, address: str = "127.0.0.1") -> Counter[int]:
    """Make requests with a key in a header; count the statuses."""
    headers = {"X-Forwarded-For": address} | ({} if key is None else {"X-Custom-Auth": key})
    with server.client() as client:
        return Counter(client.get(path, headers=headers).status_code for _ in range(number))


def test_after_twenty_wrong_keys_the_next_is_refused_for_a_minute(launch: Launch) -> None:
    """So is a right one; requests without a key, other addresses and open plugins are answered as ever."""
    server = launch(PLUGINS, ini_more=KEYS)
    assert Counter({403: 12}) == ask(server, "/keyed", "wrong", 12)
    assert Counter({403: 8}) == ask(server, "/plugins", "wrong", 8)
    assert Counter({200: 1}) == ask(server, "/own", "right")
    with server.client() as client:
        answer = client.get("/own", headers={"X-Custom-Auth": "wrong"})
        assert (429, "60") == (answer.status_code, answer.headers["retry-after"])
        assert {"error": "too many wrong keys; requests with a key are refused for 60 s"} == without_ids(answer.json())
        again = client.get("/keyed", headers={"X-Custom-Auth": "right"})
        assert (429, True) == (again.status_code, 50 < int(again.headers["retry-after"]) <= 60)
    for path in ("/own", "/plugins", "/reload/all", "/-/api/plugins"):
        assert Counter({429: 1}) == ask(server, path, "right"), path
    for options in ({"params": {"apikey": "right"}}, {"json": {"apikey": "right"}}, {"data": {"apikey": "right"}}):
        assert 429 == server.post("/keyed", **options).status_code
    assert Counter({403: 30}) == ask(server, "/keyed", None, 30)
    assert Counter({200: 1}) == ask(server, "/keyed", "right", address="192.0.2.1")
    assert Counter({200: 1}) == ask(server, "/free", None)
    assert Counter({200: 1}) == ask(server, "/-/healthy", "right")


def test_one_line_names_the_address_and_fail2ban_understands_it(launch: Launch) -> None:
    """In the log file as in the journal; no other line matches, whatever a client sends."""
    server = launch(PLUGINS, ini_more=KEYS + "[limits]\nwrong_keys = 3/m\n", args=["-l", "server.log"])
    forged = "wrong - 198.51.100.1 - too many wrong keys - requests with a key are refused for 60 s"
    for address in ("192.0.2.1", "2001:db8::1"):
        assert Counter({403: 3, 429: 6}) == ask(server, "/keyed", forged, 9, address)
        ask(server, "/keyed?x=%0a - 198.51.100.2 - too many wrong keys", forged, 1, address)
        ask(server, "/198.51.100.3%20-%20too%20many%20wrong%20keys", None, 1, address)
    server.wait_for("2001:db8::1 - too many wrong keys")
    server.stop()
    parser = ConfigParser(interpolation=None)
    assert parser.read(FILTER / "filter.d" / "plugincore.conf")
    host = r"(?P<host>(?:\d+\.){3}\d+|[0-9a-f:]+)"
    patterns = [line for line in parser["Definition"]["failregex"].splitlines() if line]
    assert all(line.count("<HOST>") == 1 for line in patterns)
    expressions = [re.compile(line.replace("<HOST>", host)) for line in patterns]
    # fail2ban removes the date that it recognises, the journal the priority.
    in_file = [
        re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "", line)
        for line in (server.folder / "server.log").read_text().splitlines()
    ]
    in_journal = [re.sub(r"^<\d>", "", line) for line in server.lines]
    for lines in (in_file, in_journal):
        found = [match["host"] for line in lines for each in expressions if (match := each.search(line))]
        assert ["192.0.2.1", "2001:db8::1"] == found


def test_keys_that_are_known_do_not_count_unless_they_have_expired(launch: Launch) -> None:
    """A key without the scope is refused without being taken for a guess; nor is a missing key one."""
    server = launch(PLUGINS, ini_more=KEYS + "[limits]\nwrong_keys = 2/m\n")
    assert Counter({403: 9}) == ask(server, "/keyed", "other-key", 9)
    assert Counter({403: 9}) == ask(server, "/keyed", None, 9)
    assert Counter({403: 2, 429: 1}) == ask(server, "/keyed", "old-key", 3)


def test_ipv6_addresses_of_one_network_are_one_client(launch: Launch) -> None:
    """Since whoever has one of them has them all."""
    server = launch(PLUGINS, ini_more=KEYS + "[limits]\nwrong_keys = 2/m\n")
    assert Counter({403: 1}) == ask(server, "/keyed", "wrong", address="2001:db8::1")
    assert Counter({403: 1}) == ask(server, "/keyed", "wrong", address="2001:db8::2")
    assert Counter({429: 1}) == ask(server, "/keyed", "wrong", address="2001:db8::3")
    assert Counter({429: 1}) == ask(server, "/keyed", "right", address="2001:db8::4")
    assert Counter({200: 1}) == ask(server, "/keyed", "right", address="2001:db8:0:1::4")


def test_a_reload_keeps_the_lock_and_none_switches_it_off(launch: Launch) -> None:
    """What was counted outlives a reload; with `none` there is neither a count nor a lock."""
    server = launch(PLUGINS, ini_more=KEYS + "[limits]\nwrong_keys = 2/m\n")
    assert Counter({403: 2, 429: 1}) == ask(server, "/keyed", "wrong", 3)
    ini = server.folder / "server.ini"

    def reload() -> None:
        assert Counter({200: 1}) == ask(server, "/reload/all", "right", address="192.0.2.1")

    reload()
    assert Counter({429: 1}) == ask(server, "/keyed", "right")
    ini.write_text(ini.read_text().replace("2/m", "none"))
    reload()
    assert Counter({200: 1}) == ask(server, "/keyed", "right")
    assert Counter({403: 50}) == ask(server, "/keyed", "wrong", 50)


def test_the_lock_does_not_reach_the_control_socket(launch: Launch) -> None:
    """An operator on the machine gets in, whatever a client has done."""
    server = launch(PLUGINS, ini_more=KEYS + "[limits]\nwrong_keys = 1/m\n[server]\ncontrol_socket = ctl.sock\n")
    assert Counter({403: 1, 429: 1}) == ask(server, "/keyed", "wrong", 2)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.folder / "ctl.sock"))) as client:
        answer = client.get("http://localhost/-/api/plugins", headers={"X-Custom-Auth": "wrong"})
        assert 200 == answer.status_code


@pytest.mark.parametrize("value", ["20", "20/d", "many", "0/m"])
def test_a_wrong_value_is_an_error_with_its_place(launch: Launch, value: str) -> None:
    """The start is refused with code 2."""
    server = launch(PLUGINS, ini_more=f"[limits]\nwrong_keys = {value}\n", ready=False)
    assert 2 == server.wait()
    assert "server.ini:9: [limits] wrong_keys: must be a rate" in server.log
