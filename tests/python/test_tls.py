"""TLS: every kind of key, every kind of mistake, and a change of certificate while serving; and where it listens."""

from __future__ import annotations

import datetime
import ipaddress
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from support.http2 import Http2
from support.plugins import INI
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until
from support.wire import HOST, Wire

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        request = data["request"]
        return 200, {"scheme": request.scheme, "secure": request.secure, "body": data.get("x")}
"""

DAY = datetime.timedelta(days=1)

SSL = "[SSL]\nenabled=bool:true\ncertfile=cert.pem\nkeyfile=key.pem\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make the authority that all certificates of these tests come from."""
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path, key: bytes | None = None, kind: trustme.KeyType | None = None) -> None:
    """Write a certificate for 127.0.0.1 and its key into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = authority.issue_cert("127.0.0.1", "::1", key_type=kind or trustme.KeyType.ECDSA)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    (folder / "key.pem").write_bytes(key or pair.private_key_pem.bytes())


def rewrite(file: Path, form: PrivateFormat, passphrase: bytes | None = None) -> None:
    """Write the key in ``file`` in another form."""
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    file.write_bytes(key.private_bytes(Encoding.PEM, form, encryption))


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts ``authority`` alone."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def hello(server: Server, authority: trustme.CA) -> tuple[int, object]:
    """Ask over a connection of its own whose certificate is checked."""
    with server.client(verify=trusting(authority)) as client:
        answer = client.post("/hello", json={"x": "y" * 100_000})
        return answer.status_code, {**answer.json(), "body": len(answer.json()["body"])}


SERVED = (200, {"scheme": "https", "secure": True, "body": 100_000})

KEYS: dict[str, tuple[trustme.KeyType, PrivateFormat, bytes]] = {
    "PKCS#8 RSA": (trustme.KeyType.RSA, PrivateFormat.PKCS8, b"BEGIN PRIVATE KEY"),
    "PKCS#1 RSA": (trustme.KeyType.RSA, PrivateFormat.TraditionalOpenSSL, b"BEGIN RSA PRIVATE KEY"),
    "PKCS#8 ECDSA": (trustme.KeyType.ECDSA, PrivateFormat.PKCS8, b"BEGIN PRIVATE KEY"),
    "SEC1 ECDSA": (trustme.KeyType.ECDSA, PrivateFormat.TraditionalOpenSSL, b"BEGIN EC PRIVATE KEY"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_every_usual_kind_of_key_serves(launch: Launch, tmp_path: Path, authority: trustme.CA, kind: str) -> None:
    """As trustme, `openssl rsa -traditional` and `openssl ec` write them; plugins see that it is https."""
    key_type, form, begin = KEYS[kind]
    issue(authority, tmp_path / "tls", kind=key_type)
    rewrite(tmp_path / "tls/key.pem", form)
    assert begin in (tmp_path / "tls/key.pem").read_bytes()
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls")
    assert server.base_url.startswith("https://")
    assert SERVED == hello(server, authority)
    assert 0 == server.stop()


@pytest.mark.parametrize("kind", ["Ed25519", "P-384"])
def test_other_keys_serve_too(launch: Launch, tmp_path: Path, kind: str) -> None:
    """What `openssl req -x509` makes of them."""
    key = ed25519.Ed25519PrivateKey.generate() if kind == "Ed25519" else ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    certificate = builder.sign(key, None if kind == "Ed25519" else hashes.SHA384())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(pem(key))
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with server.client(verify=context) as client:
        assert 200 == client.get("/hello").status_code


def test_key_and_chain_may_be_in_one_file(launch: Launch, tmp_path: Path, authority: trustme.CA) -> None:
    """Each option finds its part."""
    issue(authority, tmp_path / "tls")
    both = (tmp_path / "tls/key.pem").read_bytes() + (tmp_path / "tls/cert.pem").read_bytes()
    (tmp_path / "tls/cert.pem").write_bytes(both)
    (tmp_path / "tls/key.pem").write_bytes(both)
    assert SERVED == hello(launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls"), authority)


@pytest.mark.parametrize("word", ["bool:true", "bool:on", "true", "Yes", "1", "int:1", "enabled"])
def test_every_word_for_yes_switches_it_on(launch: Launch, tmp_path: Path, authority: trustme.CA, word: str) -> None:
    """Typed or not."""
    issue(authority, tmp_path / "tls")
    ini_more = SSL.replace("bool:true", word)
    assert SERVED == hello(launch({"hello": PLUGIN}, ini_more=ini_more, folder=tmp_path / "tls"), authority)


@pytest.mark.parametrize("line", ["enabled=bool:false", "enabled=false", "enabled=no", "enabled=0", "enabled=", ""])
def test_every_word_for_no_leaves_it_off(launch: Launch, line: str) -> None:
    """The files are then not even looked for; in pluginserver a plain `false` was on."""
    server = launch({"hello": PLUGIN}, ini_more=SSL.replace("enabled=bool:true", line), ready=False)
    server.base_url = f"http://{server.wait_for('Server started on ').rpartition(' ')[2]}"
    assert {"scheme": "http", "secure": False, "body": None} == server.get("/hello").json()


def swap(folder: Path) -> None:
    """Exchange certificate and key."""
    certificate = (folder / "cert.pem").read_bytes()
    (folder / "key.pem").rename(folder / "cert.pem")
    (folder / "key.pem").write_bytes(certificate)


def other_key(folder: Path) -> None:
    """Replace the key by one of another pair."""
    issue(trustme.CA(), folder / "other")
    (folder / "other/key.pem").rename(folder / "key.pem")


def encrypt(folder: Path) -> None:
    """Protect the key by a passphrase, PKCS#8."""
    rewrite(folder / "key.pem", PrivateFormat.PKCS8, b"secret")


