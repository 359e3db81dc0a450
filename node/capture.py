"""Capture: a transport that also writes every message it carries to a file.

For the demo, for tests and for the curious (`covey up --capture FILE`): the file holds exactly
what crossed the network, in both directions, so that anybody can look for plaintext in it. It is
ciphertext; still, the file is made with mode 0600. Each record is a direction byte (`>` sent, `<`
received), a 4-byte big-endian length, and the message.
"""

import os
from pathlib import Path

from .ports import Accept, Address, Connection, Listener, Transport
from .secure_channel import Guarded


class CaptureFile:
    """An append-only file of messages."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab")

    def add(self, direction: bytes, message: bytes) -> None:
        self._file.write(direction + len(message).to_bytes(4, "big") + message)

    def close(self) -> None:
        self._file.close()


class _CapturedConnection:
    def __init__(self, inner: Connection, file: CaptureFile) -> None:
        self._inner = inner
        self._file = file

    @property
    def remote(self) -> Address:
        return self._inner.remote

    async def send(self, message: bytes) -> None:
        self._file.add(b">", message)
        await self._inner.send(message)

    async def receive(self) -> bytes:
        message = await self._inner.receive()
        self._file.add(b"<", message)
        return message

    async def close(self, code: int = 1000) -> None:
        await self._inner.close(code)

    def admit(self) -> None:
        """The limits for strangers are the inner connection's business."""
        if isinstance(self._inner, Guarded):
            self._inner.admit()


class CapturingTransport:
    """Wraps a transport; what it carries is also written to `file`."""

    def __init__(self, inner: Transport, file: CaptureFile) -> None:
        self._inner = inner
        self._file = file

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        async def accept_captured(connection: Connection) -> None:
            await accept(_CapturedConnection(connection, self._file))

        return await self._inner.listen(host, port, accept_captured)

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        return _CapturedConnection(await self._inner.dial(address, timeout_ms), self._file)
