"""I18: entries are by whom they say they are, and lie where their author may write.

Devices that let in too much let it in alike: they hold the same, show the same, and are content. So
it is asked of each entry that is held whether it should ever have been taken.
"""

from typing import Any, ClassVar

from ...crypto.entry import CONTROL_SCOPE, LABEL_ENTRY_SIG
from ...crypto.identity import read_certificate, verify
from ...node.stored import split_heads
from ...sync.operations import ENROLL, REVOKE
from ...sync.registry import Registry
from ..run import Run
from ..sim_device import SimDevice
from .authority import said
from .checker import Checker
from .operations import Operations, operations_of, past_of
from .travel import may_read_of

_ENTRIES = """
SELECT s.tag, s.privacy, l.instance, l.author, e.seq, e.entry_id, e.signature FROM entries e
JOIN logs l USING (log_no) JOIN scopes s USING (scope_no) ORDER BY l.log_no, e.seq
"""

_UNDER = """
SELECT DISTINCT s.tag, l.author, h.heads FROM entries e JOIN logs l USING (log_no)
JOIN scopes s USING (scope_no) JOIN headings h USING (heading_no)
"""


class AuthorshipChecker(Checker):
    """Verifies every signature in every store, and asks who may write where."""

    claims: ClassVar[dict[str, str]] = {
        "I18": "every entry that is held is signed by its author, who was let write there",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._good: set[tuple[bytes, bytes, bytes]] = set()
        """Author, entry and signature: most are held by several devices."""

    async def at_rest(self) -> None:
        for device in self.sound():
            rows = device.store.look(lambda conn: conn.execute(_ENTRIES).fetchall())
            self._signatures(device, rows)
            self._rights(device, rows)
            self._times(device)

    def _signatures(self, device: SimDevice, rows: list[Any]) -> None:
        """Within a run only the last entry has one; so the last of a log must have one."""
        for at, (tag, _, instance, author, seq, id, signature) in enumerate(rows):
            is_last = at + 1 == len(rows) or rows[at + 1][:3:2] != (tag, instance)
            if signature is None and not is_last:
                continue
            if not self._is_good(author, id, signature or b""):
                told = f"entry {seq} of a log is not signed by its author"
                self.violate("I18", device.name, told)

    def _is_good(self, author: bytes, id: bytes, signature: bytes) -> bool:
        row = (author, id, signature)
        if row not in self._good:
            if not verify(author, LABEL_ENTRY_SIG + id, signature):
                return False
            self._good.add(row)
        return True

    def _rights(self, device: SimDevice, rows: list[Any]) -> None:
        """What a device writes for itself alone, or wrote before it joined, is its own affair."""
        operations = operations_of(device)
        levels = said(operations, device.engine.mesh.registry).levels
        ours = device.engine.keys.sig_pk
        for author, tag, privacy in sorted({(row[3], row[0], row[1]) for row in rows}):
            if author == ours or tag == CONTROL_SCOPE:
                continue
            if not any(privacy in may_read_of(level) for level in levels.get(author, ())):
                told = f"entries of privacy {privacy} by somebody who may not write there"
                self.violate("I18", device.name, told)

    def _times(self, device: SimDevice) -> None:
        """Nothing is written by a device that, by its own word, knew that it was removed."""
        operations = operations_of(device)
        ended = _endings(operations, device.engine.mesh.registry)
        ended.pop(device.engine.keys.sig_pk, None)
        if not ended:
            return
        for tag, author, heads in device.store.look(lambda conn: conn.execute(_UNDER).fetchall()):
            if tag == CONTROL_SCOPE or author not in ended:
                continue
            if ended[author] & past_of(operations, split_heads(heads)):
                told = "an entry is by a device that says itself that it does not belong"
                self.violate("I18", device.name, told)


def _endings(operations: Operations, registry: Registry) -> dict[bytes, set[bytes]]:
    """Removals that nobody undoes: those by the founder, and of devices that left.

    Not of who was admitted anew after that.
    """
    founder, _ = operations[registry.genesis]
    counting = {id: one for id, one in operations.items() if id not in registry.ignored}
    found: dict[bytes, set[bytes]] = {}
    for id, (author, operation) in counting.items():
        if operation.kind == REVOKE and author in (founder, operation.details["device"]):
            found.setdefault(operation.details["device"], set()).add(id)
    for id, (_, operation) in counting.items():
        if operation.kind == ENROLL:
            device = read_certificate(operation.details["cert"]).sig_pk
            if found.get(device, set()) & past_of(operations, (id,)):
                del found[device]
    return found
