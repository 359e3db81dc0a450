"""Counting: which writes must show on a device, where their authors were removed or limited since.

A write of whoever is in the circle of a device, and still shares that level with it, must have
come. Any other may never have left its device. So where it stands in the log is looked up: what is
not here does not count, nor what is on the shelf. Where a write is only partly here, or where its
place is not known, it may show and need not. So it is with a write that waits for what its author
had seen of others, if a policy keeps that from this device and not the write itself.
"""

from dataclasses import replace
from enum import Enum

from ...node.ledger import PRIVACY_NAMES
from ...sync.registry import may_hold
from ..run import Run
from ..sim_device import SimDevice
from ..witness import Write
from .travel import holders, is_plain


class Counts(Enum):
    YES = "as any write"
    PERHAPS = "it may show"
    NO = "it must not show"


def writes_that_count(
    run: Run, device: SimDevice, circle: list[SimDevice], writes: list[Write]
) -> list[Write]:
    """The writes by which the records of a device are judged."""
    names = {other.name for other in circle}
    found = []
    for write in writes:
        stays = write.device in names and _belongs(run, device, write.device)
        if stays and must_come(run, device, circle, write.device, write.record[0], write.privacy):
            waits = rests_on_what_is_kept(run, device, circle, write)
            found.append(_perhaps(write) if waits else write)
            continue
        match counts_on(device, write):
            case Counts.YES:
                found.append(write)
            case Counts.PERHAPS:
                found.append(_perhaps(write))
    return found


def _perhaps(write: Write) -> Write:
    return replace(write, after=None, told=0)


def rests_on_what_is_kept(
    run: Run, device: SimDevice, circle: list[SimDevice], write: Write
) -> bool:
    """Whether a write waits on a device for an entry that does not come there, and need not."""
    ledger = device.engine.ledger
    log = ledger.log(write.scope, write.instance) if write.scope else None
    if log is None or not any(write.first <= seq <= write.last for seq in log.unapplied):
        return False
    names = {id: name for name, id in run.ids.items()}
    for (scope, instance), seq in write.before.items():
        known = ledger.log(scope, instance)
        if scope != write.scope or (known is not None and known.head_seq >= seq):
            continue
        author = names.get(ledger.author_of(instance) or b"")
        if author is not None and not must_come(
            run, device, circle, author, write.record[0], write.privacy
        ):
            return True
    return False


def must_come(
    run: Run,
    device: SimDevice,
    circle: list[SimDevice],
    author: str,
    database: str,
    privacy: str,
) -> bool:
    """Whether what an author writes comes to a device, as that knows levels and policies.

    Directly, or through others of its circle, who are all linked with one another.
    """
    engine, id = device.engine, run.ids.get(author)
    known = None if id is None else engine.mesh.registry.devices.get(id)
    if author == device.name or known is None:
        return True
    level = PRIVACY_NAMES.index(privacy)
    if is_plain(engine):
        return may_hold(known.level, b"", level)
    ids = [other.engine.keys.sig_pk for other in circle]
    found = holders(engine.mesh.registry, level, database, known.sig_pk, ids)
    return engine.keys.sig_pk in found and engine.keys.sig_pk != id


def _belongs(run: Run, device: SimDevice, author: str) -> bool:
    """Whether a device takes an author for a member; it may know that it was removed itself."""
    id = run.ids.get(author)
    known = None if id is None else device.engine.mesh.registry.devices.get(id)
    return known is None or known.active


def counts_on(device: SimDevice, write: Write) -> Counts:
    """What stands in the author's log, as this device has it, at the places of a write."""
    if write.forked or not write.scope or not write.last:
        return Counts.PERHAPS
    log = device.engine.ledger.log(write.scope, write.instance)
    if log is None or log.head_seq < write.first:
        return Counts.NO
    places = range(write.first, write.last + 1)
    if all(seq in log.shelved for seq in places):
        return Counts.NO
    if log.head_seq < write.last or any(seq in log.unapplied for seq in places):
        return Counts.PERHAPS
    return Counts.YES
