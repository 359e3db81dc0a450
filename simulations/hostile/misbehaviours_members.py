"""Misbehaviours in the membership log: enrolments, grants and names that nobody should believe.

Any member may append to that log, since every operation is judged in the fold of its own past. So
whatever one writes there is kept and passed on, and must harm nobody, neither now nor when the next
device joins. Spec: docs/protocol.md, section 4.
"""

from collections.abc import Callable, Iterable

from ...crypto.entry import CONTROL_SCOPE, key_id
from ...crypto.grants import BOX_BYTES
from ...crypto.identity import CERTIFICATE_BYTES, make_certificate
from ...node.granting import GrantName, grant_details
from ...node.rotation import next_epoch
from ...sync.membership import Operation, encode_operation
from ...sync.registry import Device
from .attacker import PRIVATE, Attacker
from .forger import Forger
from .misbehaviour import Act, Subject

MEMBERS = Subject()

KEY_BYTES = 32
_EPOCH_MAX = 2**32 - 1
_RENAMES = 40
_HLC_MAX = 2**64 - 1
_MADE_UP_LOGS = 20

Write = Callable[[Attacker, Forger], None]


def operations(write: Write) -> Act:
    """Write a log of operations, and send it."""

    async def act(attacker: Attacker) -> None:
        forger = attacker.control_log()
        write(attacker, forger)
        await attacker.deliver(forger.frame())

    return act


def entitled(attacker: Attacker, privacy: int = PRIVATE) -> list[Device]:
    """The active devices that may hold keys of this privacy, in order of their ids."""
    registry = attacker.victim.mesh.registry
    return [device for device in registry.active() if registry.entitled(device, privacy)]


def us(attacker: Attacker) -> list[Device]:
    """The attacker as the registry has it."""
    device = attacker.victim.mesh.registry.devices.get(attacker.keys.sig_pk)
    return [] if device is None else [device]


def grant(
    attacker: Attacker, forger: Forger, name: GrantName, key: bytes, recipients: Iterable[Device]
) -> None:
    """Append a grant with boxes that open."""
    mesh = attacker.victim.mesh.id
    forger.operation("grant", grant_details(mesh, name, key, recipients, attacker.entropy))


# Enrolments and foundings -------------------------------------------------------------------------


def _enrolment(certificate: bytes, name: str) -> dict[str, object]:
    return {"cert": certificate, "name": name, "type": "phone", "level": "full", "role": "admin"}


def _puppet(attacker: Attacker, forger: Forger) -> None:
    certificate = make_certificate(attacker.new_keys(), attacker.victim.mesh.id, 1)
    forger.operation("enroll", _enrolment(certificate, "puppet"))


def _back_dated_puppet(attacker: Attacker, forger: Forger) -> None:
    mesh = attacker.victim.mesh
    certificate = make_certificate(attacker.new_keys(), mesh.id, 1)
    details = _enrolment(certificate, "puppet")
    forger.operation("enroll", details, parents=(mesh.registry.genesis,), hlc=1)


def _ourselves_as_admin(attacker: Attacker, forger: Forger) -> None:
    certificate = make_certificate(attacker.keys, attacker.victim.mesh.id, 1)
    forger.operation("enroll", _enrolment(certificate, "boss"))


def _bad_certificates(attacker: Attacker, forger: Forger) -> None:
    other_mesh = make_certificate(attacker.new_keys(), attacker.rubbish(16), 1)
    for certificate in (bytes(CERTIFICATE_BYTES), other_mesh, attacker.rubbish(CERTIFICATE_BYTES)):
        forger.operation("enroll", _enrolment(certificate, "nobody"))


def _second_founding(attacker: Attacker, forger: Forger) -> None:
    me = attacker.keys
    details = {
        "sig": me.sig_pk, "dh": me.dh_pk, "seal": me.seal_pk, "name": "new", "type": "phone",
        "salt": bytes(16), "created": 1,
    }  # fmt: skip
    forger.operation("genesis", details, parents=(), hlc=0)


def _founders_words(attacker: Attacker, forger: Forger) -> None:
    """An enrolment that counts in its author's log counts in no other."""
    founder = attacker.victim.mesh.registry.devices[attacker.victim.keys.sig_pk]
    certificate = make_certificate(attacker.new_keys(), attacker.victim.mesh.id, 1)
    forger.operation("enroll", _enrolment(certificate, founder.name))


# Names --------------------------------------------------------------------------------------------


def _name_of_another(attacker: Attacker, forger: Forger) -> None:
    for device in attacker.victim.mesh.registry.active():
        if device.sig_pk != attacker.keys.sig_pk:
            forger.operation("rename", {"device": device.sig_pk, "name": "owned"})


def _name_of_nobody(attacker: Attacker, forger: Forger) -> None:
    forger.operation("rename", {"device": attacker.rubbish(32), "name": "nobody"})


