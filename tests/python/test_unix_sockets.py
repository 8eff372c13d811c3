"""Unix sockets for clients: their files, whom they admit, and what plugins and policies see of those who use them."""

from __future__ import annotations

import grp
import os
import re
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

from support.plugins import prepare
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until

SEES = """
    import os
    from plugincore.baseplugin import BasePlugin

    class Sees(BasePlugin):
        def request_handler(self, request, client_ip, **data):
            transport = request.transport
            return 200, {
                "pid": os.getpid(),
                "client_ip": client_ip,
                "remote": request.remote,
                "host": request.host,
                "url": str(request.url),
                "secure": request.secure,
                "peername": transport.get_extra_info("peername"),
                "sockname": transport.get_extra_info("sockname"),
            }
"""


def ini(listen: str, more: str = "", sections: str = "") -> str:
    """Return an ini file for these addresses."""
    return f"[network]\nlisten = {listen}\n{more}\n[paths]\nplugins = plugins\n{sections}"


def path_of(server: Server, name: str = "x.sock") -> Path:
    """Return where a socket of a server is."""
    return server.folder / name


def started(launch: Launch, text: str, **options: object) -> Server:
    """Start a server and wait until it serves at a socket; it may have no other address."""
    server = launch({"sees": SEES}, ini=text, ready=False, **options)
    server.wait_for("Serving .*/sees")
    return server


