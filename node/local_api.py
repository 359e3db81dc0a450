"""The local API: a running node serves the programs of its own user on a Unix socket.

`POST /v1/call/METHOD` with a JSON object answers `{"result": …}` or `{"error": {"message",
"exit_code"}}`. `POST /v1/stream/METHOD` answers JSON lines: the items of the stream as they come,
then `{"end": true}` or `{"error": …}`; a stream that ends without one of these was cut. No TCP,
no cookies, no browser: whoever may open the socket file is asked for nothing else, and the file
(0600, in a directory of mode 0700) opens to its owner alone; the kernel's word on the caller's user
id is checked on every request all the same.

A call that changes something is finished even if its caller has gone; one that only waits, and
every stream, ends with its caller, and with the node. `close` lets the others end and leaves no
task behind.
What the methods mean is not decided here: see docs/cli.md.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from .. import CoveyError
from .faults import Fault, describe
from .local_socket import (
    BODY_BYTES_MAX,
    peer_credentials,
    require_private_directory,
    short_name,
    socket_path,
)

_DEVICE_CALLS = {"device", "devices", "device_show", "device_rename", "device_describe"}
_TRUST_CALLS = {"device_level", "device_role", "device_revoke", "device_objectors", "device_adopt"}
_KEY_CALLS = {"shelf", "keys_rotate", "device_rekey", "requests", "request_approve"}
_DATABASE_CALLS = {"databases", "database_create", "database_show"}
_RECORD_CALLS = {"put", "put_many", "get", "delete", "move", "list", "find"}
_NODE_CALLS = {"sync", "fetch", "status", "backup", "down", "pair_answer", "join_answer"}
_BLOB_CALLS = {"blob_put", "blob_get", "blob_list", "blob_quota"}
_LOG_CALLS = {"log_verify", "log_keep"}
_POLICY_CALLS = {"policy_show", "policy_set", "policy_explain", "policy_profile", "policy_load"}
_CONFLICT_CALLS = {"conflicts", "conflict_show", "conflict_resolve", "conflict_resolve_all"}
_RULE_CALLS = {"conflict_undo", "rules", "rule_set"}
_SETTING_CALLS = {"settings", "settings_set"}
_VECTOR_CALLS = {"similar", "vectors", "vectors_declare", "vectors_forget"}
_LINK_CALLS = {"links", "link_declare", "link_undeclare", "link_fields", "views", "view_drop"}
_PAST_CALLS = {"get_at", "history"}
_QUERY_CALLS = {"search", "find_explain", "indexes", "index_create", "index_drop", "index_advise"}
_SQL_CALLS = {"sql"}
_CACHE_CALLS = {"cache_stats", "cache_clear"}
_SCHEMA_CALLS = {"schemas", "schema_show", "schema_install", "schema_remove", "schema_check"}
_MIGRATION_CALLS = {"schema_migrate", "schema_history"}
_STORAGE_CALLS = {"storage", "storage_keep", "storage_tidy", "erase", "erasures"}
CALLS = frozenset().union(
    *(_DEVICE_CALLS, _TRUST_CALLS, _KEY_CALLS, _DATABASE_CALLS, _RECORD_CALLS),
    *(_NODE_CALLS, _LOG_CALLS, _CONFLICT_CALLS, _RULE_CALLS, _POLICY_CALLS, _BLOB_CALLS),
    *(_SETTING_CALLS, _VECTOR_CALLS, _QUERY_CALLS, _SCHEMA_CALLS, _STORAGE_CALLS),
    *(_MIGRATION_CALLS, _PAST_CALLS, _LINK_CALLS, _SQL_CALLS, _CACHE_CALLS),
)
STREAMS = frozenset(
    {"watch", "live", "export", "log", "events", "pair", "join", "blob_read", "import_chat"}
)
WAITING_CALLS = frozenset({"sync", "fetch", "get", "blob_get", "sql"})
"""They leave nothing half done: they end with their caller, and at once when the node stops."""
CLOSE_GRACE_S = 10.0
"""How long `close` waits for calls that are being answered."""
STOPPED = Fault("the node was stopped; `covey up` starts it again", 1)

log = logging.getLogger(__name__)


class LocalService(Protocol):
    """What is served. Both take and give JSON-able data and raise CoveyError."""

    async def call(self, method: str, params: dict[str, Any]) -> Any: ...

    def stream(self, method: str, params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]: ...


class BadRequestError(CoveyError):
    """The request cannot be read. Nothing was done."""

    exit_code = 2

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LocalApi:
    """The server of one home. Made by `serve`."""

    def __init__(self, home: Path, service: LocalService) -> None:
        self.path = socket_path(home)
        self._service = service
        self._calls: dict[asyncio.Task[Any], str] = {}
        """Those under way, and their methods."""
        self._pumps: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._closing = False

    async def start(self) -> None:
        """Listen. The caller holds the lock of the home, so a socket file here is a dead one.

        Raises LocalSocketError or OSError; then nothing listens.
        """
        require_private_directory(os.path.dirname(self.path))
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=1.0,
            lingering_time=1.0,
        )
        await runner.setup()
        listener = _bind(self.path)
        try:
            self._site = web.SockSite(runner, listener)
            await self._site.start()
        except BaseException:
            listener.close()
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Stop listening, end streams with a sentence, let calls end. Closing twice is harmless."""
        if self._runner is None or self._closing:
            return
        self._closing = True
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        assert self._site is not None
        await self._site.stop()
        for pump in self._pumps:
            pump.cancel()
        for call, method in self._calls.items():
            if method in WAITING_CALLS:
                call.cancel()
        if self._calls:
            _, late = await asyncio.wait(tuple(self._calls), timeout=CLOSE_GRACE_S)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            _require_owner(request)
            kind, method = _target(request)
            params = await _params(request)
        except BadRequestError as error:
            return _refusal(error)
        if kind == "stream":
            return await self._stream(request, method, params)
        return await self._call(method, params)

    async def _call(self, method: str, params: dict[str, Any]) -> web.Response:
        call = asyncio.ensure_future(self._service.call(method, params))
        self._calls[call] = method
        call.add_done_callback(self._called)
        try:
            # Shielded: a caller that vanishes must not leave half of what it asked for.
            return _json(200, {"result": await asyncio.shield(call)})
        except asyncio.CancelledError:
            if not call.cancelled():
                if method in WAITING_CALLS:
                    call.cancel()
                raise
            return _json(503, _error(STOPPED))
        except Exception as error:
            status = 422 if isinstance(error, CoveyError) else 500
            return _json(status, _error(_note(method, error)))

    def _called(self, call: asyncio.Task[Any]) -> None:
        self._calls.pop(call, None)
        if not call.cancelled():
            call.exception()  # Taken, so that nobody warns of an answer that had no reader.

    async def _stream(
        self, request: web.Request, method: str, params: dict[str, Any]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        pump = asyncio.ensure_future(self._pump(response, method, params))
        self._pumps.add(pump)
        if self._closing:
            pump.cancel()
        last: dict[str, Any] = {"end": True}
        try:
            await asyncio.wait({pump})
            if pump.cancelled():
                last = _error(STOPPED)
            elif (failure := pump.exception()) is not None:
                last = _error(_note(method, failure))
            with contextlib.suppress(ConnectionError):
                await response.write(_line(last))
        finally:
            # Also reached when the caller vanished and this handler is being cancelled.
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._pumps.discard(pump)
        return response

    async def _pump(
        self, response: web.StreamResponse, method: str, params: dict[str, Any]
    ) -> None:
        items = self._service.stream(method, params)
        try:
            async for item in items:
                assert item.keys() != {"end"} and item.keys() != {"error"}, "an item like an end"
                try:
                    await response.write(_line(item))
                except ConnectionError:
                    return  # The caller has gone: nobody is left to be told anything.
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()


@contextlib.asynccontextmanager
async def serve(home: Path, service: LocalService) -> AsyncIterator[LocalApi]:
    """Serve `service` on the socket of `home` while the block runs. See `LocalApi.start`."""
    api = LocalApi(home, service)
    await api.start()
    try:
        yield api
    finally:
        await api.close()


def _bind(path: str) -> socket.socket:
    """A bound socket whose file has mode 0600 before anybody can connect."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_name(path) as name:
            listener.bind(name)
        os.chmod(path, 0o600)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _require_owner(request: web.Request) -> None:
    connection = request.get_extra_info("socket")
    caller = None if connection is None else peer_credentials(connection)
    if caller is None or caller.uid != os.getuid():
        log.warning("a request of another user on the local socket was refused")
        raise BadRequestError("this node serves the user who runs it and nobody else", 403)


def _target(request: web.Request) -> tuple[str, str]:
    """(call or stream, method) of a request. Raises BadRequestError."""
    match request.path.split("/"):
        case ["", "v1", "call" | "stream" as kind, method]:
            pass
        case _:
            raise BadRequestError("no such path; try /v1/call/status", 404)
    if method not in (CALLS if kind == "call" else STREAMS):
        raise BadRequestError(f"this node knows no {kind} of that name; is it an older one?", 404)
    if request.method != "POST":
        raise BadRequestError("use POST with a JSON object as the body", 405)
    return kind, method


async def _params(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty object. Raises BadRequestError."""
    too_large = f"the request is larger than {BODY_BYTES_MAX} bytes; send it in parts"
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise BadRequestError(too_large, 413)
    try:
        body = await request.read()
        params = json.loads(body, parse_constant=_refuse_constant) if body else {}
        if b"\\u" in body:
            # Half of a surrogate pair is no text: it could be neither stored nor sent.
            json.dumps(params, ensure_ascii=False).encode()
    except web.HTTPRequestEntityTooLarge:
        raise BadRequestError(too_large, 413) from None
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON", 400) from None
    if not isinstance(params, dict):
        raise BadRequestError("the body is not a JSON object", 400)
    return params


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refusal(error: BadRequestError) -> web.Response:
    response = _json(error.status, _error(describe(error)))
    response.force_close()
    return response


def _note(method: str, error: BaseException) -> Fault:
    fault = describe(error)
    if not isinstance(error, CoveyError):
        log.error("%s: %s", method, fault.message)
    return fault


def _error(fault: Fault) -> dict[str, Any]:
    return {"error": {"message": fault.message, "exit_code": fault.exit_code}}


def _json(status: int, document: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=_line(document), content_type="application/json")


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