def _deceptive_names(attacker: Attacker, forger: Forger) -> None:
    for name in ("\x1b[2J\x07owned", "\u202eevil", "a\0b", "x" * 40, "y" * 41, ""):
        forger.operation("rename", {"device": attacker.keys.sig_pk, "name": name})


def _many_names(attacker: Attacker, forger: Forger) -> None:
    for number in range(_RENAMES):
        forger.operation("rename", {"device": attacker.keys.sig_pk, "name": f"name {number}"})


# What is no operation -----------------------------------------------------------------------------


def _unknown_kind(attacker: Attacker, forger: Forger) -> None:
    forger.operation("revoke", {"device": attacker.victim.keys.sig_pk})
    forger.operation("hostile", {"a": [1, "two", None, b"three"]})


def _unknown_parents(attacker: Attacker, forger: Forger) -> None:
    parents = tuple(sorted(attacker.rubbish(32) for _ in range(64)))
    details = {"device": attacker.keys.sig_pk, "name": "later"}
    forger.operation("rename", details, parents=parents)


def _rubbish(attacker: Attacker, forger: Forger) -> None:
    details: dict[str, object] = {"scope": 1}
    forger.entry(attacker.rubbish(100))
    forger.entry(b"")
    forger.entry(b"\x91" * 3_000)
    for kind in ("genesis", "enroll", "grant", "rename"):
        forger.entry(encode_operation(Operation(kind, (), 1, details)))


def _other_parents_than_heads(attacker: Attacker, forger: Forger) -> None:
    details = {"device": attacker.keys.sig_pk, "name": "two minds"}
    forger.operation("rename", details, heads=(attacker.rubbish(32),))


def _from_the_future(attacker: Attacker, forger: Forger) -> None:
    forger.operation("rename", {"device": attacker.keys.sig_pk, "name": "late"}, hlc=_HLC_MAX)


def _in_nobodys_name(attacker: Attacker, forger: Forger) -> None:
    forger.keys = attacker.new_keys()
    forger.operation("rename", {"device": attacker.victim.keys.sig_pk, "name": "owned"})


def _for_nobody(attacker: Attacker, forger: Forger) -> None:
    forger.entry(b"sealed under a key that nobody has", key=attacker.entropy.draw(KEY_BYTES))


# Grants -------------------------------------------------------------------------------------------


def _misnamed_scope(attacker: Attacker, forger: Forger) -> None:
    name = (attacker.rubbish(16), attacker.database, PRIVATE, 1)
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), entitled(attacker))


def _device_scope(attacker: Attacker, forger: Forger) -> None:
    name = (attacker.tag(attacker.database, 0), attacker.database, 0, 1)
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), entitled(attacker))


def _key_for_itself(attacker: Attacker, forger: Forger) -> None:
    """A newer one of each kind, which no honest device can write under."""
    registry, tag = attacker.victim.mesh.registry, attacker.scope().tag
    for name in (
        (tag, attacker.database, PRIVATE, next_epoch(registry, tag)),
        (CONTROL_SCOPE, "", 0, next_epoch(registry, CONTROL_SCOPE)),
    ):
        grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), us(attacker))


def _second_first_control_key(attacker: Attacker, forger: Forger) -> None:
    name = (CONTROL_SCOPE, "", 0, 1)
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), us(attacker))


def _control_key_for_everyone(attacker: Attacker, forger: Forger) -> None:
    registry = attacker.victim.mesh.registry
    everyone = registry.active()
    name = (CONTROL_SCOPE, "", 0, next_epoch(registry, CONTROL_SCOPE))
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), everyone)


def _key_for_a_stranger(attacker: Attacker, forger: Forger) -> None:
    data = attacker.log()
    puppet = attacker.new_keys()
    stranger = Device(puppet.sig_pk, puppet.dh_pk, puppet.seal_pk, "", "", "", "", b"", b"")
    name = (data.scope, attacker.database, PRIVATE, 1)
    grant(attacker, forger, name, data.scope_key(), [*entitled(attacker), stranger])


def _boxes_that_do_not_open(attacker: Attacker, forger: Forger) -> None:
    details = {
        "scope": attacker.scope().tag,
        "database": attacker.database,
        "privacy": PRIVATE,
        "epoch": _EPOCH_MAX,
        "key_id": key_id(attacker.entropy.draw(KEY_BYTES)),
        "sealed": [[device.sig_pk, bytes(BOX_BYTES)] for device in entitled(attacker)],
    }
    forger.operation("grant", details)


