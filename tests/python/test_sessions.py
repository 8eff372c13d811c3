"""Sessions: the shipped plugin `sessman`, over sqlite and over a real Redis server."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis
import trustme

import plugincore
from environments import create
from session_stores import Backend, start_redis, wait_for_redis
from support.server import Launch, Server
from support.wait import TIMEOUT, wait_until

PLUGIN = (Path(__file__).parent.parent.parent / "plugins" / "sessman.py").read_text()
HELLO = """
    from plugincore.baseplugin import BasePlugin

    class Hello(BasePlugin):
        async def request_handler(self, **data):
            return 200, "hello"
"""


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """Return a folder with a short name, as the address of a socket must have one."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def running_redis() -> Iterator[redis.Redis]:
    """Return a client of a Redis server for all tests of this module."""
    with tempfile.TemporaryDirectory() as folder, start_redis(Path(folder)) as process:
        try:
            with redis.Redis(unix_socket_path=f"{folder}/redis", decode_responses=True) as client:
                yield wait_for_redis(client)
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Return an empty store of either kind."""
    file = tmp_path / "sessions.sqlite"
    if request.param == "sqlite":
        return Backend(f"database={file}", None, file)
    client: redis.Redis = request.getfixturevalue("running_redis")
    client.flushall()
    address = client.connection_pool.connection_kwargs["path"]
    return Backend(f"backend=redis&server_url=unix://{address}", client, file)


#: Starts a server with the plugin and these parameters.
Start = Callable[..., Server]


@pytest.fixture
def start(launch: Launch) -> Start:
    """Return the function that starts servers."""

    def run(parameters: str = "", **options: object) -> Server:
        ini_more = f"[plugin_parms]\nsessman = {parameters}\n"
        return launch({"sessman": PLUGIN, "hello": HELLO}, ini_more=ini_more, **options)

    return run


@pytest.fixture
def server(start: Start, backend: Backend) -> Server:
    """Serve sessions from an empty store of either kind."""
    return start(backend.parameters)


def new(server: Server, data: object = None, user: str = "ada", **options: object) -> str:
    """Begin a session, return its id."""
    answer = server.post("/sessman/new", params={"user": user}, json={"data": data}, **options)
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["session_id"])


def get(server: Server, session_id: str, **options: object) -> httpx.Response:
    """Ask for a session."""
    return server.get("/sessman/get", params={"session_id": session_id}, **options)


NOT_FOUND = (400, {"error": "session not found"})


def outcome(answer: httpx.Response) -> tuple[int, object]:
    """Return what tests compare."""
    return answer.status_code, answer.json()


def test_the_documented_flow(server: Server) -> None:
    """`new`, `get` and `update` answer with the id and the data, whatever the content type of the body."""
    headers = {"Content-Type": "text/javascript"}
    answer = server.post("/sessman/new?user=ada", content='{"data": {"cart": [1, 2]}}', headers=headers)
    session_id = answer.json()["session_id"]
    first = (200, {"session_id": session_id, "data": {"cart": [1, 2]}})
    assert first == outcome(answer)
    assert first == outcome(get(server, session_id))
    answer = server.post(f"/sessman/update?session_id={session_id}", content='{"data": {"x": 1}}', headers=headers)
    second = (200, {"session_id": session_id, "data": {"x": 1}})
    assert second == outcome(answer)
    assert second == outcome(get(server, session_id))
    assert "no-store" == answer.headers["Cache-Control"]


def test_the_other_spellings(server: Server) -> None:
    """`userid` and `sessionid` are understood, and everything may be in the body; without data they are empty."""
    session_id = server.post("/sessman/new", json={"userid": "ada"}).json()["session_id"]
    expected = (200, {"session_id": session_id, "data": {}})
    assert expected == outcome(server.get(f"/sessman/get?sessionid={session_id}&userid=ada"))
    assert expected == outcome(server.post("/sessman/get", json={"session_id": session_id, "user": "ada"}))
    assert 200 == server.get("/sessman/new").status_code


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/sessman/delete", {}, "delete is not a valid endpoint"),
        ("/sessman/new/", {}, "new/ is not a valid endpoint"),
        ("/sessman", {}, "sessman is not a valid endpoint"),
        ("/sessman/get", {}, "session_id is missing"),
        ("/sessman/get", {"session_id": ""}, "session_id is missing"),
        ("/sessman/get", {"session_id": "x"}, "session not found"),
        ("/sessman/get", {"session_id": ["x"]}, "session not found"),
        ("/sessman/get", {"session_id": 5}, "session not found"),
        ("/sessman/get", {"session_id": "\ud800"}, "session not found"),
        ("/sessman/get", {"session_id": "x" * 100_000}, "session not found"),
        ("/sessman/get", {"session_id": "' OR 1=1 --"}, "session not found"),
        ("/sessman/get", {"session_id": "*"}, "session not found"),
        ("/sessman/update", {"data": {}}, "session_id is missing"),
        ("/sessman/update", {"session_id": "x", "data": {}}, "session not found"),
        ("/sessman/new", {"user": "x" * 257}, "user must be a text of at most 256 printable characters"),
        ("/sessman/new", {"user": ["x"]}, "user must be a text of at most 256 printable characters"),
        ("/sessman/new", {"user": "\ud800"}, "user must be a text of at most 256 printable characters"),
        ("/sessman/new", {"user": 10**4000}, "user must be a text of at most 256 printable characters"),
        ("/sessman/new", {"data": float("nan")}, "data must be JSON, without NaN or infinite numbers"),
    ],
)
def test_errors_are_400_and_say_why(server: Server, path: str, body: dict[str, object], error: str) -> None:
    """As in pluginserver, what is not found is 400 too."""
    new(server)
    assert (400, {"error": error}) == outcome(server.post(path, content=json.dumps(body)))


def test_an_update_needs_data(server: Server) -> None:
    """A body that got lost does not empty the session."""
    session_id = new(server, {"x": 1})
    answer = server.post(f"/sessman/update?session_id={session_id}", content='{"data": {"x"')
    assert (400, {"error": 'data is missing: POST a JSON object {"data": ...}'}) == outcome(answer)
    assert {"x": 1} == get(server, session_id).json()["data"]


@pytest.mark.parametrize(
    "data", [{}, [], None, 0, "text", {"a": {"b": [1.5, None, True]}}, {"é\0\ud83d\ude00": "\ud800 ''"}, 10**400]
)
def test_any_json_value_comes_back(server: Server, data: object) -> None:
    """Not only objects."""
    session_id = server.post("/sessman/new", content=json.dumps({"data": data})).json()["session_id"]
    assert json.dumps(data) == json.dumps(get(server, session_id).json()["data"])


def test_ids_are_random_and_stored_hashed(server: Server, backend: Backend) -> None:
    """Who reads the store learns no id."""
    ids = {new(server) for _ in range(20)}
    assert 20 == len(ids)
    # 43 letters of 64 kinds: 256 bits.
    assert all(re.fullmatch(r"[\w-]{43}", session_id) for session_id in ids)
    content = backend.content()
    assert "ada" in content
    assert not [session_id for session_id in ids if session_id in content]
    assert not [session_id for session_id in ids if session_id in server.log]


def test_a_chosen_id_is_never_created(server: Server) -> None:
    """An id that a client brings along, as parameter or cookie, is not the new one and leads nowhere."""
    chosen = "c" * 43
    answer = server.post(f"/sessman/new?session_id={chosen}", json={}, headers={"Cookie": f"session_id={chosen}"})
    assert chosen != answer.json()["session_id"]
    assert NOT_FOUND == outcome(get(server, chosen))
    assert NOT_FOUND == outcome(server.post("/sessman/update", json={"session_id": chosen, "data": 1}))


def test_a_cookie_may_take_the_place_of_the_id(server: Server) -> None:
    """It is set by `new` and `update`; a parameter counts more than a cookie."""
    with server.client() as browser:
        answer = browser.post("/sessman/new", json={"data": 1})
        session_id = answer.json()["session_id"]
        assert (
            f"session_id={session_id}; Path=/sessman; Max-Age=86400; HttpOnly; SameSite=Strict"
            == (answer.headers["Set-Cookie"])
        )
        answer = browser.post("/sessman/update", json={"data": 2})
        assert answer.headers["Set-Cookie"].startswith(f"session_id={session_id}; ")
        answer = browser.get("/sessman/get")
        assert (200, {"session_id": session_id, "data": 2}) == outcome(answer)
        assert "Set-Cookie" not in answer.headers
        assert NOT_FOUND == outcome(browser.get("/sessman/get?session_id=x"))
        assert "Set-Cookie" not in browser.get("/sessman/get?session_id=x").headers


def test_the_cookie_is_secure_over_https(start: Start, tmp_path: Path) -> None:
    """And follows the route."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    (tmp_path / "cert.pem").write_bytes(pair.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(pair.private_key_pem.bytes())
    server = start(
        f"route_path=a/b\n[SSL]\nenabled=bool:true\ncertfile={tmp_path}/cert.pem\nkeyfile={tmp_path}/key.pem"
    )
    server.base_url = server.base_url.replace("http://", "https://")
    context = httpx.create_ssl_context()
    authority.configure_trust(context)
    with server.client(verify=context) as browser:
        answer = browser.post("/a/b/new", json={"data": 1})
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        assert "Path=/a/b" in answer.headers["Set-Cookie"].split("; ")
        assert 1 == browser.get("/a/b/get").json()["data"]


