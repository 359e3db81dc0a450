"""I30 and I33: what is packed reads as it did, and nothing goes before its time.

Documents are noted now and then as they lie there, and compared whenever one is found packed. At
rest every document of a device with rules is packed, which no other device notices.
"""

import json
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar

from ...storage import pack_rows
from ...storage.pack_rows import Tier
from ...storage.store import Conn
from ..data_log import Held, Swept
from ..doings.data_doings import UNTIL, WHO
from ..sim_device import SimDevice
from .checker import Checker

DAY_MS = 86_400_000
Place = tuple[int, int]
"""Number of a record, and of its latest change in its store."""

_ALL = (
    "SELECT r.record_no, m.change_no, r.doc, r.meta, r.value FROM records r"
    " JOIN record_marks m ON m.record_no = r.record_no WHERE r.doc NOTNULL ORDER BY r.record_no"
)


class AgeChecker(Checker):
    """Compares documents before and after they are packed, and deletions with their time."""

    claims: ClassVar[dict[str, str]] = {
        "I30": "a record that was packed reads as it did before, its history included",
        "I33": "nothing expires before its time, and what is erased about somebody is gone",
    }

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._judged = 0
        self._seen: dict[str, dict[Place, bytes]] = {}

    def at_start(self, device: SimDevice) -> None:
        # An old image gives its numbers to other changes.
        self._seen.pop(device.name, None)

    def at_tick(self) -> None:
        if not self.run.data.used:
            return
        for swept in self.run.data.swept[self._judged :]:
            self._judge(swept)
        self._judged = len(self.run.data.swept)
        for device in self.sound():
            self._compare(device)

    async def at_rest(self) -> None:
        if not self.run.data.used:
            return
        self.at_tick()
        for device in self.sound():
            if self._compare(device):
                await self._pack_all(device)
                self._compare(device)

    # Packing -----------------------------------------------------------------------------------

    def _compare(self, device: SimDevice) -> bool:
        """Against what was noted while the same change was the latest; whether all can be read."""
        try:
            now = device.store.look(_documents)
        except Exception as error:
            told = f"a packed document cannot be read: {type(error).__name__}"
            self.violate("I30", device.name, told)
            return False
        seen = self._seen.setdefault(device.name, {})
        for place, digest in now.items():
            if seen.setdefault(place, digest) != digest:
                told = f"the document of record {place[0]} is another one since it was packed"
                self.violate("I30", device.name, told)
                seen[place] = digest
        return True

    async def _pack_all(self, device: SimDevice) -> None:
        rows = device.store.look(
            lambda conn: conn.execute(
                "SELECT coll_no, record_no FROM records WHERE doc NOTNULL ORDER BY record_no"
            ).fetchall()
        )
        numbers: dict[int, list[int]] = {}
        for coll_no, record_no in rows:
            numbers.setdefault(coll_no, []).append(record_no)
        for coll_no, found in numbers.items():
            tier = Tier(1 + self.run.world.dice.below(2, "tier", device.name, coll_no))
            job = partial(pack_rows.pack, tier=tier, coll_no=coll_no, record_numbers=found)
            await device.engine.database.write(job)

    # Expiry and erasure ------------------------------------------------------------------------

    def _judge(self, swept: Swept) -> None:
        if swept.device in self.run.spoiled:
            return
        left = {row.record_no: row for row in swept.after}
        for row in swept.before:
            value = json.loads(row.value)
            if swept.who:
                same = left.get(row.record_no)
                unchanged = same is not None and (same.log_no, same.seq) == (row.log_no, row.seq)
                if value.get(WHO) == swept.who and unchanged:
                    told = f"{row.collection}/{row.id} is still there after it was erased"
                    self.violate("I33", swept.device, told)
            elif swept.deleted_by.get(row.record_no) in swept.own_logs:
                due_ms = _due_ms(row, value, swept.rule)
                if due_ms is None or due_ms > swept.wall_ms:
                    early = "for ever" if due_ms is None else f"{due_ms - swept.wall_ms} ms more"
                    told = f"{row.collection}/{row.id} expired, and had time {early}"
                    self.violate("I33", swept.device, told)


def _due_ms(
    row: Held, value: dict[str, Any], rule: tuple[str | None, int | None] | None
) -> int | None:
    """When a record may go, None if never."""
    field, days = rule or (None, None)
    until = value.get(UNTIL) if field == UNTIL else None
    times = [until] if type(until) is int and until > 0 else []
    if days is not None:
        times.append((row.hlc >> 16) + days * DAY_MS)
    return min(times, default=None)


def _documents(conn: Conn) -> dict[Place, bytes]:
    """The digest of each record's document, packed or not, with its value."""
    rows = conn.execute(_ALL).fetchall()
    packs = pack_rows.unpacked(conn, [row[0] for row in rows if not row[2]])
    found = {}
    for record_no, change_no, doc, meta, value in rows:
        doc, meta = (doc, meta) if doc else packs[record_no]
        whole = blake2b(digest_size=16)
        for part in (doc, meta or b"", (value or "").encode()):
            whole.update(len(part).to_bytes(8, "big") + part)
        found[record_no, change_no] = whole.digest()
    return found