_WRITTEN: tuple[tuple[str, str, str, Write], ...] = (
    ("puppet", "full", "Enrols a device of its own, as an admin.", _puppet),
    (
        "back-dated-puppet",
        "full",
        "Enrols a device of its own as if nobody but the founder belonged yet.",
        _back_dated_puppet,
    ),
    ("itself-as-admin", "full", "Enrols itself again, as an admin.", _ourselves_as_admin),
    ("bad-certificates", "full", "Enrols devices whose certificates are none.", _bad_certificates),
    ("second-founding", "full", "Founds the mesh once more, with itself.", _second_founding),
    (
        "namesake-of-the-victim",
        "full",
        "Enrols a device that is called as the victim is.",
        _founders_words,
    ),
    ("name-of-another", "full", "Renames every other device.", _name_of_another),
    ("name-of-nobody", "full", "Renames a device that there is not.", _name_of_nobody),
    ("deceptive-names", "full", "Takes names that a terminal would obey.", _deceptive_names),
    ("many-names", "full", "Renames itself forty times.", _many_names),
    ("unknown-operation", "full", "Writes operations of kinds to come.", _unknown_kind),
    (
        "unknown-parents",
        "full",
        "Writes an operation that rests on sixty-four others that nobody has.",
        _unknown_parents,
    ),
    ("rubbish-operations", "full", "Writes operations that are none.", _rubbish),
    (
        "parents-that-are-not-its-heads",
        "full",
        "Names other heads around an operation than parents in it.",
        _other_parents_than_heads,
    ),
    ("operation-from-the-future", "full", "Writes at the end of all time.", _from_the_future),
    (
        "operation-in-nobodys-name",
        "full",
        "Writes an operation as somebody who is no member.",
        _in_nobodys_name,
    ),
    (
        "grant-of-a-misnamed-scope",
        "full",
        "Grants the key of a scope that it calls by another's name.",
        _misnamed_scope,
    ),
    (
        "grant-of-a-device-scope",
        "full",
        "Grants everyone a key for what each keeps to itself.",
        _device_scope,
    ),
    ("newer-keys-for-itself", "full", "Makes newer keys and keeps them.", _key_for_itself),
    (
        "second-first-control-key",
        "full",
        "Makes another first control key, from which all tags would follow.",
        _second_first_control_key,
    ),
    (
        "newer-control-key-for-everyone",
        "full",
        "Makes a newer control key and grants it to all who are here.",
        _control_key_for_everyone,
    ),
    (
        "grant-to-a-stranger",
        "full",
        "Grants a key to somebody who is no member.",
        _key_for_a_stranger,
    ),
    (
        "boxes-that-do-not-open",
        "full",
        "Grants the last of all keys in boxes that are empty.",
        _boxes_that_do_not_open,
    ),
    ("puppet-of-a-guest", "guest", "Enrols a device, as a guest.", _puppet),
    (
        "grant-of-a-guest",
        "guest",
        "Grants everyone a control key, as a guest.",
        _control_key_for_everyone,
    ),
    (
        "names-by-a-limited-member",
        "limited",
        "Renames every other device, as a member of level limited.",
        _name_of_another,
    ),
)
for _name, _level, _about, _write in _WRITTEN:
    MEMBERS.add(_name, _level, operations(_write), _about)

MEMBERS.add(
    "operation-for-nobody",
    "full",
    operations(_for_nobody),
    "Seals an operation under a key that nobody has.",
    leaves_waiting=True,
)


# More than one log --------------------------------------------------------------------------------


@MEMBERS.act("full")
async def copied_operations(attacker: Attacker) -> None:
    """Sends its own operation under the names of others, who never wrote it."""
    forger = attacker.control_log()
    forger.operation("rename", {"device": attacker.victim.keys.sig_pk, "name": "owned"})
    await attacker.deliver(forger.frame(author=attacker.victim.keys.sig_pk))


@MEMBERS.act("full")
async def membership_logs_of_nobody(attacker: Attacker) -> None:
    """Opens twenty logs in the membership, each under the name of somebody who is no member."""
    frames = []
    for _ in range(_MADE_UP_LOGS):
        forger = attacker.control_log(attacker.new_keys())
        forger.operation("rename", {"device": forger.keys.sig_pk, "name": "nobody"})
        frames.append(forger.frame())
    await attacker.deliver(*frames)


@MEMBERS.act("full")
async def database_of_its_own(attacker: Attacker) -> None:
    """Opens a database with a key for all who are here, and writes a record into it."""
    name = f"hostile {attacker.random.getrandbits(32):08x}"
    tag, key = attacker.tag(name, PRIVATE), attacker.entropy.draw(KEY_BYTES)
    control = attacker.control_log()
    grant(attacker, control, (tag, name, PRIVATE, 1), key, entitled(attacker))
    data = Forger(attacker.victim, attacker.keys, tag, attacker.entropy.draw)
    heads = tuple(sorted((control.entries[-1].id,)))
    data.record(attacker.record_id("own"), {"x": 1}, key=key, heads=heads)
    await attacker.deliver(control.frame(), data.frame())
