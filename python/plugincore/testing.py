"""A client that runs one plugin in a test, without a socket.

Loading, arguments, keys, limits, results and errors use the server's own code, so a test gets real answers:

>>> from plugincore.baseplugin import BasePlugin
>>> class Greet(BasePlugin):
...     async def request_handler(self, name="world", **data):
...         return 200, {"hello": name}
>>> with SyncPluginClient(Greet) as client:
...     client.get(query={"name": "Ada"}).json()
{'hello': 'Ada'}

:class:`PluginClient` is the same for tests that run on an event loop. For pytest there is the fixture
``plugin_client``, which needs neither an import nor a pytest plugin for asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import json as json_module
import os
import sys
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import parse_qsl

from plugincore import MultiDict, _psutil
from plugincore._core import Rehearsal
from plugincore._testing_requests import File, HandshakeError, Pairs, body_of, has_ended, multipart, pairs, target_of
from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, Unpack

    from plugincore._testing_websocket import SyncWebSocketClient, WebSocketClient

__all__ = [
    "ClientOptions",
    "HandshakeError",
    "PluginClient",
    "RequestOptions",
    "Response",
    "SyncPluginClient",
    "WebSocketOptions",
]

_T = TypeVar("_T")

Plugin = type[BasePlugin] | str | os.PathLike[str]
"""A plugin class, or the path of a plugin file."""


class ClientOptions(TypedDict, total=False):
    """The arguments of a client besides the plugin; see :class:`PluginClient`."""

    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None
    params: str | Mapping[str, Any] | None
    class_name: str | None
    client_ip: str
    headers: Pairs | None
    level: str
    raise_plugin_exceptions: bool


class RequestOptions(TypedDict, total=False):
    """The arguments of a request besides method and path; see :meth:`PluginClient.request`."""

    query: str | Pairs | None
    headers: Pairs | None
    cookies: Mapping[str, str] | None
    json: Any
    data: bytes | str | Pairs | None
    files: Mapping[str, File | Sequence[File]] | None
    timeout: float | None


class WebSocketOptions(TypedDict, total=False):
    """The arguments of a WebSocket besides the path; see :meth:`PluginClient.websocket`."""

    query: str | Pairs | None
    headers: Pairs | None
    cookies: Mapping[str, str] | None
    protocols: Iterable[str]
    timeout: float | None


@dataclass(frozen=True)
class Response:
    """The answer that a client would receive.

    >>> class Teapot(BasePlugin):
    ...     def request_handler(self, **data):
    ...         return 418, "short and stout", {"Set-Cookie": "tea=green"}
    >>> with SyncPluginClient(Teapot) as client:
    ...     response = client.get()
    >>> response.status, response.content_type, response.text, response.cookies["tea"].value
    (418, 'text/html', 'short and stout', 'green')
    """

    status: int
    """The status code."""
    headers: MultiDict
    """The headers: names ignore case, ``getall`` returns repeated ones."""
    body: bytes = field(repr=False)
    """The complete body, even if it was streamed."""
    exception: BaseException | None = None
    """The exception of the plugin, if it caused the answer 500."""

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def content_type(self) -> str:
        """The media type without its parameters; empty if there is none."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset in the content type, else ``utf-8``."""
        message = Message()
        message["Content-Type"] = self.headers.get("Content-Type", "")
        return message.get_content_charset("utf-8")

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(self.charset)

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies set by the answer, by name, as :class:`http.cookies.Morsel` objects."""
        cookies: SimpleCookie = SimpleCookie()
        for line in self.headers.getall("Set-Cookie", []):
            cookies.load(line)
        return cookies

    def json(self) -> Any:
        """Return the body, decoded from JSON."""
        return json_module.loads(self.body)


class PluginClient:
    """Serves one plugin to a test that runs on an event loop.

    ``async with`` constructs and initialises the plugin on the running loop, and terminates it at the end. It raises
    the exceptions of ``__init__``, ``initialize`` and ``terminate_plugin``.

    >>> class Count(BasePlugin):
    ...     async def initialize(self, **kwargs):
    ...         self.asked = int(kwargs["start"])
    ...
    ...     async def request_handler(self, **data):
    ...         self.asked += 1
    ...         return 200, {"asked": self.asked, "where": data["subpath"]}
    >>> async def check():
    ...     async with PluginClient(Count, params="start=5") as client:
    ...         first = await client.get("/a/b")
    ...         await client.post(json={"any": "thing"})
    ...         return first.json(), client.plugin.asked
    >>> asyncio.run(check())
    ({'asked': 6, 'where': 'a/b'}, 7)

    Args:
        plugin: The plugin's class, or the path of its file, which is loaded as by the server.
        config: The content of the ini file: its path, sections as a mapping of mappings, or a :class:`Config`. The
            plugin gets it as ``config``; ``[auth]``, ``[cors]``, ``[server]`` and ``[compat]`` work as in the server.
        params: The plugin's parameters: a text as in ``[plugin_parms]``, or a mapping whose values keep their types,
            like the values in a JSON parameter file.
        class_name: The class in the file, if it has several.
        client_ip: The client's address.
        headers: Headers of every request, such as a key.
        level: The level of the log, which is written to standard output.
        raise_plugin_exceptions: Raise the exception of a handler instead of answering 500.

    Attributes:
        cookies: The cookies that the client has, by name: what answers have set, sent with every request from then on,
            whatever path they are for. A test may change them.

    """

    def __init__(
        self,
        plugin: Plugin,
        *,
        config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        params: str | Mapping[str, Any] | None = None,
        class_name: str | None = None,
        client_ip: str = "127.0.0.1",
        headers: Pairs | None = None,
        level: str = "INFO",
        raise_plugin_exceptions: bool = False,
    ) -> None:
        """Prepare the client; the plugin is constructed when the client is entered."""
        if isinstance(plugin, type):
            if not issubclass(plugin, BasePlugin):
                raise TypeError(f"{plugin.__qualname__} is not derived from BasePlugin")
            file = _source_file(plugin)
            meant: type[BasePlugin] | str | None = plugin
        else:
            file = Path(plugin)
            meant = class_name
            if not file.is_file():
                raise FileNotFoundError(f"there is no plugin file {os.fspath(plugin)!r}")
        self._folder = None if isinstance(plugin, type) else file.parent
        self._imports: _Imports | None = None
        # As in the server: plugins can import psutil even if it is not installed.
        _psutil.install()
        values = dict(parse_qsl(params)) if isinstance(params, str) else params
        self._rehearsal = Rehearsal(file, meant, _config(config, file, level), dict(values) if values else None, level)
        self._client_ip = str(ipaddress.ip_address(client_ip))
        self._headers = pairs(headers)
        self.cookies: dict[str, str] = {}
        self._raises = raise_plugin_exceptions

    @property
    def plugin(self) -> Any:
        """The plugin object, between entering and leaving the client."""
        plugin = self._rehearsal.instance
        if plugin is None:
            raise RuntimeError("there is no plugin outside of `with`")
        return plugin

    async def __aenter__(self) -> Self:
        """Construct the plugin and call its ``initialize``."""
        # In a separate task, so that context variables set by the plugin do not change those of the test.
        if self._folder is not None:
            self._imports = _Imports(self._folder)
        try:
            await asyncio.ensure_future(self._rehearsal.start())
        except BaseException:
            self._forget_imports()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Call the plugin's ``terminate_plugin``, then end its background tasks."""
        try:
            await asyncio.ensure_future(self._rehearsal.stop())
        finally:
            self._forget_imports()

    def _forget_imports(self) -> None:
        imports, self._imports = self._imports, None
        if imports is not None:
            imports.undo()

    async def request(
        self,
        method: str,
        path: str = "",
        *,
        query: str | Pairs | None = None,
        headers: Pairs | None = None,
        cookies: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | str | Pairs | None = None,
        files: Mapping[str, File | Sequence[File]] | None = None,
        timeout: float | None = 30,
    ) -> Response:
        """Send a request and return the complete answer.

        Args:
            method: The method, such as ``PUT``.
            path: The part after the plugin's id: empty, or ``/`` and a subpath; it may contain a query.
            query: Variables of the query, or its text.
            headers: Headers of this request; they replace the client's own headers of the same name.
            cookies: Cookies of this request, besides those that the client has.
            json: A value to send as JSON.
            data: A body, sent unchanged, or the fields of a form.
            files: Files of a form, by the names of their fields; ``data`` then holds its other fields.
            timeout: Seconds to wait for the complete answer; None waits without a limit.

        Raises:
            TimeoutError: The answer took longer; for the plugin, the client has disconnected.
            ConnectionError: The connection broke during the answer.

        """
        body, kind = body_of(json, data) if files is None else multipart(json, data, files)
        sent = self._sent(headers, cookies)
        if kind and all(name.lower() != "content-type" for name, _ in sent):
            sent.append(("Content-Type", kind))
        target = target_of(self._rehearsal.plugin_id, path, query)
        encoded = [(name, value.encode("utf-8", "surrogateescape")) for name, value in sent]
        answer = self._rehearsal.request(method.upper(), target, encoded, body, self._client_ip)
        response = Response(*await asyncio.wait_for(answer, timeout))
        for name, cookie in response.cookies.items():
            if has_ended(cookie):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.coded_value
        if self._raises and response.exception is not None:
            raise response.exception
        return response

    def _sent(self, headers: Pairs | None, cookies: Mapping[str, str] | None) -> list[tuple[str, str]]:
        """Return the headers of a request."""
        own = pairs(headers)
        names = {name.lower() for name, _ in own}
        sent = [(name, value) for name, value in self._headers if name.lower() not in names] + own
        jar = {**self.cookies, **(cookies or {})}
        if jar:
            sent.append(("Cookie", "; ".join(f"{name}={value}" for name, value in jar.items())))
        return sent

    def websocket(
        self,
        path: str = "",
        *,
        query: str | Pairs | None = None,
        headers: Pairs | None = None,
        cookies: Mapping[str, str] | None = None,
        protocols: Iterable[str] = (),
        timeout: float | None = 30,
    ) -> WebSocketClient:
        """Return a WebSocket to the plugin, which ``async with`` opens and closes.

        The package ``websockets`` is needed. Opening it raises :class:`HandshakeError` if the answer is another one.

        Args:
            path: As for :meth:`request`, and so are ``query``, ``headers`` and ``cookies``.
            query: Variables of the query, or its text.
            headers: Headers of the request.
            cookies: Cookies of the request, besides those that the client has.
            protocols: The subprotocols to choose from, the best first.
            timeout: Seconds to wait for each message; None waits without a limit.

        """
        # Not at the top: most tests need no WebSocket, and have not got the package.
        from plugincore._testing_websocket import WebSocketClient

        target = target_of(self._rehearsal.plugin_id, path, query)
        sent = self._sent(headers, cookies)
        return WebSocketClient(self._rehearsal, target, sent, self._client_ip, protocols, timeout)

    async def get(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a GET request; the options are those of :meth:`request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a HEAD request; the options are those of :meth:`request`."""
        return await self.request("HEAD", path, **options)

    async def post(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a POST request; the options are those of :meth:`request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a PUT request; the options are those of :meth:`request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a PATCH request; the options are those of :meth:`request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a DELETE request; the options are those of :meth:`request`."""
        return await self.request("DELETE", path, **options)

    async def options(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request; the options are those of :meth:`request`."""
        return await self.request("OPTIONS", path, **options)


class SyncPluginClient:
    """:class:`PluginClient` for plain tests, with its own event loop, which runs while one of its methods runs.

    >>> class Tick(BasePlugin):
    ...     async def initialize(self, **kwargs):
    ...         self.ticked = asyncio.Event()
    ...         self.task = asyncio.create_task(self.tick())
    ...
    ...     async def tick(self):
    ...         self.ticked.set()
    ...
    ...     async def request_handler(self, **data):
    ...         return {"ticked": self.ticked.is_set()}
    >>> with SyncPluginClient(Tick) as client:
    ...     client.run(client.plugin.ticked.wait())
    ...     client.get().json()
    True
    {'ticked': True}

    The arguments are those of :class:`PluginClient`.
    """

    def __init__(self, plugin: Plugin, **options: Unpack[ClientOptions]) -> None:
        """Prepare the client; the plugin is constructed when the client is entered."""
        self._client = PluginClient(plugin, **options)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def plugin(self) -> Any:
        """The plugin object, between entering and leaving the client."""
        return self._client.plugin

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the client has; see :class:`PluginClient`."""
        return self._client.cookies

    def run(self, awaitable: Awaitable[_T]) -> _T:
        """Run the plugin's event loop until ``awaitable`` is done and return its result."""
        if self._loop is None:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise RuntimeError("the client is not open: use it in `with`")
        return self._loop.run_until_complete(_awaited(awaitable))

    def __enter__(self) -> Self:
        """Construct the plugin and call its ``initialize``."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("an event loop runs already: use PluginClient, in `async with`")
        self._loop = asyncio.new_event_loop()
        try:
            self.run(self._client.__aenter__())
        except BaseException:
            self._close_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Call the plugin's ``terminate_plugin``, then end its background tasks and the loop."""
        try:
            self.run(self._client.__aexit__(kind, error, traceback))
        finally:
            self._close_loop()

    def _close_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run_until_complete(_wind_up(loop))
            finally:
                loop.close()

    def request(self, method: str, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a request; the options are those of :meth:`PluginClient.request`."""
        return self.run(self._client.request(method, path, **options))

    def websocket(self, path: str = "", **options: Unpack[WebSocketOptions]) -> SyncWebSocketClient:
        """Return a WebSocket to the plugin, which ``with`` opens and closes; see :meth:`PluginClient.websocket`."""
        from plugincore._testing_websocket import SyncWebSocketClient

        return SyncWebSocketClient(self._client.websocket(path, **options), self.run)

    def get(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a GET request; the options are those of :meth:`PluginClient.request`."""
        return self.request("GET", path, **options)

    def head(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a HEAD request; the options are those of :meth:`PluginClient.request`."""
        return self.request("HEAD", path, **options)

    def post(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a POST request; the options are those of :meth:`PluginClient.request`."""
        return self.request("POST", path, **options)

    def put(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a PUT request; the options are those of :meth:`PluginClient.request`."""
        return self.request("PUT", path, **options)

    def patch(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a PATCH request; the options are those of :meth:`PluginClient.request`."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send a DELETE request; the options are those of :meth:`PluginClient.request`."""
        return self.request("DELETE", path, **options)

    def options(self, path: str = "", **options: Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request; the options are those of :meth:`PluginClient.request`."""
        return self.request("OPTIONS", path, **options)


async def _awaited(awaitable: Awaitable[_T]) -> _T:
    return await awaitable


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks on a loop that is about to be closed."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class _Imports:
    """Removes the modules that a plugin file imported from its folder, so that the next test imports them again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._path = list(sys.path)
        self._modules = set(sys.modules)

    def undo(self) -> None:
        folder = str(self._folder)
        if folder not in self._path and folder in sys.path:
            sys.path.remove(folder)
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and self._folder in Path(file).absolute().parents:
                del sys.modules[name]


def _source_file(plugin: type[BasePlugin]) -> Path:
    """Return the file that defines a class; its name is the key in ``[plugin_parms]``."""
    try:
        return Path(inspect.getfile(plugin))
    except (OSError, TypeError):
        return Path(f"{plugin.__name__.lower()}.py")


def _config(given: Config | Mapping[str, Any] | str | os.PathLike[str] | None, file: Path, level: str) -> Config:
    """Return the configuration, with the sections that the server adds."""
    if isinstance(given, Config):
        return given
    if isinstance(given, (str, os.PathLike)):
        config = Config(file=given)
        if not Path(given).is_file():
            raise FileNotFoundError(f"there is no ini file {os.fspath(given)!r}")
    else:
        config = Config(items={})
        config.top_config = config
        for name, section in (given or {}).items():
            config[name] = _section(config, name, section) if isinstance(section, Mapping) else section
    if "paths" not in config:
        config["paths"] = _section(config, "paths", {})
    config.paths.setdefault("plugins", str(file.absolute().parent))
    config["logging"] = _section(config, "logging", {"level": level})
    return config


def _section(config: Config, name: str, items: Mapping[str, Any]) -> Config:
    return Config(items=items, section_name=name, top_config=config)
