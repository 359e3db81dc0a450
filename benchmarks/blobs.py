"""Blobs: a gigabyte in bounded memory, and a hundred MB over a link that is cut five times."""

import asyncio
import os
from pathlib import Path

from .budgets import Measure
from .cutting import Cutting
from .process import PeerProcess
from .stage import Stage

MIB = 1 << 20
KIB_PER_MIB = 1024
CHUNK_BYTES = 262_144
CUTS = 5
SESSION_BYTES = 40_000
"""What one connection carries beside chunks, at most."""


def measure_stream(stage: Stage) -> list[Measure]:
    """A file is put on one node and fetched by another, which writes it out again."""
    size = stage.sizes.blob_mib * MIB
    path = _file(stage.folder / "blob", size)
    laptop, phone = stage.homes("laptop", "phone")
    with PeerProcess(laptop) as sender, PeerProcess(phone) as receiver:
        before = [peer.ask("memory")["rss_kib"] for peer in (sender, receiver)]
        put_s = sender.ask("put_blob", path=str(path))["seconds"]
        port = sender.ask("serve")["port"]
        receiver.ask("link", port=port)
        fetch_s = receiver.ask("blob_whole")["seconds"]
        read_s = receiver.ask("read_blob")["seconds"]
        peaks = [peer.ask("memory")["peak_kib"] for peer in (sender, receiver)]
    path.unlink()
    grown = [(peak - was) / KIB_PER_MIB for peak, was in zip(peaks, before, strict=True)]
    rates = [size / MIB / seconds for seconds in (put_s, fetch_s, read_s)]
    note = f"{stage.sizes.blob_mib:,} MiB"
    return [
        Measure("blob_put", rates[0], note),
        Measure("blob_fetch", rates[1], note),
        Measure("blob_read", rates[2], note),
        Measure("blob_growth_sender", grown[0], note),
        Measure("blob_growth_receiver", grown[1], note),
    ]


def measure_cuts(stage: Stage) -> list[Measure]:
    """What crosses the link beyond the blob itself, in chunks a cut."""
    size = stage.sizes.cut_mb * 1_000_000
    path = _file(stage.folder / "cut", size)
    laptop, phone = stage.homes("laptop", "phone")
    with PeerProcess(laptop) as sender, PeerProcess(phone) as receiver:
        sender.ask("put_blob", path=str(path))
        port = sender.ask("listen_only")["port"]
        passed = asyncio.run(_over_cuts(receiver, port, size))
    path.unlink()
    extra = passed - size - (CUTS + 1) * SESSION_BYTES
    note = (
        f"{stage.sizes.cut_mb} MB, {CUTS} cuts, {(passed - size) / 1024:,.0f} KiB beyond its size"
    )
    return [Measure("blob_cuts", max(0, extra) / CUTS / CHUNK_BYTES, note)]


async def _over_cuts(receiver: PeerProcess, port: int, size: int) -> int:
    """Link by one proxy after the other, of which all but the last are cut."""
    passed = 0
    # Odd numbers, so that cuts come in the middle of chunks.
    limits: list[int | None] = [size // (CUTS + 1) + 7_919 * each for each in range(CUTS)]
    for limit in (*limits, None):
        async with Cutting(port, limit) as proxy:
            await asyncio.to_thread(receiver.ask, "link", port=proxy.port)
            if limit is None:
                await asyncio.to_thread(receiver.ask, "blob_whole")
            else:
                await asyncio.to_thread(receiver.ask, "cut_off")
                assert proxy.is_cut, "the link ended before its cut"
        passed += proxy.passed_bytes
    return passed


def _file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
    return path
