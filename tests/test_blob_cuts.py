"""A blob over a link that is cut: what has come does not come again."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.crypto.blob import CHUNK_BYTES
from covey.node.ports import Accept, Address, Connection, Listener, Transport, UnreachableError

from ..benchmarks.cutting import Cutting
from .loopback import admit, nodes, until
from .test_blobs import row

CUTS = (300_000, 1_000_001, 65_600, 700_000, 524_288)
"""Bytes after which each of five connections ends: within chunks, and within the handshake's."""
SESSION_BYTES = 40_000
"""What a connection carries beside chunks: handshake, greeting, membership, a record."""


class Reachable:
    """A transport that is dialled and never dials, so that everything goes by way of the proxy."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        return await self._inner.listen(host, port, accept)

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        raise UnreachableError(f"{address}: not from here")


async def content_of(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.mark.parametrize("chunks", [13])
async def test_a_link_that_is_cut_five_times_costs_less_than_a_chunk_a_cut(
    tmp_path: Path, chunks: int
) -> None:
    """On a train that is the difference between a film and none."""
    data = os.urandom(chunks * CHUNK_BYTES)
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop", wrap=Reachable)).online()
        phone = await (await opened.make("phone")).online()
        await admit(laptop, phone)
        place = ("memory", "facts", "cat", "photo")
        await laptop.engine.blobs.put(place, content_of(data))
        passed, cuts = 0, 0
        for bytes_max in (*CUTS, None):
            async with Cutting(laptop.engine.port or 0, bytes_max) as proxy:
                phone.engine.add_address("127.0.0.1", proxy.port, laptop.keys.sig_pk)
                await until(lambda: proxy.is_cut or phone.engine.counters["blob.whole"])
                await until(lambda: not (proxy.is_cut and phone.engine.switchboard.links))
                passed, cuts = passed + proxy.passed_bytes, cuts + proxy.is_cut

        assert cuts == len(CUTS)
        assert (await row(phone)).held == chunks
        # What a session says beside chunks is small, and not what this is about.
        assert passed - len(data) < cuts * CHUNK_BYTES + (cuts + 1) * SESSION_BYTES