def test_a_session_belongs_to_an_address(server: Server) -> None:
    """From another one it is not found; the owner still has it."""
    session_id = new(server, 1, headers={"X-Forwarded-For": "192.0.2.1"})
    for address, status in (("192.0.2.1", 200), ("192.0.2.2", 400), ("2001:db8::1", 400)):
        headers = {"X-Forwarded-For": address}
        assert status == get(server, session_id, headers=headers).status_code
        update = server.post("/sessman/update", json={"session_id": session_id, "data": 1}, headers=headers)
        assert status == update.status_code
    assert NOT_FOUND == outcome(get(server, session_id))


def test_a_user_that_is_named_must_be_the_one_of_the_session(server: Server) -> None:
    """Also where sessions are bound to addresses."""
    session_id = new(server, 1, user="5")
    assert 200 == server.post("/sessman/get", json={"session_id": session_id, "user": 5}).status_code
    assert NOT_FOUND == outcome(server.post("/sessman/get", json={"session_id": session_id, "user": "eve"}))
    assert NOT_FOUND == outcome(server.post("/sessman/update", json={"session_id": session_id, "user": 6, "data": 2}))
    assert 1 == get(server, session_id).json()["data"]


def test_sessions_may_be_bound_to_users_alone(start: Start, backend: Backend) -> None:
    """Then each request names the user, and the address may change."""
    server = start(f"{backend.parameters}&bind=user")
    session_id = new(server, 1, headers={"X-Forwarded-For": "192.0.2.1"})
    for user, answer in (
        ("&user=ada", (200, {"session_id": session_id, "data": 1})),
        ("&user=eve", NOT_FOUND),
        ("&user=", (400, {"error": "user is missing"})),
        ("", (400, {"error": "user is missing"})),
    ):
        assert answer == outcome(server.get(f"/sessman/get?session_id={session_id}{user}"))
    assert (400, {"error": "user is missing"}) == outcome(server.get("/sessman/new"))


