"""What is easily got wrong in an ini file: it is reported with its line, and nothing is open that was to be closed."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from support.plugins import INI, prepare
from support.server import Launch, Server, command

OPEN = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        return 200, {name: repr(self.config[name].get("enabled")) for name in ("SSL", "cors") if name in self.config}
"""


def refusal(folder: Path, ini: str, env: Mapping[str, str] | None = None) -> str:
    """Start with an ini file that cannot be used; return its output."""
    prepare(folder, {"hello": OPEN}, ini)
    with Server([*command(), "-i", "server.ini"], folder, env or {}) as server:
        assert 2 == server.wait(), server.log
    assert "Traceback" not in server.log
    assert "Serving" not in server.log
    return server.log


def certificate(folder: Path) -> str:
    """Write a certificate; return the lines that name it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    return "certfile = cert.pem\nkeyfile = key.pem\n"


@pytest.mark.parametrize("word", ["bool:True", "bool:yes", "bool:ON", "Enabled", "int:1", "bool: true "])
def test_tls_is_on_whatever_way_yes_is_said(launch: Launch, tmp_path: Path, word: str) -> None:
    """In any case and with any prefix; plugins find the same as the server."""
    files = certificate(tmp_path / "here")
    server = launch({"hello": OPEN}, ini_more=f"[SSL]\nenabled = {word}\n{files}", folder=tmp_path / "here")
    with server.client(verify=False) as client:
        answer = client.get("/hello").json()
    assert server.base_url.startswith("https")
    assert not word.startswith("bool") or answer == {"SSL": "True"}


@pytest.mark.parametrize(
    "word", ["bool:tru", "bool:yess", "bool:true ; TLS", "float:1", "list:true", "2", "${ENV:NOT_SET}"]
)
@pytest.mark.parametrize("switch", ["[SSL]\nenabled", "[cors]\nenabled", "[compat]\nlegacy_status"])
def test_a_word_that_is_neither_yes_nor_no_is_refused(tmp_path: Path, switch: str, word: str) -> None:
    """A switch with an unclear value must not be taken for a no."""
    told = refusal(tmp_path, f"{INI}{switch} = {word}\n")
    section, key = switch.split("\n")
    assert re.search(rf"^server\.ini:8: {re.escape(section)} {key}: .*\(.+\)$", told, re.MULTILINE), told
    assert ("NOT_SET is not set" in told) == ("ENV" in word)
    assert ("; behind a value is part of it" in told) == (";" in word)


@pytest.mark.parametrize("word", ["bool:False", "bool:NO", "bool:off", "Disabled", "int:0", "bool:", ""])
def test_a_switch_is_off_whatever_way_no_is_said(launch: Launch, word: str) -> None:
    """Nothing at all is a no, as it was."""
    server = launch(
        {"hello": OPEN}, ini_more=f"[ssl]\nenabled = {word}\n[cors]\nenabled={word}\norigin_url=http://a.b\n"
    )
    answer = server.get("/hello", headers={"Origin": "http://a.b"})
    assert 200 == answer.status_code
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("word", ["bool:yes", "bool:True", "YES"])
def test_cors_is_on_whatever_way_yes_is_said(launch: Launch, word: str) -> None:
    """The same words for each switch."""
    server = launch({"hello": OPEN}, ini_more=f"[cors]\nenabled = {word}\norigin_url = http://a.b\n")
    answer = server.get("/hello", headers={"Origin": "http://a.b"})
    assert "http://a.b" == answer.headers["access-control-allow-origin"]


def test_values_of_plugins_keep_the_rule_of_pluginserver(launch: Launch) -> None:
    """What is not the server's is left as it was read."""
    source = OPEN.replace(
        'self.config[name].get("enabled")) for name in ("SSL", "cors") if name in self.config',
        'self.config.shop[name]) for name in ("a", "b", "c")',
    )
    server = launch({"hello": source}, ini_more="[shop]\na = bool:True\nb = bool:on\nc = yes\n")
    assert {"a": "False", "b": "True", "c": "'yes'"} == server.get("/hello").json()


def test_a_certificate_without_enabled_is_warned_of(launch: Launch, tmp_path: Path) -> None:
    """Plain HTTP is served, and a warning makes that clear."""
    more = "[ssl]\n" + certificate(tmp_path / "here")
    server = launch({"hello": OPEN}, ini_more=more, folder=tmp_path / "here")
    server.wait_for(r"WARN - .*server\.ini:9: \[ssl\] certfile: is not used, .* plain HTTP \(add enabled=bool:true\)")


