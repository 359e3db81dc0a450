"""Stage: the sizes of a run, and pairs of homes that several benchmarks share.

A large store takes minutes to fill, so the pair of a cold sync is kept and used again by those that
need one in sync. A home is never copied: a copy is another store, and Covey would notice.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .homes import Home, make_paired_homes
from .process import PeerProcess
from .workload import WORDS

FILL_IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    puts: int
    small: int
    large: int
    live: int
    searches: int
    idle_s: float
    idle_peers: int
    rounds: int
    seeds: int
    commuter_hours: float
    blob_mib: int
    cut_mb: int
    vectors: int


FULL = Sizes(3_000, 10_000, 100_000, 1_000, 400, 20.0, 10, 7, 100, 720.0, 1_024, 100, 50_000)
QUICK = Sizes(300, 1_000, 5_000, 100, 100, 2.0, 3, 3, 5, 72.0, 32, 8, 3_000)


@dataclass(frozen=True, slots=True)
class ColdSync:
    """What one cold sync took. `receiver` and `sender` are KiB of memory: before, peak."""

    seconds: float
    received_bytes: int
    receiver: tuple[int, int]
    sender: tuple[int, int]


@dataclass(slots=True)
class Stage:
    folder: Path
    sizes: Sizes
    _made: int = 0
    _synced: dict[int, tuple[list[Home], ColdSync]] = field(default_factory=dict)

    def homes(self, *names: str) -> list[Home]:
        """New homes in one mesh, empty and closed."""
        self._made += 1
        return make_paired_homes(self.folder / f"mesh-{self._made}", names)

    def synced(self, records: int) -> tuple[list[Home], ColdSync]:
        """Two closed homes with the same records, one of which got them by a cold sync."""
        if records not in self._synced:
            homes = self.homes("laptop", "phone")
            with PeerProcess(homes[0]) as filler:
                # The first record makes the scope and its key; the others find them.
                filler.ask("fill", first=0, count=1, in_flight=1)
                filler.ask("fill", first=1, count=records - 1, in_flight=FILL_IN_FLIGHT)
            self._synced[records] = homes, run_cold_sync(homes, records)
        return self._synced[records]


def run_cold_sync(homes: list[Home], records: int) -> ColdSync:
    """From the receiver's link until everything is durable, searchable and proved."""
    with PeerProcess(homes[0]) as sender, PeerProcess(homes[1]) as receiver:
        port = sender.ask("serve")["port"]
        before = [peer.ask("memory")["rss_kib"] for peer in (receiver, sender)]
        receiver.ask("link", port=port)
        proof = receiver.ask("proved")
        peaks = [peer.ask("memory")["peak_kib"] for peer in (receiver, sender)]
        _check_complete(receiver.ask("count", word=WORDS[0]), records)
    return ColdSync(
        proof["proved_at"] - proof["linked_at"],
        proof["received_bytes"],
        (before[0], peaks[0]),
        (before[1], peaks[1]),
    )


def _check_complete(counted: dict[str, Any], records: int) -> None:
    held = counted["records"]
    if held != records or not counted["found"]:
        raise RuntimeError(f"proved in sync with {held} records of {records}: not a measurement")