def test_sessions_may_be_bound_to_nothing(start: Start, backend: Backend) -> None:
    """Then the id is enough."""
    server = start(f"{backend.parameters}&bind=none")
    session_id = new(server, 1, headers={"X-Forwarded-For": "192.0.2.1"})
    assert 200 == get(server, session_id).status_code


def test_sessions_expire(start: Start, backend: Backend) -> None:
    """After `session_ttl` seconds a session is not found, cannot be updated, and is deleted without any request."""
    server = start(f"{backend.parameters}&session_ttl=1")
    session_id = new(server)
    assert 200 == get(server, session_id).status_code
    wait_until(lambda: get(server, session_id).status_code != 200, "the session stays")
    assert NOT_FOUND == outcome(get(server, session_id))
    assert NOT_FOUND == outcome(server.post("/sessman/update", json={"session_id": session_id, "data": 1}))
    wait_until(lambda: not backend.sessions(), "the session is not deleted")
    assert "Max-Age=1" in server.get("/sessman/new").headers["Set-Cookie"].split("; ")


def test_only_an_update_begins_the_time_anew(start: Start, backend: Backend) -> None:
    """As documented; reading does not."""
    server = start(f"{backend.parameters}&session_ttl=1000")
    session_id = new(server)
    assert 900 < backend.time_left() <= 1000
    backend.age(500)
    get(server, session_id)
    assert backend.time_left() <= 500
    server.post("/sessman/update", json={"session_id": session_id, "data": 1})
    assert 900 < backend.time_left() <= 1000