def test_a_setting_from_a_variable_without_a_value_is_refused(tmp_path: Path) -> None:
    """A container's environment that lost a value switches nothing off and takes no key away."""
    more = "[SSL]\nenabled = bool:true\n[auth]\napikey = k\n"
    told = refusal(tmp_path, INI + more, {"PLUGINCORE_SSL_ENABLED": "", "PLUGINCORE_AUTH_APIKEY": ""})
    for name in ("PLUGINCORE_SSL_ENABLED", "PLUGINCORE_AUTH_APIKEY"):
        assert re.search(rf"^environment variable {name}: .*the variable is set, but empty", told, re.MULTILINE), told


@pytest.mark.parametrize(
    ("key", "env"),
    [
        ("apikey = ${ENV:PLUGINCORE_KEY}", {}),
        ("apikey = prefix-${ENV:PLUGINCORE_KEY}", {}),
        ("apikey = ${keys:main}\n[keys]\nmain = ${ENV:PLUGINCORE_KEY}", {}),
        ("apikey = ${ENV:PLUGINCORE_KEY}", {"PLUGINCORE_KEY": ""}),
    ],
)
def test_a_key_from_a_variable_that_is_not_set_is_refused(tmp_path: Path, key: str, env: dict[str, str]) -> None:
    """The start is refused, and the variable named, in place of a server that asks for no key."""
    told = refusal(tmp_path, f"{INI}[auth]\n{key}\n", env)
    state = "is empty" if env else "is not set"
    assert f"server.ini:8: [auth] apikey: the environment variable PLUGINCORE_KEY {state}" in told
    assert "Auth is global" not in told


def test_the_variable_is_named_wherever_a_value_lacks_it(tmp_path: Path) -> None:
    """Also where the value is wrong without it, by a type or by what the key asks for."""
    told = refusal(
        tmp_path, INI.replace("port = 0", "port = int:${ENV:NO_PORT}") + "[server]\nbody_limit=${ENV:NO_LIMIT}"
    )
    assert re.search(r"server\.ini:3: \[network\] port: .*; the environment variable NO_PORT is not set", told), told
    assert re.search(r"server\.ini:8: \[server\] body_limit: .*; the environment variable NO_LIMIT is not set", told), (
        told
    )


@pytest.mark.parametrize("section", ["auht", "atuh", "uath", "SLS", "cosr", "ptahs", "netwrok", "plugin_params"])
def test_swapped_letters_in_a_sections_name_are_warned_of(launch: Launch, section: str) -> None:
    """Two letters that changed places are one slip, however short the name."""
    server = launch({"hello": OPEN}, ini_more=f"[{section}]\nx = y\n")
    server.wait_for(rf"WARN - .*server\.ini:8: \[{section}\]: the server does not read it; is \[\w+\] meant\?")


def test_a_value_that_does_not_fit_is_shown_with_what_may_be_wrong_with_it(tmp_path: Path) -> None:
    """A comment behind a value is the usual reason."""
    told = refusal(tmp_path, INI.replace("port = 0", "port = 80 # http") + "[server]\nbody_limit = 2MiB   ; two\n")
    assert (
        'body_limit: must be a size from 1 bytes to 4 GiB, not "2MiB   ; two" (; behind a value is part of it' in told
    )
    assert 'port: must be a number from 0 to 65535, not "80 # http" (# behind a value is part of it' in told


def test_a_key_that_does_not_fit_is_not_shown(tmp_path: Path) -> None:
    """Messages end up in logs."""
    told = refusal(tmp_path, INI + "[auth]\napikey = list:very secret\n")
    assert "[auth] apikey: must be text (" in told
    assert "secret" not in told


@pytest.mark.parametrize("line", ["[network", "[network ; the socket"])
@pytest.mark.parametrize("before", ["", "[paths]\nplugins = plugins\n"])
def test_a_bracket_that_is_not_closed_is_told(tmp_path: Path, before: str, line: str) -> None:
    """At the head of the file as well as behind another section."""
    told = refusal(tmp_path, f"{before}{line}\nport = 0\n")
    where = 1 + before.count("\n")
    assert re.search(rf"^server\.ini:{where}: ] is missing \(write \[network\]\)$", told, re.MULTILINE), told


def test_a_port_in_use_can_be_changed_without_an_ini_file(tmp_path: Path) -> None:
    """Without a file, the error names the variable."""
    prepare(tmp_path, {"hello": OPEN}, INI)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for options in ([], ["-i", "server.ini"]):
            with Server([*command(), *options], tmp_path, {"PLUGINCORE_NETWORK_PORT": port}) as server:
                assert 1 == server.wait()
            named = re.search(r"change \[network\] port, or set PLUGINCORE_NETWORK_PORT=(\d+)", server.log)
            assert named, server.log
            assert named[1] != port