def client(path: Path) -> httpx.Client:
    """Return a client that connects to a Unix socket."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://app.example", timeout=TIMEOUT)


def seen(path: Path, headers: dict[str, str] | None = None) -> dict[str, object]:
    """Return what the plugin sees of a request by a Unix socket."""
    with client(path) as asking:
        answer = asking.get("/sees", headers=headers)
        assert 200 == answer.status_code, answer.text
        return dict(answer.json())


def refusal(folder: Path, text: str, code: int) -> str:
    """Start a server that cannot be; return its output."""
    prepare(folder, {"sees": SEES}, text)
    with Server([*command(), "-i", "server.ini"], folder, {}) as server:
        assert code == server.wait(), server.log
    return server.log


@pytest.mark.parametrize("threads", [1, 3])
def test_a_unix_socket_is_served_beside_addresses(launch: Launch, threads: int) -> None:
    """A request by it has no address; everything else is as by TCP."""
    more = f"[server]\nio_threads = {threads}\n"
    server = launch({"sees": SEES}, ini=ini("127.0.0.1:0 unix:x.sock", sections=more))
    path = path_of(server)
    server.wait_for(f"Server started on unix:{path}$")
    server.wait_for(f"Serving http://unix:{path}:/sees ")
    assert [f"127.0.0.1:{server.port}", f"unix:{path}"] == server.get("/-/api/status").json()["listening"]
    for _ in range(10):
        found = seen(path)
        assert {"unix", ""} == {found["client_ip"], found["remote"], found["peername"]}
    assert (str(path), "app.example", False) == (found["sockname"], found["host"], found["secure"])
    assert "http://app.example/sees" == found["url"]
    assert "127.0.0.1" == server.get("/sees").json()["client_ip"]
    assert 0 == server.stop()
    assert not path.exists()


def test_a_request_without_a_host_is_for_localhost(launch: Launch) -> None:
    """A Unix socket has no address that could stand for it."""
    server = started(launch, ini("unix:x.sock"))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path_of(server)))
        connection.sendall(b"GET /sees HTTP/1.0\r\n\r\n")
        answer = b""
        while more := connection.recv(4096):
            answer += more
    assert b'"host": "localhost"' in answer


def test_connections_are_plain_where_tls_is_on(launch: Launch, tmp_path: Path) -> None:
    """Addresses have TLS, the socket has not, and the banner says so."""
    trustme = pytest.importorskip("trustme")
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = f"[SSL]\nenabled = yes\ncertfile = {tmp_path / 'cert.pem'}\nkeyfile = {tmp_path / 'key.pem'}\n"
    server = launch({"sees": SEES}, ini=ini("127.0.0.1:0 unix:x.sock", sections=tls))
    server.wait_for("Serving https://127.0.0.1:")
    server.wait_for("Serving http://unix:")
    assert seen(path_of(server))["secure"] is False
    with server.client(verify=False) as asking:
        assert asking.get("/sees").json()["secure"] is True


def test_mode_and_group_of_the_file(launch: Launch) -> None:
    """Group and owner may connect by default; a new mode counts after a restart, and the log says so."""
    server = started(launch, ini("unix:x.sock"))
    assert 0o660 == stat.S_IMODE(path_of(server).stat().st_mode)
    groups = grp.getgrall() if os.getuid() == 0 else [grp.getgrgid(os.getgid())]
    group = groups[-1]
    server = started(launch, ini("127.0.0.1:0 unix:x.sock", f"unix_mode = 0606\nunix_group = {group.gr_name}"))
    found = path_of(server).stat()
    assert (0o606, group.gr_gid) == (stat.S_IMODE(found.st_mode), found.st_gid)
    (server.folder / "server.ini").write_text(
        ini("127.0.0.1:0 unix:x.sock", f"unix_mode = 600\nunix_group = {os.getgid()}")
    )
    server.send(signal.SIGHUP)
    server.wait_for(r"\[network\] unix_mode has changed; the new value counts after a restart")
    server.wait_for(r"Reloaded all")
    server.send(signal.SIGUSR1)
    wait_until(lambda: 0o600 == stat.S_IMODE(path_of(server).stat().st_mode))
    assert os.getgid() == path_of(server).stat().st_gid


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("unix_group = no-such-group", 'unix_group: there is no group "no-such-group"'),
        ("unix_mode = 0999", "unix_mode: must be an octal mode from 0 to 0777"),
        ("unix_mode = rw", "unix_mode: must be an octal mode from 0 to 0777"),
    ],
)
def test_a_wrong_mode_or_group_is_refused_with_its_line(tmp_path: Path, more: str, expected: str) -> None:
    """Like every wrong value."""
    assert f"server.ini:3: [network] {expected}" in refusal(tmp_path, ini("unix:x.sock", more), 2)
    assert not (tmp_path / "x.sock").exists()


def test_the_socket_of_a_killed_server_is_replaced(launch: Launch, tmp_path: Path) -> None:
    """That of a running one, and a file that is no socket, is not."""
    folder = tmp_path / "here"
    server = started(launch, ini("unix:x.sock"), folder=folder)
    taken = ini(f"unix:{folder}/x.sock")
    assert f"cannot listen on unix:{folder}/x.sock: a running server listens there" in refusal(tmp_path, taken, 1)
    assert seen(folder / "x.sock")["pid"] == server.pid
    server.process.kill()
    server.wait()
    assert (folder / "x.sock").exists()
    again = started(launch, ini("unix:x.sock"), folder=folder)
    assert seen(folder / "x.sock")["pid"] == again.pid
    (tmp_path / "notes").write_text("mine")
    notes = ini(f"unix:{tmp_path}/notes")
    assert "there is a file that is no socket" in refusal(tmp_path / "other", notes, 1)
    assert "mine" == (tmp_path / "notes").read_text()


def test_the_socket_of_another_server_is_not_removed_at_the_end(launch: Launch, tmp_path: Path) -> None:
    """Somebody has removed the file, and another server listens there."""
    first = started(launch, ini("unix:x.sock"), folder=tmp_path / "first")
    path = path_of(first)
    path.unlink()
    second = started(launch, ini(f"unix:{path}"))
    assert 0 == first.stop()
    assert seen(path)["pid"] == second.pid


def test_a_reload_opens_and_closes_sockets(launch: Launch) -> None:
    """A connection goes on; one that cannot be had refuses the whole reload."""
    server = launch({"sees": SEES}, ini=ini("127.0.0.1:0 unix:x.sock"))
    path, other = path_of(server), path_of(server, "y.sock")
    with client(path) as kept:
        assert 200 == kept.get("/sees").status_code
        (server.folder / "server.ini").write_text(ini("127.0.0.1:0 unix:y.sock"))
        assert 200 == server.get("/reload/all").status_code
        assert seen(other)["sockname"] == str(other)
        wait_until(lambda: not path.exists())
        assert 200 == kept.get("/sees").status_code
    path.write_text("mine")
    (server.folder / "server.ini").write_text(ini("127.0.0.1:0 127.0.0.2:0 unix:x.sock"))
    answer = server.get("/reload/all")
    assert 500 == answer.status_code
    expected = f"server.ini:2: [network] listen: cannot listen on unix:{path}: there is a file that is no socket"
    assert answer.json()["reasons"][0].startswith(expected)
    assert seen(other)["pid"] == server.pid
    assert "mine" == path.read_text()


def test_clients_do_not_notice_a_restart_in_place(launch: Launch) -> None:
    """The file stays, and who connects meanwhile waits."""
    server = started(launch, ini("unix:x.sock"))
    path = path_of(server)
    before = path.stat().st_ino
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    for _ in range(20):
        assert seen(path)["pid"] == server.pid
    server.wait_for("Server started on unix:", since)
    assert before == path.stat().st_ino
    assert 0 == server.stop()
    assert not path.exists()


def test_an_upgrade_hands_the_socket_over(launch: Launch) -> None:
    """The file stays until the new process ends; a socket that this one serves no more is removed."""
    server = started(launch, ini("unix:x.sock unix:old.sock"))
    path = path_of(server)
    (server.folder / "server.ini").write_text(ini("unix:x.sock unix:new.sock"))
    since = len(server.lines)
    server.send(signal.SIGUSR2)
    pid = int(server.wait_for(r"upgrade: process \d+ serves", since).partition("process ")[2].split()[0])
    try:
        assert 0 == server.process.wait(TIMEOUT)
        assert {pid} == {seen(path)["pid"], seen(path_of(server, "new.sock"))["pid"]}
        assert not path_of(server, "old.sock").exists()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not path.exists())


def test_an_upgrade_that_fails_leaves_the_socket(launch: Launch) -> None:
    """The old process serves on by it; what the new one had opened is gone with it."""
    server = started(launch, ini("unix:x.sock"))
    path = path_of(server)
    (server.folder / "server.ini").write_text(ini("unix:x.sock unix:new.sock"))
    (server.plugins / "sees.py").write_text("def broken(:")
    server.send(signal.SIGUSR2)
    server.wait_for("plugin sees is missing in the new process")
    wait_until(lambda: not path_of(server, "new.sock").exists())
    assert seen(path)["pid"] == server.pid
    assert 0 == server.stop()
    assert not path.exists()


@pytest.mark.parametrize(("proxies", "expected"), [("unix", "203.0.113.9"), ("127.0.0.0/8", "unix"), ("none", "unix")])
def test_a_proxy_is_believed_only_if_the_file_says_so(launch: Launch, proxies: str, expected: str) -> None:
    """Whoever may open the socket could choose an address otherwise."""
    server = started(launch, ini("unix:x.sock", sections=f"[server]\ntrusted_proxies = {proxies}\n"))
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    found = seen(path_of(server), headers)
    assert (expected, expected != "unix") == (found["remote"], found["secure"])
    assert "unix" == seen(path_of(server))["remote"]


def test_clients_by_a_socket_need_a_key_to_control_the_server(launch: Launch) -> None:
    """They may be a proxy's, and anywhere."""
    server = started(launch, ini("unix:x.sock", sections="[server]\ntrusted_proxies = unix\n"))
    with client(path_of(server)) as asking:
        assert 403 == asking.get("/reload/all").status_code
        assert 403 == asking.get("/reload/all", headers={"X-Forwarded-For": "203.0.113.9"}).status_code