def test_sessions_outlive_a_restart_and_a_reload(start: Start, backend: Backend) -> None:
    """They are in the store, not in the process."""
    server = start(backend.parameters)
    session_id = new(server, {"x": 1})
    assert 200 == server.get("/reload/sessman").status_code
    assert {"x": 1} == get(server, session_id).json()["data"]
    assert 0 == server.stop()
    assert " - ERROR - " not in server.log
    again = start(backend.parameters)
    assert {"x": 1} == get(again, session_id).json()["data"]


def test_two_servers_share_a_store(start: Start, backend: Backend) -> None:
    """What one of them writes, the other reads; updates through both do not mix or get lost."""
    one, two = start(backend.parameters), start(backend.parameters)
    session_id = new(one, {"x": 1})
    assert {"x": 1} == get(two, session_id).json()["data"]
    update_together([one, two], session_id)


def update_together(servers: list[Server], session_id: str) -> None:
    """Update one session from many clients at once: each gets its own data back, and one of them stays."""
    values = [{"writer": n, "text": str(n) * 1000} for n in range(64)]

    def work(n: int) -> None:
        answer = servers[n % len(servers)].post("/sessman/update", json={"session_id": session_id, "data": values[n]})
        assert (200, {"session_id": session_id, "data": values[n]}) == outcome(answer)
        assert get(servers[n % len(servers)], session_id).json()["data"] in values

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(len(values))))
    left = [get(server, session_id).json()["data"] for server in servers]
    assert left[0] in values
    assert all(value == left[0] for value in left)


def test_many_clients_at_once(server: Server, backend: Backend) -> None:
    """Each has its own session and finds its own data in it."""

    def work(n: int) -> None:
        with server.client() as client:
            session_id = client.post("/sessman/new", json={"data": n}).json()["session_id"]
            for value in range(5):
                assert 200 == client.post("/sessman/update", json={"data": [n, value]}).status_code
                assert (200, {"session_id": session_id, "data": [n, value]}) == outcome(client.get("/sessman/get"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(64)))
    assert 64 == backend.sessions()
    update_together([server], new(server))


def test_too_much_data_is_refused(start: Start, backend: Backend) -> None:
    """413 with the limit; the session keeps what it had."""
    server = start(f"{backend.parameters}&data_limit=100")
    fits, too_long = "x" * 98, "x" * 99
    session_id = new(server, fits)
    for path in ("new", "update"):
        answer = server.post(f"/sessman/{path}", json={"session_id": session_id, "data": too_long})
        assert (413, {"error": "data must not be longer than 100 bytes of JSON"}) == outcome(answer)
    assert fits == get(server, session_id).json()["data"]
    assert 1 == backend.sessions()


def test_a_client_may_have_so_many_sessions(start: Start, backend: Backend) -> None:
    """The next is 429 for it alone, until one expires; a network of IPv6 is one client."""
    server = start(f"{backend.parameters}&max_sessions_per_client=2")

    def ask(address: str) -> tuple[int, object]:
        answer = server.get("/sessman/new", headers={"X-Forwarded-For": address})
        return (200, None) if answer.status_code == 200 else outcome(answer)

    too_many = (429, {"error": "too many sessions of this client"})
    assert [(200, None), (200, None), too_many] == [ask("192.0.2.1") for _ in range(3)]
    assert (200, None) == ask("192.0.2.2")
    addresses = ["2001:db8::1", "2001:db8::2:3", "2001:db8::4"]
    assert [(200, None), (200, None), too_many] == [ask(address) for address in addresses]
    assert (200, None) == ask("2001:db8:0:1::1")


def test_an_expired_session_makes_room(start: Start, backend: Backend) -> None:
    """For one, beside others that still live."""
    server = start(f"{backend.parameters}&max_sessions_per_client=2&max_sessions=2")
    new(server)
    backend.age(86_000)
    new(server)
    assert 429 == server.get("/sessman/new").status_code
    backend.age(401)
    new(server)
    assert 429 == server.get("/sessman/new").status_code


def test_all_clients_together_may_have_so_many_sessions(start: Start, backend: Backend) -> None:
    """Hostile clients cannot fill memory or disk."""
    server = start(f"{backend.parameters}&max_sessions=3")
    statuses = [
        server.get("/sessman/new", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(1, 6)
    ]
    assert [200, 200, 200, 503, 503] == statuses
    assert 3 == backend.sessions()


def test_limits_hold_for_requests_at_once(start: Start, backend: Backend) -> None:
    """Counting and adding are one step, for several servers too."""
    servers = [start(f"{backend.parameters}&max_sessions_per_client=10") for _ in range(2)]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda n: servers[n % 2].get("/sessman/new").status_code, range(40)))
    assert (10, 30) == (statuses.count(200), statuses.count(429))


