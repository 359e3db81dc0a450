"""I3 and I12: what was acknowledged is there, and nothing comes back or goes by itself."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from ...node.ledger import PRIVACY_NAMES, Log
from ...storage import log_rows
from ...storage.instance_rule import holds_own_branch
from ...storage.store import Conn
from ..run import Run
from ..sim_device import SimDevice
from ..witness import RecordName, Write
from .belonging import circles
from .checker import Checker
from .convergence import may_read, records
from .counting import must_come, writes_that_count


class WriteChecker(Checker):
    """Holds what the witness wrote down against entries and records."""

    claims: ClassVar[dict[str, str]] = {
        "I3": "no acknowledged write is lost, and none that was surely replaced comes back",
        "I12": "nothing is taken out of a log because somebody else lacks it",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._heads: dict[tuple[str, int, bytes, bytes], tuple[int, int]] = {}
        """How many entries a log had, and how often a branch of it had been ruled against."""

    def at_tick(self) -> None:
        """Logs only grow for as long as one process runs, but for forks of its own, and those on
        which the author has ruled.
        """
        for device in self.run.world.running():
            for log in device.engine.ledger.logs():
                key = (device.name, device.starts, log.scope.tag, log.instance)
                held, times = self._heads.get(key, (0, 0))
                followed = device.engine.rulings.followed(log.scope.tag, log.instance)
                is_due = followed > times or _was_taken_out(device, log)
                if log.head_seq < held and not is_due:
                    told = f"a log went from {held} to {log.head_seq} entries"
                    self.violate("I12", device.name, told)
                self._heads[key] = (log.head_seq, followed)

    async def at_rest(self) -> None:
        for circle in circles(list(self.sound())):
            for device in circle:
                self._holds_entries(device, circle)
                await self._holds_values(device, circle)

    def _holds_entries(self, device: SimDevice, circle: list[SimDevice]) -> None:
        """Every entry that its author was told is durable is here, if it may be here."""
        names = {other.name for other in circle}
        ledger = device.engine.ledger
        for (author, scope, instance), (seq, id) in sorted(self.run.witness.held.items()):
            if author in self.run.spoiled or author not in names:
                continue
            known = ledger.scope(scope)
            readable = known is not None and known.privacy and may_read(device, known.privacy)
            if not readable and author != device.name:
                continue
            if known is not None and not must_come(
                self.run, device, circle, author, known.database, PRIVACY_NAMES[known.privacy]
            ):
                continue
            log = ledger.log(scope, instance)
            if log is None or log.head_seq < seq:
                held = 0 if log is None else log.head_seq
                told = f"lacks entry {seq} of {author} ({held} held), which was acknowledged"
                self.violate("I3", device.name, told)
                continue
            found = device.store.look(partial(_entry_id, log.number, seq))
            if found != id:
                told = f"has another entry {seq} of {author} than was acknowledged"
                self.violate("I3", device.name, told)

    async def _holds_values(self, device: SimDevice, circle: list[SimDevice]) -> None:
        found = await records(device)
        for name, writes in sorted(self.run.witness.by_record.items()):
            level = PRIVACY_NAMES.index(writes[0].privacy)
            if level and not may_read(device, level):
                continue
            if level == 0 and any(write.device != device.name for write in writes):
                continue
            present = found.get((*name, level, 0))
            value = None if present is None else present[1]
            counting = writes_that_count(self.run, device, circle, writes)
            for problem in wrong_values(name, counting, value):
                self.violate("I3", device.name, problem)


def _was_taken_out(device: SimDevice, log: Log) -> bool:
    """Whether it was the device's own branch of a log that forked, or the device was told to take
    its copy of the database away."""
    us = device.engine.keys.sig_pk
    if not log.head_seq and device.engine.mesh.policy(us, log.scope.database).narrowed == "remove":
        return True
    ours = device.store.look(partial(holds_own_branch, scope=log.scope.tag, instance=log.instance))
    return log.author == device.engine.keys.sig_pk and not ours


def _entry_id(log: int, seq: int, conn: Conn) -> bytes | None:
    return log_rows.entry_id_at(conn, log, seq)


def wrong_values(name: RecordName, writes: list[Write], value: Any) -> Iterable[str]:
    """What a record must not show, given all writes to it. `value` is None if it is not there."""
    where = "/".join(name)
    vague = [write for write in writes if write.is_vague]
    fields = sorted({field for write in writes for field in write.fields})
    for field in fields:
        shown = None if value is None else value.get(field)
        setters = [write for write in writes if field in write.fields]
        removers = [w for w in writes if w.removes_all and field not in w.fields] + vague
        if shown is None:
            lost = _lost(setters, removers)
            if lost is not None:
                yield f"{where}.{field}: write {lost.number} of {lost.device} is lost"
            continue
        showing = [w for w in setters if w.fields[field] == shown]
        if not showing:
            yield f"{where}.{field}: shows what nobody wrote"
            continue
        if any(write.maybe_before(decision) for write in showing for decision in vague):
            continue
        # Several only where somebody chose the value of another.
        replaced = [_replaced(write, field, writes) for write in showing]
        if (later := replaced[0]) is not None and all(replaced):
            yield (
                f"{where}.{field}: write {showing[0].number} of {showing[0].device} is shown,"
                f" though {later.device} had it and wrote {later.number}"
            )


def _lost(setters: list[Write], removers: list[Write]) -> Write | None:
    """A write that was acknowledged, and that no remover can have seen."""
    for write in setters:
        seen = any(write.maybe_before(remover) for remover in removers)
        if write.acknowledged and not write.excused and not seen:
            return write
    return None


def _replaced(shown_by: Write, field: str, writes: list[Write]) -> Write | None:
    """A write that surely came after, and was surely made, and put another value or none."""
    for later in writes:
        if not later.acknowledged or later.excused or not shown_by.surely_before(later):
            continue
        if later.is_delete:
            # A write beside the deletion keeps the record alive, with all its fields.
            others = [w for w in writes if w not in (later, shown_by)]
            if all(w.surely_before(later) or later.surely_before(w) for w in others):
                return later
        elif field in later.fields or later.removes_all:
            return later
    return None
