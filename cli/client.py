"""The client of a running node: one HTTP/1.0 request a connection, on the home's Unix socket.

HTTP/1.0 because its answers end where the connection ends, so a client needs no more than this
file: `http.client` costs 20 ms of import (it brings `email` along), a quarter of the budget of a
whole command. What a command needs stands in `NodeCalls`; `local.py` is its other implementation,
for a home whose node does not run.

Spec: docs/cli.md, "A running node"; the server is `covey.node.local_api`. Times in seconds.
"""

import json
import os
import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Protocol

from ..node.local_socket import (
    BODY_BYTES_MAX,
    peer_credentials,
    short_name,
    socket_path,
)
from .errors import NodeError

ANSWER_TIMEOUT_S = 120.0
"""For calls that do not wait for other devices. Beyond it the node is stuck, not slow."""
LINE_BYTES_MAX = 256 * 1024 * 1024
"""The largest answer that is read."""
_WAITING_CALLS = frozenset(
    {"sync", "fetch", "get", "backup", "conflict_resolve_all", "blob_put", "blob_get"}
    | {"storage", "storage_tidy", "erase"}
)
"""They take as long as they take: until others answer, or as the store is large."""


class NodeCalls(Protocol):
    """A node as a command sees it, in another process or in this one."""

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result. Raises CoveyError."""

    def stream(self, method: str, params: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The items, as they come. Closing the iterator ends the stream. Raises CoveyError."""

    def close(self) -> None:
        """Let go of the node. Closing twice is harmless."""


class NodeClient:
    """Talks to the node that runs for a home. `pid` is its process, 0 if that is not known."""

    def __init__(self, path: str, first: socket.socket, pid: int) -> None:
        self._path = path
        self._first: socket.socket | None = first
        self.pid = pid

    def call(self, method: str, params: dict[str, Any]) -> Any:
        body = encode(params)
        timeout = None if method in _WAITING_CALLS else ANSWER_TIMEOUT_S
        with self._connection() as connection:
            connection.settimeout(timeout)
            try:
                answer = self._ask(connection, "call", method, body).readline(LINE_BYTES_MAX)
            except TimeoutError:
                raise NodeError(
                    f"the node did not answer within {timeout} s; `covey down` and start it again",
                    7,
                ) from None
            return _document(answer)["result"]

    def stream(self, method: str, params: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        body = encode(params)
        with self._connection() as connection:
            lines = self._ask(connection, "stream", method, body)
            while True:
                item = _document(lines.readline(LINE_BYTES_MAX))
                if item == {"end": True}:
                    return
                yield item

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None

    def _connection(self) -> socket.socket:
        first, self._first = self._first, None
        return _open(self._path) if first is None else first

    def _ask(self, connection: socket.socket, kind: str, method: str, body: bytes) -> Any:
        """Send one request; the reader that is left stands at the body of the answer."""
        head = (
            f"POST /v1/{kind}/{method} HTTP/1.0\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        lines = connection.makefile("rb")
        # A node that refuses may close before it has read all; what it said waits to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode("ascii") + body)
        with suppress(ConnectionResetError):
            while lines.readline(LINE_BYTES_MAX).strip():
                pass
        return lines


def connect(home: str) -> NodeClient | None:
    """A client of the node that runs for `home`, or None if none runs.

    Raises NodeError if what listens there is not ours.
    """
    path = socket_path(home)
    try:
        connection = _open(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except PermissionError:
        raise NodeError(f"{path}: this home belongs to another user", 3) from None
    server = peer_credentials(connection)
    if server is None or server.uid != os.getuid():
        connection.close()
        raise NodeError(f"{path}: the node that listens here is run by another user", 3)
    return NodeClient(path, connection, server.pid)


def encode(params: dict[str, Any]) -> bytes:
    """The body of a request. Raises NodeError if it is no text or too large."""
    try:
        body = json.dumps(params, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise NodeError("what was given is not text: it is not valid UTF-8", 2) from None
    if len(body) > BODY_BYTES_MAX:
        raise NodeError(f"{len(body)} bytes at once; a request holds {BODY_BYTES_MAX}", 2)
    return body


def _open(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_name(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def _document(line: bytes) -> Any:
    """One line of an answer. Raises the node's own error if it is one."""
    if len(line) >= LINE_BYTES_MAX:
        raise NodeError(f"the answer is over {LINE_BYTES_MAX} bytes; ask for less by --limit", 1)
    try:
        document = json.loads(line)
    except ValueError:
        raise NodeError(
            "the node stopped in the middle of its answer; look whether it was done, try again", 1
        ) from None
    if document.keys() == {"error"}:
        raise NodeError(document["error"]["message"], document["error"]["exit_code"])
    return document