def test_a_locked_file_holds_up_sessions_only(start: Start, tmp_path: Path) -> None:
    """While another process has the file, other plugins answer; then the session is there."""
    file = tmp_path / "sessions.sqlite"
    server = start(f"database={file}")
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers: list[int] = []
        waiting = threading.Thread(target=lambda: answers.append(server.get("/sessman/new").status_code))
        waiting.start()
        assert ["hello"] * 20 == [server.get("/hello").text for _ in range(20)]
        assert not answers
        other.execute("COMMIT")
        waiting.join(TIMEOUT)
    other.close()
    assert [200] == answers


def test_a_damaged_session_is_503_and_can_be_replaced(server: Server, backend: Backend) -> None:
    """Clients learn nothing about the store; the log has the reason, without the data."""
    session_id = new(server)
    backend.damage('{"half')
    answer = get(server, session_id)
    assert (503, {"error": "sessions are not available at the moment"}) == outcome(answer)
    assert "no-store" == answer.headers["Cache-Control"]
    server.wait_for("ERROR - sessman - a session's data is damaged")
    assert "half" not in server.log
    answer = server.post("/sessman/update", json={"session_id": session_id, "data": 2})
    assert (200, {"session_id": session_id, "data": 2}) == outcome(answer)


def test_keys_of_somebody_else_in_redis_are_503(start: Start, running_redis: redis.Redis) -> None:
    """A hash without our fields, or with bytes that are no text, is no crash."""
    running_redis.flushall()
    address = running_redis.connection_pool.connection_kwargs["path"]
    server = start(f"backend=redis&server_url=unix://{address}")
    session_id = new(server)
    (key,) = running_redis.keys("*:session:*")
    for fields in ({"data": "1"}, {"user": "", "address": "127.0.0.1", "data": b"\xff"}):
        running_redis.delete(key)
        running_redis.hset(key, mapping=fields)
        assert (503, {"error": "sessions are not available at the moment"}) == outcome(get(server, session_id))


def test_the_file_is_private(start: Start, tmp_path: Path) -> None:
    """Only the server's own user may read it, its journal included."""
    server = start(f"database={tmp_path}/s.sqlite")
    new(server)
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("s.sqlite*")}


def test_without_a_file_sessions_are_in_memory(start: Start) -> None:
    """The log warns of it, and shows how to keep them."""
    server = start()
    assert " - INFO - " in server.wait_for("sessions are kept in memory, .*: database=PATH keeps them longer")
    session_id = new(server, 1)
    assert 1 == get(server, session_id).json()["data"]
    assert 200 == server.get("/reload/sessman").status_code
    assert NOT_FOUND == outcome(get(server, session_id))
    assert not [line for line in server.lines if " - WARN - " in line or " - ERROR - " in line]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("bind=addres", "sessman: bind must be one of address, user, none, not 'addres'"),
        ("backend=mongodb", "sessman: backend must be sqlite or redis, not 'mongodb'"),
        ("session_ttl=day", "sessman: session_ttl must be a number from 1 to 315360000, not 'day'"),
        ("session_ttl=nan", "sessman: session_ttl must be a number"),
        ("session_ttl=0", "sessman: session_ttl must be a number"),
        ("data_limit=-1", "sessman: data_limit must be a number"),
        ("max_sessions=x", "sessman: max_sessions must be a number"),
        ("max_sessions_per_client=x", "sessman: max_sessions_per_client must be a number"),
        ("backend=redis", "server_url to redis://HOST:PORT/0"),
        ("backend=redis&server_url=mongo.example:27017", "server_url to redis://HOST:PORT/0"),
        ("backend=redis&server_url=redis://h:port", "server_url is no address of Redis: it is redis://HOST:PORT/0"),
        ("database=/nowhere/at/all", "sessman: database: /nowhere/at/all: .*No such file"),
        ("database=/", "sessman: database: /: "),
    ],
)
def test_wrong_settings_are_told(start: Start, parameters: str, words: str) -> None:
    """In one line, and the other plugins serve."""
    server = start(parameters)
    assert re.search(words, server.wait_for(" - ERROR - "))
    assert "hello" == server.get("/hello").text
    assert 404 == server.get("/sessman/new").status_code


