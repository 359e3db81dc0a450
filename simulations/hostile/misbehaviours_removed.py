"""Misbehaviours of a device that was removed, and of members who help it.

Nobody talks to a removed device, so a member hands over what it writes, and tells it every key that
is in use. It was an admin, and writes as if its removal were still to come: whatever it says rests
on what was known before. Spec: docs/protocol.md, section 4.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from ...crypto.entry import CONTROL_SCOPE, key_id
from ...crypto.identity import DeviceKeys, make_certificate
from ...node.granting import grant_details
from ...node.rotation import next_epoch
from ...sync.session_limits import CUT_ROWS_MAX, SEQ_MAX
from .attacker import PRIVATE, Attacker
from .forger import Forger
from .misbehaviour import Act, Subject
from .misbehaviours_members import KEY_BYTES, entitled, operations

REMOVED = Subject()

LATE_ENTRIES = 5

Write = Callable[[Attacker, Forger], None]


def _in_its_name(write: Write) -> Act:
    """The removed device writes a log of operations, and a member sends it."""

    async def act(attacker: Attacker) -> None:
        forger = attacker.control_log(attacker.removed_keys())
        write(attacker, forger)
        await attacker.deliver(forger.frame())

    return act


def _back_dated(attacker: Attacker, forger: Forger, kind: str, **details: Any) -> bytes:
    """Append an operation that rests on what was before the removal, and on those before it."""
    parents = attacker.heads_before_removal()
    if forger.entries:
        parents = tuple(sorted({*parents, forger.entries[-1].id}))
    return forger.operation(kind, details, parents=parents, hlc=1).id


def _enrolment(attacker: Attacker, keys: DeviceKeys) -> dict[str, Any]:
    certificate = make_certificate(keys, attacker.victim.mesh.id, 1)
    return {
        "cert": certificate, "name": "puppet", "type": "phone", "level": "full", "role": "admin",
    }  # fmt: skip


def _others(attacker: Attacker) -> list[bytes]:
    """Everybody who belongs, but for the member that attacks."""
    active = attacker.victim.mesh.registry.active()
    return [device.sig_pk for device in active if device.sig_pk != attacker.keys.sig_pk]


def _endless_cut(attacker: Attacker, instance: bytes = b"") -> list[list[Any]]:
    """A cut that takes in all that a log will ever have, and as many others as there may be."""
    tag = attacker.scope().tag
    instances = {attacker.rubbish(16) for _ in range(CUT_ROWS_MAX - 1)} | {instance or bytes(16)}
    return [[tag, each, SEQ_MAX, bytes(32)] for each in sorted(instances)]


# In the name of who was removed -------------------------------------------------------------------


def _puppets(attacker: Attacker, forger: Forger) -> None:
    for _ in range(3):
        _back_dated(attacker, forger, "enroll", **_enrolment(attacker, attacker.new_keys()))


def _removals(attacker: Attacker, forger: Forger) -> None:
    for device in _others(attacker):
        _back_dated(attacker, forger, "revoke", device=device, cut=[])


def _limits(attacker: Attacker, forger: Forger) -> None:
    for device in _others(attacker):
        _back_dated(attacker, forger, "set-level", device=device, level="guest")
        _back_dated(attacker, forger, "set-role", device=device, role="member")


def _itself_again(attacker: Attacker, forger: Forger) -> None:
    keys = attacker.removed_keys()
    _back_dated(attacker, forger, "enroll", **_enrolment(attacker, keys))
    _back_dated(attacker, forger, "set-level", device=keys.sig_pk, level="full")


def _own_adoption(attacker: Attacker, forger: Forger) -> None:
    me = attacker.removed_keys().sig_pk
    _back_dated(attacker, forger, "adopt", device=me, cut=_endless_cut(attacker))


def _paper_key(attacker: Attacker, forger: Forger) -> None:
    paper = attacker.new_keys()
    _back_dated(attacker, forger, "recovery-replace", recovery=[paper.sig_pk, paper.seal_pk])


def _keys_for_itself(attacker: Attacker, forger: Forger) -> None:
    """Newer keys, which it holds as well, for everybody."""
    mesh = attacker.victim.mesh
    known = mesh.registry.devices[attacker.removed_keys().sig_pk]
    for tag, database, privacy in (
        (CONTROL_SCOPE, "", 0),
        (attacker.scope().tag, attacker.database, PRIVATE),
    ):
        name = (tag, database, privacy, next_epoch(mesh.registry, tag))
        readers = [*entitled(attacker), known]
        key = attacker.entropy.draw(KEY_BYTES)
        details = grant_details(mesh.id, name, key, readers, attacker.entropy)
        _back_dated(attacker, forger, "grant", **details)


_WRITTEN: tuple[tuple[str, str, Write], ...] = (
    ("puppets-of-the-removed", "Enrols admins as if its removal were to come.", _puppets),
    ("removals-by-the-removed", "Removes everybody as if it could still do so.", _removals),
    ("limits-by-the-removed", "Limits everybody as if it could still do so.", _limits),
    ("enrolment-of-the-removed", "Enrols itself again, beside its own removal.", _itself_again),
    ("adoption-by-the-removed", "Adopts all that it ever wrote or will write.", _own_adoption),
    ("paper-key-of-the-removed", "Sets a paper key that would outrank everybody.", _paper_key),
    ("keys-of-the-removed", "Makes newer keys for everybody and for itself.", _keys_for_itself),
)
for _name, _about, _write in _WRITTEN:
    REMOVED.add(_name, "full", _in_its_name(_write), f"A removed device: {_about.lower()}")


@REMOVED.act("full")
async def puppet_that_decides(attacker: Attacker) -> None:
    """A device that a removed one has enrolled, back-dated, removes everybody and grants keys."""
    maker, puppet = attacker.control_log(attacker.removed_keys()), attacker.new_keys()
    enrolled = _back_dated(attacker, maker, "enroll", **_enrolment(attacker, puppet))
    forger = attacker.control_log(puppet)
    for device in _others(attacker):
        forger.operation("revoke", {"device": device, "cut": []}, parents=(enrolled,))
    key = attacker.entropy.draw(KEY_BYTES)
    name = (CONTROL_SCOPE, "", 0, next_epoch(attacker.victim.mesh.registry, CONTROL_SCOPE))
    details = grant_details(attacker.victim.mesh.id, name, key, (puppet,), attacker.entropy)
    forger.operation("grant", details, parents=(enrolled,))
    await attacker.deliver(maker.frame(), forger.frame())


def _late_log(attacker: Attacker) -> Forger:
    """Entries that the removed device writes now, and that name the members of before."""
    data = Forger(
        attacker.victim, attacker.removed_keys(), attacker.scope().tag, attacker.entropy.draw
    )
    heads = attacker.heads_before_removal()
    for number in range(LATE_ENTRIES):
        data.record(attacker.record_id("late"), {"n": number}, heads=heads, hlc=number + 1)
    return data


@REMOVED.act("full")
async def entries_beyond_the_cut(attacker: Attacker) -> None:
    """A removed device goes on writing, by the word under which it once belonged."""
    await attacker.deliver(_late_log(attacker).frame())


@REMOVED.act("full")
async def cut_that_the_removed_stretches(attacker: Attacker) -> None:
    """A removed device leaves by itself as well, with a cut that takes in what it writes now."""
    data = _late_log(attacker)
    control = attacker.control_log(attacker.removed_keys())
    me, cut = data.keys.sig_pk, _endless_cut(attacker, data.instance)
    _back_dated(attacker, control, "revoke", device=me, cut=cut)
    await attacker.deliver(control.frame(), data.frame())


@REMOVED.act("full")
async def entries_after_its_removal(attacker: Attacker) -> None:
    """A removed device writes by the word under which it does not belong any more."""
    data = Forger(
        attacker.victim, attacker.removed_keys(), attacker.scope().tag, attacker.entropy.draw
    )
    data.record(attacker.record_id("after"), {"n": 1})
    await attacker.deliver(data.frame())


# By a member ------------------------------------------------------------------------------------


def _grant_to_the_removed(attacker: Attacker, forger: Forger, *, dated_back: bool) -> None:
    """The key that is in use, which a member has, sealed to who must not have it."""
    mesh, data = attacker.victim.mesh, attacker.log()
    known = mesh.registry.devices[attacker.removed_keys().sig_pk]
    current = mesh.registry.writer_key(data.scope)
    if current is None:
        return
    name = (data.scope, attacker.database, PRIVATE, current[0])
    details = grant_details(mesh.id, name, data.scope_key(), (known,), attacker.entropy)
    if dated_back:
        _back_dated(attacker, forger, "grant", **details)
    else:
        forger.operation("grant", details)


def _other_key_of_that_name(attacker: Attacker, forger: Forger) -> None:
    """Boxes with another key than the id of the grant says, which is that of the one in use."""
    mesh, data = attacker.victim.mesh, attacker.log()
    epoch = next_epoch(mesh.registry, data.scope)
    name = (data.scope, attacker.database, PRIVATE, epoch)
    key = attacker.entropy.draw(KEY_BYTES)
    details = grant_details(mesh.id, name, key, entitled(attacker), attacker.entropy)
    forger.operation("grant", {**details, "key_id": key_id(data.scope_key())})


_HELPED: tuple[tuple[str, str, Write], ...] = (
    (
        "grant-to-the-removed",
        "Grants the key in use to a device that was removed.",
        partial(_grant_to_the_removed, dated_back=False),
    ),
    (
        "back-dated-grant-to-the-removed",
        "Grants the key in use to a removed device, as if it still belonged.",
        partial(_grant_to_the_removed, dated_back=True),
    ),
    (
        "other-key-of-that-name",
        "Grants another key by the id of the one that is in use.",
        _other_key_of_that_name,
    ),
)
for _name, _about, _write in _HELPED:
    REMOVED.add(_name, "full", operations(_write), _about)
