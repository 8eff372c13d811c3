"""Sessions: ``/sessman/new`` starts one, ``/sessman/get`` reads its data, ``/sessman/update`` replaces the data.

Sessions are stored in SQLite: in memory, or in a file with ``database=PATH``. With ``backend=redis`` they are stored in
Redis, which several servers can share; this needs ``pip install redis``. Requests, answers and settings are described
in docs/sessions.md.
"""

import asyncio
import hashlib
import ipaddress
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from plugincore.baseplugin import BasePlugin

T = TypeVar("T")
DAMAGED = "a session's data is damaged"
BINDINGS = ("address", "user", "none")
MONGODB = (
    "pluginserver kept sessions in MongoDB, this plugin does not: remove username, password, server_url and collection "
    "and let database be the path of a file for sqlite, or set backend to redis and server_url to redis://HOST:PORT/0"
)


class Session(NamedTuple):
    """The stored fields of a session; its key is the hash of its id."""

    user: str
    address: str
    data: str


class Limits(NamedTuple):
    """Time to live and maximum numbers of sessions."""

    ttl: float
    sessions: int
    per_client: int


class RequestError(Exception):
    """A request that fails, with the status and the reason for the client."""

    def __init__(self, status: int, reason: str) -> None:
        """Store status and reason."""
        super().__init__(reason)
        self.status = status


class StoreError(Exception):
    """The store cannot be reached or does not work."""


class Store(Protocol):
    """A store of sessions. Each method is one atomic step; keys are unique."""

    async def open(self) -> None:
        """Connect to the store, or open its file."""

    async def add(self, key: str, session: Session) -> None:
        """Store a new session; RequestError if there are too many."""

    async def get(self, key: str) -> Session | None:
        """Return a session, or None if it is missing or expired."""

    async def replace(self, key: str, session: Session) -> bool:
        """Replace the data and restart the time to live; False if the session has just expired."""

    async def close(self) -> None:
        """Release all resources."""


def client_of(address: str) -> str:
    """Return the client for the limit: its address, or its IPv6 network, in which a client can choose addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def too_many(client: bool) -> RequestError:
    """Return the error for a client, or a server, with too many sessions."""
    return RequestError(429, "too many sessions of this client") if client else RequestError(503, "too many sessions")


class SqliteStore:
    """Sessions in a file, or in memory. One thread owns the connection, so that the event loop does not wait for it."""

    #: The statements that migrate each version of the schema to the next.
    MIGRATIONS = (
        """
        CREATE TABLE session (
            key TEXT PRIMARY KEY, user TEXT NOT NULL, address TEXT NOT NULL, client TEXT NOT NULL,
            data TEXT NOT NULL, expires REAL NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX session_expires ON session (expires);
        CREATE INDEX session_client ON session (client, expires);
        """,
    )

    def __init__(self, path: str, limits: Limits, log: Any) -> None:
        """Store the settings; `open` opens the file."""
        self.path = path
        self.limits = limits
        self.log = log
        self.worker = ThreadPoolExecutor(1, "sessman")
        self.sweeper: asyncio.Task[None] | None = None

    async def run(self, step: Callable[..., T], *arguments: Any) -> T:
        """Run one step in the thread of the connection."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.worker, step, *arguments)
        except (sqlite3.Error, OSError) as error:
            message = f"{self.path}: {error}"
            raise StoreError(message) from error

    async def open(self) -> None:
        """Open the file, create or migrate its tables, and start to delete expired sessions."""
        await self.run(self._open)
        self.sweeper = asyncio.create_task(self.sweep(), name="sessman")

    def _open(self) -> None:
        if self.path != ":memory:":
            # Readable by the server's user only; SQLite gives its other files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        # Autocommit: each step begins its transaction itself.
        self.connection = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            self._migrate()
        except BaseException:
            self.connection.close()
            raise

    def _migrate(self) -> None:
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
            if version > len(self.MIGRATIONS):
                message = f"it is of a newer version ({version})"
                raise sqlite3.DatabaseError(message)
            for script in self.MIGRATIONS[version:]:
                for statement in filter(str.strip, script.split(";")):
                    self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {len(self.MIGRATIONS)}")

    async def sweep(self) -> None:
        """Delete expired sessions, until the task is cancelled."""
        while True:
            try:
                await self.run(self._sweep)
            except StoreError as error:
                self.log.error("expired sessions cannot be deleted:", error)
            await asyncio.sleep(min(self.limits.ttl, 60))

    def _sweep(self) -> None:
        self.connection.execute("DELETE FROM session WHERE expires <= ?", (time.time(),))

    async def add(self, key: str, session: Session) -> None:
        """Insert a session, within the limits."""
        await self.run(self._add, key, session)

    def _add(self, key: str, session: Session) -> None:
        now, client = time.time(), client_of(session.address)
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            (total, own) = self.connection.execute(
                "SELECT (SELECT count(*) FROM session WHERE expires > :now),"
                " (SELECT count(*) FROM session WHERE client = :client AND expires > :now)",
                {"now": now, "client": client},
            ).fetchone()
            if own >= self.limits.per_client or total >= self.limits.sessions:
                raise too_many(own >= self.limits.per_client)
            row = (key, session.user, session.address, client, session.data, now + self.limits.ttl)
            self.connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?)", row)

    async def get(self, key: str) -> Session | None:
        """Read a session."""
        return await self.run(self._get, key)

    def _get(self, key: str) -> Session | None:
        query = "SELECT user, address, data FROM session WHERE key = ? AND expires > ?"
        row = self.connection.execute(query, (key, time.time())).fetchone()
        return None if row is None else Session(*row)

    async def replace(self, key: str, session: Session) -> bool:
        """Update a session."""
        return await self.run(self._replace, key, session)

    def _replace(self, key: str, session: Session) -> bool:
        now = time.time()
        statement = "UPDATE session SET data = ?, expires = ? WHERE key = ? AND expires > ?"
        return self.connection.execute(statement, (session.data, now + self.limits.ttl, key, now)).rowcount == 1

    async def close(self) -> None:
        """Wait for the current step and close the file."""
        if self.sweeper is not None:
            self.sweeper.cancel()
            await self.run(self.connection.close)
        self.worker.shutdown(wait=False)


