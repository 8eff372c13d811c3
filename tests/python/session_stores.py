"""The two stores of sessions as tests see them: a file of sqlite and a running Redis."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import redis

from support.wait import wait_until


def start_redis(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a Redis server that listens at a socket in `folder` and stores nothing."""
    program = shutil.which("redis-server")
    assert program is not None, "these tests need redis-server: apt-get install redis-server"
    command = [program, "--port", "0", "--unixsocket", str(folder / "redis"), "--save", "", "--dir", str(folder)]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)


def wait_for_redis(client: redis.Redis) -> redis.Redis:
    """Return the client when its server answers."""

    def answers() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    wait_until(answers, "Redis does not answer")
    return client


class Backend:
    """One of the two stores, beside the server that uses it."""

    def __init__(self, parameters: str, client: redis.Redis | None, file: Path) -> None:
        """Remember the plugin's parameters for it; without a client of Redis it is the file."""
        self.parameters = parameters
        self.client = client
        self.file = file

    def rows(self, statement: str, *values: float | str) -> list[tuple[object, ...]]:
        """Execute a statement on the file."""
        with contextlib.closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def content(self) -> str:
        """Return all that is stored, as one text."""
        if self.client is None:
            return repr(self.rows("SELECT * FROM session"))
        keys = sorted(self.client.keys("*"))
        return repr(keys) + repr([self.client.hgetall(key) for key in keys if ":session:" in key])

    def sessions(self) -> int:
        """Return how many sessions are stored, expired ones included."""
        if self.client is None:
            return len(self.rows("SELECT key FROM session"))
        return len(self.client.keys("*:session:*"))

    def damage(self, data: str) -> None:
        """Replace the data of all sessions, as if another program had written to the store."""
        if self.client is None:
            self.rows("UPDATE session SET data = ?", data)
            return
        for key in self.client.keys("*:session:*"):
            self.client.hset(key, "data", data)

    def time_left(self) -> float:
        """Return the seconds for which the only session will live."""
        if self.client is None:
            ((expires,),) = self.rows("SELECT expires FROM session")
            assert isinstance(expires, float)
            return expires - time.time()
        (key,) = self.client.keys("*:session:*")
        return self.client.pttl(key) / 1000

    def age(self, seconds: float) -> None:
        """Let the sessions grow older."""
        if self.client is None:
            self.rows("UPDATE session SET expires = expires - ?", seconds)
            return
        for key in self.client.keys("*"):
            self.client.pexpire(key, round(self.client.pttl(key) - seconds * 1000))
        for key in self.client.keys("*:all") + self.client.keys("*:client:*"):
            for member in self.client.zrange(key, 0, -1):
                self.client.zincrby(key, -seconds * 1000, str(member))
