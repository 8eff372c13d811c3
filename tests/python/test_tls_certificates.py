"""TLS: several certificates by name, certificates of clients, old versions, and files that change."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from pathlib import Path

import pytest
import trustme

from support.server import Launch, Server
from support.wait import wait_until
from support.wire import HOST, Wire

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Who(BasePlugin):
        async def request_handler(self, request, **data):
            certificate = request.client_certificate
            return certificate and {"subject": certificate.subject, "fingerprint": certificate.fingerprint}
"""

SSL = """
[SSL]
enabled = true
certfile = general.pem
keyfile = general.key
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return what all certificates are signed with."""
    return trustme.CA()


def write(pair: trustme.LeafCert, folder: Path, name: str) -> bytes:
    """Write a certificate and its key; return it as clients see it."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, blobs in (("pem", pair.cert_chain_pems), ("key", [pair.private_key_pem])):
        # As those do it that renew certificates: in one step.
        file = folder / f"{name}.new"
        file.write_bytes(b"".join(blob.bytes() for blob in blobs))
        file.replace(folder / f"{name}.{suffix}")
    return ssl.PEM_cert_to_DER_cert(pair.cert_chain_pems[0].bytes().decode())


def context_of(authority: trustme.CA) -> ssl.SSLContext:
    """Return the settings of a client that trusts the authority, whatever names a certificate has."""
    context = ssl.create_default_context()
    context.check_hostname = False
    authority.configure_trust(context)
    return context


def seen(server: Server, context: ssl.SSLContext, name: str | None) -> bytes | None:
    """Return the certificate that a client gets which asks for ``name``."""
    with context.wrap_socket(server.connect(), server_hostname=name) as connection:
        return connection.getpeercert(binary_form=True)


def test_each_name_has_its_certificate(launch: Launch, authority: trustme.CA, tmp_path: Path) -> None:
    """Exact names come before wildcards; all others, and no name at all, get that of `[SSL]`."""
    folder = tmp_path / "names"
    general = write(authority.issue_cert("127.0.0.1", "general.test"), folder, "general")
    shop = write(authority.issue_cert("shop.test", "www.shop.test"), folder, "shop")
    wild = write(authority.issue_cert("*.shop.test"), folder, "wild")
    more = "[SSL shop]\ncertfile = shop.pem\nkeyfile = shop.key\n[SSL wild]\ncertfile = wild.pem\nkeyfile = wild.key\n"
    server = launch({"who": PLUGIN}, ini_more=SSL + more, folder=folder)
    context = context_of(authority)
    expected = {
        "general.test": general,
        "shop.test": shop,
        "WWW.shop.test": shop,
        "api.shop.test": wild,
        "a.b.shop.test": general,
        "other.test": general,
        None: general,
    }
    assert expected == {name: seen(server, context, name) for name in expected}


def test_a_further_certificate_needs_a_name(launch: Launch, authority: trustme.CA, tmp_path: Path) -> None:
    """No client would get it otherwise."""
    folder = tmp_path / "nameless"
    write(authority.issue_cert("127.0.0.1"), folder, "general")
    more = "[SSL more]\ncertfile = general.pem\nkeyfile = general.key\n"
    server = launch({"who": PLUGIN}, ini_more=SSL + more, folder=folder, ready=False)
    assert 1 == server.wait()
    assert "[SSL more] certfile: the first certificate in general.pem is for no host name" in server.log


def test_old_versions_can_be_refused(launch: Launch, authority: trustme.CA, tmp_path: Path) -> None:
    """`min_version = 1.3` leaves 1.2 out."""
    folder = tmp_path / "versions"
    write(authority.issue_cert("127.0.0.1"), folder, "general")
    server = launch({"who": PLUGIN}, ini_more=SSL + "min_version = 1.3\n", folder=folder)
    context = context_of(authority)
    assert seen(server, context, None)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        seen(server, context, None)


def ask(server: Server, context: ssl.SSLContext) -> object:
    """Return what the plugin sees of the client's certificate."""
    with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
        return json.loads(Wire(connection).ask(b"GET /who" + HOST + b"\r\n").body)


@pytest.mark.parametrize("policy", ["required", "optional"])
def test_clients_can_be_asked_for_a_certificate(
    launch: Launch, authority: trustme.CA, tmp_path: Path, policy: str
) -> None:
    """One of the right authority reaches the plugin, another is refused; none at all only if it is optional."""
    folder = tmp_path / policy
    write(authority.issue_cert("127.0.0.1"), folder, "general")
    clients = trustme.CA()
    clients.cert_pem.write_to_path(str(folder / "clients.pem"))
    more = f"client_ca = clients.pem\nclient_certificate = {policy}\n"
    server = launch({"who": PLUGIN}, ini_more=SSL + more, folder=folder)
    reader = clients.issue_cert("reader.test", common_name="reader", organization_name="Example")
    context = context_of(authority)
    reader.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(reader.cert_chain_pems[0].bytes().decode())
    certificate = ask(server, context)
    assert isinstance(certificate, dict)
    assert hashlib.sha256(der).hexdigest() == certificate["fingerprint"]
    assert "CN=reader" in certificate["subject"]
    assert "O=Example" in certificate["subject"]
    stranger = context_of(authority)
    trustme.CA().issue_cert("reader.test").configure_cert(stranger)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(server, stranger)
    if policy == "optional":
        assert ask(server, context_of(authority)) is None
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server, context_of(authority))


def test_files_that_change_are_used_and_bad_ones_are_not(launch: Launch, authority: trustme.CA, tmp_path: Path) -> None:
    """Without a reload; a pair that does not fit together leaves the one before in use, with a warning."""
    folder = tmp_path / "renewed"
    first = write(authority.issue_cert("127.0.0.1"), folder, "general")
    server = launch({"who": PLUGIN}, ini_more=SSL + "check_interval = 100ms\n", folder=folder)
    context = context_of(authority)
    assert first == seen(server, context, None)
    second = write(authority.issue_cert("127.0.0.1"), folder, "general")
    wait_until(lambda: seen(server, context, None) == second)
    other = authority.issue_cert("127.0.0.1")
    (folder / "new").write_bytes(other.private_key_pem.bytes())
    os.replace(folder / "new", folder / "general.key")
    line = server.wait_for(r"WARN.*\[SSL\] keyfile: the key in general.key does not belong to")
    assert "the certificates that were read before stay in use" in line
    assert second == seen(server, context, None)
    third = write(authority.issue_cert("127.0.0.1"), folder, "general")
    wait_until(lambda: seen(server, context, None) == third)
    assert 1 == sum("does not belong" in line for line in server.lines)
