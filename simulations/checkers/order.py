"""I7 and I9: logs have no gap, nothing is applied before what it rests on, no nonce comes twice."""

from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from ...crypto.entry import CONTROL_SCOPE
from ...crypto.errors import CryptoError
from ...node.ledger import Log
from ...node.stored import stored_entry
from ...storage.log_rows import EntryState
from ...storage.store import Conn
from ...sync.changeset import decode_change_set
from ...sync.errors import DecodeError
from ..run import Run
from ..sim_device import SimDevice
from ..sim_store import SimStore
from .checker import Checker

_GAPS = """
SELECT l.instance, count(*), min(e.seq), max(e.seq) FROM entries e JOIN logs l USING (log_no)
GROUP BY l.log_no HAVING min(e.seq) != 1 OR max(e.seq) != count(*)
"""

_ENTRIES = """
SELECT s.tag, l.instance, e.seq, h.key_id, e.salt, e.entry_id FROM entries e
JOIN logs l USING (log_no) JOIN scopes s USING (scope_no) JOIN headings h USING (heading_no)
"""

_NOT_APPLIED = """
SELECT log_no, seq, state FROM entries WHERE state != 0 ORDER BY log_no, seq
"""

_APPLIED_BEHIND = """
SELECT seq FROM entries WHERE log_no = ? AND seq > ? AND state = 0 ORDER BY seq
"""

_STAMPS = """
SELECT r.log_no, r.seq, r.hlc, l.author FROM records r JOIN logs l USING (log_no)
ORDER BY r.log_no, r.seq
"""


class OrderChecker(Checker):
    """Reads the entries of every store."""

    claims: ClassVar[dict[str, str]] = {
        "I7": "every log is without a gap, its stamps ascend, and nothing is applied too early",
        "I9": "no place, salt and key come together twice for different entries",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._nonces: dict[tuple[object, ...], tuple[str, bytes]] = {}
        self._all_applied: dict[str, tuple[SimStore, int]] = {}
        """By device: a store in which nothing waited, and at how many changes."""

    def at_start(self, device: SimDevice) -> None:
        """What a crash has left is looked at before anything is added to it."""
        self._look(device)

    def at_tick(self) -> None:
        for device in self.run.world.running():
            self._overtaken(device)

    async def at_rest(self) -> None:
        for device in self.sound():
            self._look(device)
            self._applied(device)
            self._stamps(device)

    def _look(self, device: SimDevice) -> None:
        def read(conn: Conn) -> tuple[list[Any], list[Any]]:
            return conn.execute(_GAPS).fetchall(), conn.execute(_ENTRIES).fetchall()

        gaps, entries = device.store.look(read)
        for instance, count, first, last in gaps:
            told = f"log {instance.hex()[:8]} has {count} entries from {first} to {last}"
            self.violate("I7", device.name, told)
        for scope, instance, seq, key, salt, id in entries:
            # The nonce is the salt and a hash of place, author and key; the author is the log's.
            nonce = (key, scope, instance, seq, salt)
            known = self._nonces.setdefault(nonce, (device.name, id))
            if known[1] != id:
                self.violate("I9", device.name, f"a nonce of {known[0]} is used again at {seq}")

    def _overtaken(self, device: SimDevice) -> None:
        """What is applied of a log touches no record of an earlier entry of it that waits.

        An entry that cannot be read yet might touch any record.
        """
        ledger = device.engine.ledger
        state_of_store = device.store, device.store.changes
        if self._all_applied.get(device.name) == state_of_store:
            return
        not_applied = self._not_applied(device)
        if not not_applied:
            self._all_applied[device.name] = state_of_store
        for log_no, seq, state in not_applied:
            log = ledger.log_numbered(log_no)
            if state != EntryState.PENDING or log.scope.tag == CONTROL_SCOPE:
                continue
            touched = _records(device, log, seq)
            for behind in device.store.look(partial(_applied_behind, log_no, seq)):
                others = _records(device, log, behind) or set()
                if touched is None or not touched.isdisjoint(others):
                    told = f"entry {behind} of a log is applied, though its entry {seq} waits"
                    self.violate("I7", device.name, told)
                    return

    @staticmethod
    def _not_applied(device: SimDevice) -> list[Any]:
        return device.store.look(lambda conn: conn.execute(_NOT_APPLIED).fetchall())

    def _applied(self, device: SimDevice) -> None:
        """The heads in memory are those on the disk, and what is not applied is known to wait."""
        not_applied: dict[int, set[int]] = {}
        for log_no, seq, _ in self._not_applied(device):
            not_applied.setdefault(log_no, set()).add(seq)
        for log in device.engine.ledger.logs():
            if log.unapplied != not_applied.get(log.number, set()):
                told = "what is applied in memory is not what is applied on the disk"
                self.violate("I7", device.name, told)
            if log.scope.tag != CONTROL_SCOPE and any(seq > log.head_seq for seq in log.unapplied):
                self.violate("I7", device.name, "an entry waits that the log does not have")
            if log.tail_seq != log.head_seq:
                told = f"at rest, a log of {log.head_seq} entries has a tail of {log.tail_seq}"
                self.violate("I7", device.name, told)

    def _stamps(self, device: SimDevice) -> None:
        """A clock that was set back, or a restart, must not make a later write look older."""
        rows = device.store.look(lambda conn: conn.execute(_STAMPS).fetchall())
        ours = {each.engine.keys.sig_pk for each in self.run.world.running()}
        for (log, seq, hlc, author), (next_log, next_seq, next_hlc, _) in pairwise(rows):
            if log != next_log or author not in ours:
                continue  # Who is hostile may stamp as it likes.
            if seq < next_seq and hlc >= next_hlc:
                told = f"entry {next_seq} of a log is stamped no later than its entry {seq}"
                self.violate("I7", device.name, told)


def _applied_behind(log: int, seq: int, conn: Conn) -> list[int]:
    return [row[0] for row in conn.execute(_APPLIED_BEHIND, (log, seq)).fetchall()]


def _records(device: SimDevice, log: Log, seq: int) -> set[tuple[str, str]] | None:
    """Collection and id of each record that an entry touches; None if it cannot be read."""
    stored = device.store.look(lambda conn: stored_entry(conn, log.number, seq))
    assert stored is not None, "it was found in the store"
    try:
        body = device.engine.mesh.open_entry(log, stored)
        if body is None:
            return None
        return {(change.collection, change.id) for change in decode_change_set(body).changes}
    except (CryptoError, DecodeError):
        return None