def test_repeated_lines_of_clients_by_a_socket_are_summed_up_as_theirs(launch: Launch) -> None:
    """Ten a minute, then their number, as for an address."""
    server = started(launch, ini("unix:x.sock", sections="[auth]\napikey = k\n[limits]\nwrong_keys = none\n"))
    with client(path_of(server)) as asking:
        for _ in range(12):
            assert 403 == asking.get("/plugins", headers={"X-Custom-Auth": "wrong"}).status_code
    assert 10 == server.log.count("unix - request for /plugins - Not authorized")
    assert 0 == server.stop()
    assert re.search(r"unix - Not authorized: 2 more in the last", server.log), server.log


def test_limits_count_clients_of_a_socket_as_one(launch: Launch) -> None:
    """A proxy is exempt where connections are counted, and its clients have rates of their own."""
    limits = "[limits]\nconnections_per_client = 1\nrate = 2/h\n"
    server = started(launch, ini("unix:x.sock", sections=limits))
    with client(path_of(server)) as first, client(path_of(server)) as second:
        assert [200, 200, 429] == [first.get("/sees").status_code for _ in range(3)]
        assert 503 == second.get("/sees").status_code
    server.wait_for("too many connections: 1 refused, the last from unix, which has 1 already")
    server = started(launch, ini("unix:x.sock", sections=limits + "[server]\ntrusted_proxies = unix\n"))
    with client(path_of(server)) as first, client(path_of(server)) as second:
        of = [{"X-Forwarded-For": f"203.0.113.{last}"} for last in (1, 2)]
        assert [200, 200, 429] == [first.get("/sees", headers=of[0]).status_code for _ in range(3)]
        assert 200 == second.get("/sees", headers=of[1]).status_code