def test_the_settings_of_pluginserver_are_told_what_to_change(launch: Launch) -> None:
    """Its JSON file names a MongoDB; the password in it does not get into the log."""
    old = '{"username": "ps", "password": "pass-word", "server_url": "mongo:27017", "database": "sessman"}'
    server = launch({"sessman": PLUGIN, "sessman.json": old}, ini_more="[plugin_parms]\nsessman = json=sessman.json")
    line = server.wait_for(" - ERROR - ")
    assert "pluginserver kept sessions in MongoDB, this plugin does not: remove username, password, " in line
    assert "pass-word" not in server.log


def test_settings_may_come_from_a_json_file(launch: Launch) -> None:
    """With values of their own types."""
    settings = {"database": "s.sqlite", "session_ttl": 60, "data_limit": 10}
    server = launch(
        {"sessman": PLUGIN, "sessman.json": json.dumps(settings)},
        ini_more="[plugin_parms]\nsessman = json=sessman.json",
    )
    answer = server.get("/sessman/new")
    assert "Max-Age=60" in answer.headers["Set-Cookie"].split("; ")
    assert (server.folder / "s.sqlite").exists()


def test_a_file_of_something_else_is_left_alone(start: Start, tmp_path: Path) -> None:
    """No database, or one of a later version: the plugin does not load and the file is as it was."""
    text = tmp_path / "text"
    text.write_text("this is no database, only a text that is long enough" * 100)
    assert re.search("text: file is not a database", start(f"database={text}").wait_for(" - ERROR - "))
    assert text.read_text().startswith("this is no database")
    later = tmp_path / "later.sqlite"
    with sqlite3.connect(later) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    line = start(f"database={later}").wait_for(" - ERROR - ")
    assert re.search(r"later.sqlite: it is of a newer version \(99\)", line)


def test_a_redis_that_comes_later(start: Start, socket_folder: Path) -> None:
    """Until it is there, sessions are 503 and nothing else suffers; the log has the reason. The same when it goes."""
    server = start(f"backend=redis&server_url=unix://{socket_folder}/redis")
    assert " - WARN - " in server.wait_for("there are no sessions until Redis answers")
    unavailable = (503, {"error": "sessions are not available at the moment"})
    assert unavailable == outcome(server.get("/sessman/new"))
    assert "hello" == server.get("/hello").text
    with start_redis(socket_folder) as process:
        try:
            with redis.Redis(unix_socket_path=f"{socket_folder}/redis") as client:
                wait_for_redis(client)
            session_id = new(server, 1)
            assert 1 == get(server, session_id).json()["data"]
        finally:
            process.kill()
    assert unavailable == outcome(get(server, session_id))


def test_redis_with_a_password(launch: Launch, socket_folder: Path) -> None:
    """Over TCP; the password may hold anything, since it stands in the JSON file, and is never logged."""
    password = "p@ss:/?#word"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with start_redis(socket_folder, "--port", str(port), "--requirepass", password) as process:
        try:
            with redis.Redis(port=port, password=password) as client:
                wait_for_redis(client)
            for word in (password, "wrong-pass-word"):
                url = f"redis://127.0.0.1:{port}/3"
                settings = {"backend": "redis", "server_url": url, "password": word}
                server = launch(
                    {"sessman": PLUGIN, "sessman.json": json.dumps(settings)},
                    ini_more="[plugin_parms]\nsessman = json=sessman.json",
                )
                assert (200 if word == password else 503) == server.get("/sessman/new").status_code
                assert word not in server.log
        finally:
            process.kill()


def test_a_password_that_breaks_the_address_is_not_logged(start: Start) -> None:
    """Not in part either: what stands before a `/` or `#` in it looks like a port."""
    for url in ("redis://:pass-word/1@h:1/0", "redis://:pass-word%231@h:1/0"):
        server = start(f"backend=redis&server_url={url}", args=["-v", "DEBUG"])
        server.wait_for("server_url is no address of Redis")
        assert "pass-word" not in server.log


def test_a_missing_library_is_told_with_the_remedy(start: Start, tmp_path: Path) -> None:
    """The line names the command that installs it; sqlite needs nothing."""
    package = Path(plugincore.__file__ or "").parent
    program = [str(create(tmp_path / "bare", package) / "bin" / "python"), "-m", "plugincore"]
    line = start("backend=redis&server_url=redis://127.0.0.1", program=program).wait_for(" - ERROR - ")
    assert "No module named 'redis'" in line
    assert "pip install redis" in line
    assert 200 == start("", program=program).get("/sessman/new").status_code