def encrypt_traditionally(folder: Path) -> None:
    """Protect the key by a passphrase, the old way."""
    rewrite(folder / "key.pem", PrivateFormat.TraditionalOpenSSL, b"secret")


def weak(folder: Path) -> None:
    """Replace the key by one that is too short."""
    (folder / "key.pem").write_bytes(pem(rsa.generate_private_key(65537, 1024)))


def another_kind(folder: Path) -> None:
    """Replace the key by one of another kind."""
    (folder / "key.pem").write_bytes(pem(ed25519.Ed25519PrivateKey.generate()))


def another_curve(folder: Path) -> None:
    """Replace the key by one on a curve that is not in use."""
    (folder / "key.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256K1())))


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key as PKCS#8 text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def damage(file: str) -> Callable[[Path], None]:
    """Return what cuts a file short."""
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:150])


def write(file: str, data: bytes) -> Callable[[Path], None]:
    """Return what replaces a file's contents."""
    return lambda folder: (folder / file).write_bytes(data) and None


def remove(file: str) -> Callable[[Path], None]:
    """Return what removes a file."""
    return lambda folder: (folder / file).unlink()


MISTAKES: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "certificate missing": (remove("cert.pem"), 2, r"\[SSL\] certfile: /.*/cert\.pem cannot be read: No such file"),
    "key missing": (remove("key.pem"), 2, r"\[SSL\] keyfile: /.*/key\.pem cannot be read: No such file"),
    "swapped": (swap, 1, r"certfile: cert\.pem holds a private key.*swapped\?"),
    "another pair's key": (other_key, 1, r"key in key\.pem does not belong to the first certificate in cert\.pem"),
    "encrypted": (encrypt, 1, r"keyfile: the key in key\.pem is encrypted; .*openssl pkey"),
    "encrypted the old way": (encrypt_traditionally, 1, r"keyfile: the key in key\.pem is encrypted"),
    "too short": (weak, 1, r"key in key\.pem"),
    "another kind": (another_kind, 1, r"key in key\.pem does not belong"),
    "odd curve": (another_curve, 1, r"key in key\.pem cannot be used; it must be RSA"),
    "damaged certificate": (damage("cert.pem"), 1, r"certfile: the PEM text of cert\.pem is damaged"),
    "damaged key": (damage("key.pem"), 1, r"keyfile: the PEM text of key\.pem is damaged"),
    "empty": (write("cert.pem", b""), 1, r"certfile: cert\.pem is not a PEM file"),
    "DER": (write("cert.pem", b"0\x82\x01\x02"), 1, r"certfile: cert\.pem is not a PEM file; it looks like DER"),
    "no certificate": (
        write("cert.pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        1,
        r"certfile: no certificate in cert\.pem",
    ),
    "nonsense in it": (
        write("cert.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        1,
        r"certfile: the first certificate in cert\.pem cannot be used",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_files_stops_the_start(
    launch: Launch, tmp_path: Path, authority: trustme.CA, mistake: str
) -> None:
    """With the line, the option, the file and what to do; never plain HTTP instead, as pluginserver did."""
    make, code, expected = MISTAKES[mistake]
    issue(authority, tmp_path / "tls")
    make(tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls", ready=False)
    assert code == server.wait()
    line = server.wait_for(expected)
    assert re.search(r"server\.ini:\d+: \[SSL\] ", line)
    words = [*command(), "check", "-i", "server.ini"]
    check = subprocess.run(words, cwd=server.folder, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    problem = next(line for line in check.stderr.splitlines() if re.search(expected, line))
    assert (1, True) == (check.returncode, bool(re.match(r"server\.ini:\d+: \[SSL\] ", problem)))
    for unwanted in ("Server started on", "Traceback", "PRIVATE KEY-----", "secret"):
        assert unwanted not in server.log


@pytest.mark.parametrize("option", ["certfile", "keyfile"])
def test_an_option_that_is_missing_stops_the_start(
    launch: Launch, tmp_path: Path, authority: trustme.CA, option: str
) -> None:
    """It is a mistake in the configuration."""
    issue(authority, tmp_path / "tls")
    text = "\n".join(line for line in SSL.splitlines() if not line.startswith(option))
    server = launch({"hello": PLUGIN}, ini_more=text, folder=tmp_path / "tls", ready=False)
    assert 2 == server.wait()
    server.wait_for(rf"\[SSL\] {option}: is missing while SSL is enabled")


def test_plain_http_is_told_to_use_https(launch: Launch, tmp_path: Path, authority: trustme.CA) -> None:
    """A 400 in JSON, instead of the bytes of an alert."""
    issue(authority, tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls")
    with Wire(server) as wire:
        answer = wire.ask(b"GET /hello" + HOST + b"\r\n")
        assert (400, "this port speaks HTTPS: use https://") == (answer.status, answer.error)
        assert wire.is_closed()
    for noise in (b"\x16\x03\x01\x02\0" + b"\xff" * 512, b"\x80", b"\0" * 100, b"{}"):
        with Wire(server) as wire:
            wire.send(noise)
            wire.socket.shutdown(socket.SHUT_WR)
            wire.is_closed()
    assert SERVED == hello(server, authority)


def test_a_connection_above_the_limit_is_closed_without_a_handshake(
    launch: Launch, tmp_path: Path, authority: trustme.CA
) -> None:
    """A 503 could not be read; the others go on, and a place is free again when its connection ends."""
    issue(authority, tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL + "[limits]\nconnections = 2\n", folder=tmp_path / "tls")
    context, request = trusting(authority), b"GET /hello" + HOST + b"\r\n"

    def connect() -> Wire:
        return Wire(context.wrap_socket(server.connect(), server_hostname="127.0.0.1"))

    with connect() as first:
        with connect() as second:
            assert [200, 200] == [wire.ask(request).status for wire in (first, second)]
            for _ in range(3):
                with pytest.raises((ConnectionError, ssl.SSLEOFError)):
                    connect()
            server.wait_for("too many connections: 1 refused, since there are 2 already")
            assert [200, 200] == [wire.ask(request).status for wire in (first, second)]

        def is_served() -> bool:
            try:
                with connect() as wire:
                    return wire.ask(request).status == 200
            except (ConnectionError, ssl.SSLEOFError):
                return False

        wait_until(is_served)


def test_only_current_protocols_are_spoken(launch: Launch, tmp_path: Path, authority: trustme.CA) -> None:
    """TLS 1.2 and 1.3, and over them HTTP/2, which is preferred, and HTTP/1.1."""
    issue(authority, tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(authority)
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["http/1.1", "h2"])
        with Http2(server, context) as connection:
            assert connection.still_serves()
        context.set_alpn_protocols(["odd", "http/1.1"])
        with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
            assert "http/1.1" == connection.selected_alpn_protocol()
            assert b"HTTP/1.1 200" == Wire(connection).ask(b"GET /hello" + HOST + b"\r\n").version.encode() + b" 200"


def test_what_goes_wrong_over_tls_is_answered_over_tls(launch: Launch, tmp_path: Path, authority: trustme.CA) -> None:
    """Malformed requests and large bodies as over plain HTTP."""
    issue(authority, tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls")
    for data, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET http://127.0.0.1/hello" + HOST + b"\r\n", 400),
        (b"GET /hello" + HOST + b"A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"POST /hello" + HOST + b"Content-Length: 6000000\r\n\r\n" + b"x" * 6_000_000, 413),
    ):
        with trusting(authority).wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
            answer = Wire(connection).ask(data)
            assert (status, "close") == (answer.status, answer.headers["connection"])
            assert answer.error


def test_a_whole_url_as_target_has_the_scheme_of_the_port(
    launch: Launch, tmp_path: Path, authority: trustme.CA
) -> None:
    """Its host is that of the target."""
    issue(authority, tmp_path / "tls")
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=tmp_path / "tls")
    with trusting(authority).wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
        assert 200 == Wire(connection).ask(b"GET https://127.0.0.1/hello" + HOST + b"\r\n").status


def test_a_handshake_that_does_not_end_is_cut_off(launch: Launch, tmp_path: Path, authority: trustme.CA) -> None:
    """After the read timeout, and others are served meanwhile."""
    issue(authority, tmp_path / "tls")
    ini_more = SSL + "[server]\nread_timeout=300ms\n"
    server = launch({"hello": PLUGIN}, ini_more=ini_more, folder=tmp_path / "tls")
    with Wire(server) as silent, Wire(server) as halfway:
        halfway.send(b"\x16\x03\x01")
        assert SERVED == hello(server, authority)
        assert silent.is_closed()
        assert halfway.is_closed()


def test_hangup_takes_a_new_certificate_and_keeps_the_old_one_if_it_is_bad(
    launch: Launch, tmp_path: Path, authority: trustme.CA
) -> None:
    """New connections get the new certificate; open ones go on."""
    folder = tmp_path / "tls"
    issue(authority, folder)
    server = launch({"hello": PLUGIN}, ini_more=SSL, folder=folder)
    with server.client(verify=trusting(authority)) as client:
        assert 200 == client.get("/hello").status_code
        before = certificate(server)
        issue(authority, folder)
        hangup(server, r"[Rr]eloaded|All plugins")
        after = certificate(server)
        assert before != after
        swap(folder)
        hangup(server, r"swapped\?")
        assert after == certificate(server)
        assert SERVED == hello(server, authority)
        assert 200 == client.get("/hello").status_code
    assert 0 == server.stop()


def hangup(server: Server, told: str) -> None:
    """Have the server read its files again, and wait for its report."""
    since = len(server.lines)
    server.send(signal.SIGHUP)
    server.wait_for(told, since)


def certificate(server: Server) -> str:
    """Return the certificate that a new connection gets."""
    return ssl.get_server_certificate(("127.0.0.1", server.port))


def started(server: Server, count: int) -> list[str]:
    """Return the addresses that it listens on."""
    addresses, begin = [], 0
    for _ in range(count):
        line = server.wait_for("Server started on ", since=begin)
        begin = server.lines.index(line, begin) + 1
        addresses.append(line.rpartition(" ")[2])
    return addresses


needs_ipv6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="the system has no IPv6")


@needs_ipv6
@pytest.mark.parametrize("bindto", ["::1", "[::1]", "::"])
def test_it_listens_on_ipv6(launch: Launch, bindto: str) -> None:
    """Written with brackets or without; IPv4 clients of `::` have to be asked in by 0.0.0.0."""
    server = launch({"hello": PLUGIN}, ini=INI.replace("127.0.0.1", bindto))
    port = started(server, 1)[0].rpartition(":")[2]
    assert 200 == httpx.get(f"http://[::1]:{port}/hello", trust_env=False).status_code
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


@needs_ipv6
def test_it_listens_on_several_addresses(launch: Launch) -> None:
    """One plugin answers on all of them."""
    server = launch({"hello": PLUGIN}, ini=INI.replace("127.0.0.1", "127.0.0.1 ::1 127.0.0.2"))
    addresses = started(server, 3)
    assert ["127.0.0.1", "[::1]", "127.0.0.2"] == [address.rpartition(":")[0] for address in addresses]
    for address in addresses:
        assert 200 == httpx.get(f"http://{address}/hello", trust_env=False).status_code
    assert 0 == server.stop()


@pytest.mark.parametrize(
    ("bindto", "code", "told"),
    [
        ("192.0.2.1", 1, r"192\.0\.2\.1 is no address of this machine: correct \[network\] bindto"),
        ("no.such.host.invalid", 2, r"\[network\] bindto: \"no\.such\.host\.invalid\" cannot be resolved"),
        ("list:", 2, r"\[network\] bindto: names no address"),
    ],
)
def test_an_address_that_cannot_be_had_stops_the_start(launch: Launch, bindto: str, code: int, told: str) -> None:
    """With the option and what to do."""
    server = launch({"hello": PLUGIN}, ini=INI.replace("127.0.0.1", bindto), ready=False)
    assert code == server.wait()
    server.wait_for(told)


def test_a_port_in_use_stops_the_start(launch: Launch) -> None:
    """Before any plugin is loaded."""
    port = launch({"hello": PLUGIN}).port
    second = launch({"hello": PLUGIN}, ini=INI.replace("port = 0", f"port = {port}"), ready=False)
    assert 1 == second.wait()
    second.wait_for(rf"another program uses port {port}")
    assert "Loaded plugin" not in second.log