class RedisStore:
    """Sessions in Redis, which deletes expired ones itself. Two sorted sets, by time of expiry, count them."""

    ADD = """
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        for i = 2, 3 do
            redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
        end
        if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then return 'client' end
        if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then return 'all' end
        redis.call('HSET', KEYS[1], 'user', ARGV[4], 'address', ARGV[5], 'data', ARGV[6])
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
        for i = 2, 3 do
            redis.call('ZADD', KEYS[i], now + ARGV[1], KEYS[1])
            redis.call('PEXPIRE', KEYS[i], ARGV[1])
        end
        return 'added'
    """
    REPLACE = """
        if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        redis.call('HSET', KEYS[1], 'data', ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
        for i = 2, 3 do
            redis.call('ZADD', KEYS[i], now + ARGV[1], KEYS[1])
            redis.call('PEXPIRE', KEYS[i], ARGV[1])
        end
        return 1
    """

    def __init__(self, url: str, username: str | None, password: str | None, limits: Limits, prefix: str) -> None:
        """Create the client; the library is imported here, so that it is needed for Redis only."""
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import RedisError
        except ImportError as error:
            message = f"sessman: {error}; backend=redis needs: pip install redis"
            raise ImportError(message) from error
        credentials = {"username": username, "password": password}
        self.errors = (RedisError, OSError)
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=32,
                decode_responses=True,
                socket_timeout=5,
                socket_connect_timeout=5,
                # One retry on a new connection: a restart of Redis may have closed an idle one.
                retry=Retry(NoBackoff(), 1),
                **{name: value for name, value in credentials.items() if value},
            )
        except ValueError:
            message = (
                "sessman: server_url is no address of Redis: it is redis://HOST:PORT/0, and a password with special "
                "characters belongs into password"
            )
            # Without the library's reason, which may contain a part of the password.
            raise ValueError(message) from None
        self.redis: Any = Redis.from_pool(pool)
        self._add = self.redis.register_script(self.ADD)
        self._replace = self.redis.register_script(self.REPLACE)
        self.limits = limits
        # The braces keep all keys on one node of a cluster, which scripts require.
        self.prefix = f"{{{prefix}}}:"

    async def open(self) -> None:
        """Check that Redis answers."""
        try:
            await self.redis.ping()
        except self.errors as error:
            raise StoreError(str(error)) from error

    def keys(self, key: str, address: str) -> list[str]:
        """Return the keys of the session and of the sets that count it."""
        return [f"{self.prefix}session:{key}", f"{self.prefix}all", f"{self.prefix}client:{client_of(address)}"]

    async def add(self, key: str, session: Session) -> None:
        """Store a session, within the limits."""
        arguments = (round(self.limits.ttl * 1000), self.limits.sessions, self.limits.per_client, *session)
        try:
            answer = await self._add(self.keys(key, session.address), arguments)
        except self.errors as error:
            raise StoreError(str(error)) from error
        if answer != "added":
            raise too_many(answer == "client")

    async def get(self, key: str) -> Session | None:
        """Read all fields of a session."""
        try:
            fields = await self.redis.hmget(f"{self.prefix}session:{key}", Session._fields)
        except (*self.errors, UnicodeDecodeError) as error:
            raise StoreError(str(error)) from error
        if fields == [None, None, None]:
            return None
        if None in fields:
            raise StoreError(DAMAGED)
        return Session(*fields)

    async def replace(self, key: str, session: Session) -> bool:
        """Update a session, if it exists."""
        arguments = (round(self.limits.ttl * 1000), session.data)
        try:
            return bool(await self._replace(self.keys(key, session.address), arguments))
        except self.errors as error:
            raise StoreError(str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


def number(settings: dict[str, Any], name: str, default: float, limit: float) -> float:
    """Return a setting that must be a number from 1 to `limit`."""
    try:
        value = float(settings.get(name, default))
    except (TypeError, ValueError):
        value = 0
    if not 1 <= value <= limit:
        message = f"sessman: {name} must be a number from 1 to {limit:.0f}, not {settings[name]!r}"
        raise ValueError(message)
    return value


class Sessman(BasePlugin):
    """The endpoints for sessions; only the owner of a session has access to it."""

    http_methods = ("GET", "POST")

    def __init__(self, **kwargs: Any) -> None:
        """Read the settings from the ini file or from a JSON file."""
        super().__init__(**kwargs)
        self.bind = kwargs.get("bind", "address")
        if self.bind not in BINDINGS:
            message = f"sessman: bind must be one of {', '.join(BINDINGS)}, not {self.bind!r}"
            raise ValueError(message)
        self.data_limit = int(number(kwargs, "data_limit", 16 << 10, 1 << 30))
        self.limits = Limits(
            ttl=number(kwargs, "session_ttl", 86400, 3650 * 86400),
            sessions=int(number(kwargs, "max_sessions", 20_000, 1e9)),
            per_client=int(number(kwargs, "max_sessions_per_client", 1000, 1e9)),
        )
        self.store = self.choose_store(**kwargs)

    def choose_store(self, backend: str = "sqlite", database: Any = None, **kwargs: Any) -> Store:
        """Return the configured store."""
        mongodb = ValueError(f"sessman: {MONGODB}")
        url = str(kwargs.get("server_url", ""))
        if backend == "sqlite":
            if {"username", "password", "server_url", "collection"} & set(kwargs):
                raise mongodb
            if not database:
                self.log("sessions are kept in memory, until this plugin is reloaded: database=PATH keeps them longer")
            return SqliteStore(os.path.expanduser(str(database or ":memory:")), self.limits, self.log)
        if backend == "redis":
            if database or "collection" in kwargs or not url.startswith(("redis://", "rediss://", "unix://")):
                raise mongodb
            return RedisStore(url, kwargs.get("username"), kwargs.get("password"), self.limits, self._plugin_id)
        message = f"sessman: backend must be sqlite or redis, not {backend!r}"
        raise ValueError(message)

    async def initialize(self, **kwargs: Any) -> None:
        """Open the store. Redis may become available later; a file that cannot be opened is an error."""
        try:
            await self.store.open()
        except StoreError as error:
            if isinstance(self.store, SqliteStore):
                await self.store.close()
                message = f"sessman: database: {error}"
                raise ValueError(message) from error
            self.log.warning("there are no sessions until Redis answers:", error)

    async def terminate_plugin(self) -> None:
        """Close the store."""
        await self.store.close()

    async def request_handler(self, **data: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Handle one of the three endpoints; every error is a JSON object with `error`."""
        headers = {"Cache-Control": "no-store"}
        endpoints = {"new": self.new, "get": self.get, "update": self.update}
        try:
            endpoint = endpoints.get(data["subpath"] or "")
            if endpoint is None:
                raise RequestError(400, f"{data['subpath'] or self._plugin_id} is not a valid endpoint")
            session_id, content = await endpoint(data)
            value = value_of(content)
        except RequestError as error:
            return error.status, {"error": str(error)}, headers
        except StoreError as error:
            self.log.error(error)
            return 503, {"error": "sessions are not available at the moment"}, headers
        if endpoint != self.get:
            headers["Set-Cookie"] = self.cookie(session_id, data["request"].secure)
        return 200, {"session_id": session_id, "data": value}, headers

    async def new(self, data: dict[str, Any]) -> tuple[str, str]:
        """Start a session. The server always creates the id; an id sent by the client is ignored."""
        user = self.user(data) or ""
        session_id = secrets.token_urlsafe(32)
        content = self.content(data.get("data", {}))
        await self.store.add(digest(session_id), Session(user, data["client_ip"], content))
        return session_id, content

    async def get(self, data: dict[str, Any]) -> tuple[str, str]:
        """Read a session."""
        session_id, session = await self.find(data)
        return session_id, session.data

    async def update(self, data: dict[str, Any]) -> tuple[str, str]:
        """Replace the data of a session."""
        session_id, session = await self.find(data)
        if "data" not in data:
            raise RequestError(400, 'data is missing: POST a JSON object {"data": ...}')
        content = self.content(data["data"])
        if not await self.store.replace(digest(session_id), session._replace(data=content)):
            raise RequestError(400, "session not found")
        return session_id, content

    async def find(self, data: dict[str, Any]) -> tuple[str, Session]:
        """Return the client's session. Missing, expired and other clients' sessions give the same error."""
        user = self.user(data)
        cookie = data["request"].cookies.get("session_id")
        session_id = data.get("session_id") or data.get("sessionid") or cookie
        if not session_id:
            raise RequestError(400, "session_id is missing")
        session = await self.store.get(digest(session_id)) if isinstance(session_id, str) else None
        if (
            session is None
            or (self.bind == "address" and session.address != data["client_ip"])
            or (user is not None and session.user != user)
        ):
            raise RequestError(400, "session not found")
        return session_id, session

    def user(self, data: dict[str, Any]) -> str | None:
        """Return the user of a request, which is required if sessions are bound to users."""
        user = data.get("user", data.get("userid"))
        if user in (None, "") and self.bind == "user":
            raise RequestError(400, "user is missing")
        if isinstance(user, int) and user.bit_length() <= 64:
            user = str(user)
        if user is not None and not (isinstance(user, str) and len(user) <= 256 and user.isprintable()):
            raise RequestError(400, "user must be a text of at most 256 printable characters")
        return user

    def content(self, value: Any) -> str:
        """Return the JSON text of the data to store."""
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            raise RequestError(400, "data must be JSON, without NaN or infinite numbers") from None
        if len(text) > self.data_limit:
            raise RequestError(413, f"data must not be longer than {self.data_limit} bytes of JSON")
        return text

    def cookie(self, session_id: str, secure: bool) -> str:
        """Return the cookie with the session id for browsers; scripts and other sites have no access to it."""
        path, age = quote(f"/{self._plugin_id}"), int(self.limits.ttl)
        cookie = f"session_id={session_id}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Strict"
        return f"{cookie}; Secure" if secure else cookie


def value_of(content: str) -> Any:
    """Return the data of a session; StoreError if another program has damaged it."""
    try:
        return json.loads(content)
    except ValueError:
        raise StoreError(DAMAGED) from None  # the data must not be logged


def digest(session_id: str) -> str:
    """Return the key of a session in the store: a hash, so that the store does not contain usable ids."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
