"""Misbehaviours about trust: decisions that are not the attacker's to take, and cuts that lie.

A member may decide about itself alone: it may lower itself and leave. All else it writes is kept
and passed on, and must mean nothing. Spec: docs/protocol.md, section 4, "Rules" and "What a removed
device wrote".
"""

from collections.abc import Callable
from typing import Any

from ...crypto.entry import ZERO_ID
from ...crypto.identity import make_certificate
from ...sync.session_limits import CUT_ROWS_MAX, SEQ_MAX
from .attacker import PRIVATE, Attacker, NothingToMisuseError
from .forger import Forger
from .misbehaviour import Subject
from .misbehaviours_members import KEY_BYTES, entitled, grant, operations

TRUST = Subject()

_FAMILY = PRIVATE + 1
_FAR_EPOCH = 3
_REQUESTS = 60
_TAG_BYTES = 16

Row = list[Any]
Write = Callable[[Attacker, Forger], None]


def _others(attacker: Attacker) -> list[bytes]:
    active = attacker.victim.mesh.registry.active()
    return [device.sig_pk for device in active if device.sig_pk != attacker.keys.sig_pk]


def _made_up_cut(attacker: Attacker, rows: int, seq: int) -> list[Row]:
    """A cut of logs that there are not, well formed if the numbers are."""
    tag = attacker.scope().tag
    instances = sorted(attacker.rubbish(_TAG_BYTES) for _ in range(rows))
    return [[tag, instance, seq, attacker.rubbish(32)] for instance in instances]


# Decisions about others ---------------------------------------------------------------------------


def _removals(attacker: Attacker, forger: Forger) -> None:
    for device in _others(attacker):
        forger.operation("revoke", {"device": device, "cut": []})


def _removals_dated_back(attacker: Attacker, forger: Forger) -> None:
    founding = (attacker.victim.mesh.registry.genesis,)
    for device in _others(attacker):
        forger.operation("revoke", {"device": device, "cut": []}, parents=founding, hlc=1)


def _levels(attacker: Attacker, forger: Forger) -> None:
    for device in _others(attacker):
        forger.operation("set-level", {"device": device, "level": "guest"})
    forger.operation("set-level", {"device": attacker.keys.sig_pk, "level": "full"})


def _roles(attacker: Attacker, forger: Forger) -> None:
    forger.operation("set-role", {"device": attacker.keys.sig_pk, "role": "admin"})
    for device in _others(attacker):
        forger.operation("set-role", {"device": device, "role": "member"})


def _adoptions(attacker: Attacker, forger: Forger) -> None:
    """Also of the attacker itself: what it writes later would count after its removal."""
    cut = _made_up_cut(attacker, 1, SEQ_MAX)
    for device in (*_others(attacker), attacker.keys.sig_pk):
        forger.operation("adopt", {"device": device, "cut": cut})


def _descriptions(attacker: Attacker, forger: Forger) -> None:
    for device in _others(attacker):
        said = {"device": device, "relationship": "", "use": "", "capabilities": ["hostile"]}
        forger.operation("describe", said)


def _others_keys(attacker: Attacker, forger: Forger) -> None:
    for keys in (attacker.new_keys(), attacker.keys):
        certificate = make_certificate(keys, attacker.victim.mesh.id, 1)
        forger.operation("rekey", {"cert": certificate})


# Cuts ---------------------------------------------------------------------------------------------


def _endless_cut(attacker: Attacker, forger: Forger) -> None:
    for kind in ("revoke", "adopt"):
        cut = _made_up_cut(attacker, CUT_ROWS_MAX, SEQ_MAX)
        forger.operation(kind, {"device": attacker.victim.keys.sig_pk, "cut": cut})


def _cuts_that_are_none(attacker: Attacker, forger: Forger) -> None:
    tag, me = attacker.scope().tag, attacker.keys.sig_pk
    cuts: tuple[Any, ...] = (
        _made_up_cut(attacker, CUT_ROWS_MAX + 1, 1),
        _made_up_cut(attacker, 1, SEQ_MAX + 1),
        _made_up_cut(attacker, 1, 0),
        _made_up_cut(attacker, 3, 1)[::-1],
        [[tag, bytes(_TAG_BYTES), 1, ZERO_ID]] * 2,
        [[tag]],
        {},
        None,
    )
    for cut in cuts:
        forger.operation("revoke", {"device": me, "cut": cut})


# Keys, and who asks for them ----------------------------------------------------------------------


def _private_key_for_everyone(attacker: Attacker, forger: Forger) -> None:
    name = (attacker.scope().tag, attacker.database, PRIVATE, _FAR_EPOCH)
    everyone = attacker.victim.mesh.registry.active()
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), everyone)


def _many_requests(attacker: Attacker, forger: Forger) -> None:
    for number in range(_REQUESTS):
        certificate = make_certificate(attacker.new_keys(), attacker.victim.mesh.id, 1)
        asked = {"cert": certificate, "name": f"friend {number}", "type": "phone", "level": "full"}
        forger.operation("request", asked)


_WRITTEN: tuple[tuple[str, str, str, Write], ...] = (
    ("removal-of-everybody", "full", "Removes every other device.", _removals),
    (
        "removals-dated-back",
        "full",
        "Removes every other device as if nobody but the founder belonged yet.",
        _removals_dated_back,
    ),
    (
        "levels-by-a-member",
        "limited",
        "Makes guests of all others, and a full member of itself.",
        _levels,
    ),
    ("roles-by-a-member", "full", "Makes itself the only admin.", _roles),
    ("adoptions-by-a-member", "full", "Adopts whatever anybody will ever write.", _adoptions),
    (
        "adoptions-by-a-guest",
        "guest",
        "Adopts whatever anybody will write, as a guest.",
        _adoptions,
    ),
    ("descriptions-of-others", "full", "Says what other devices are for.", _descriptions),
    (
        "keys-that-are-not-its-own",
        "full",
        "Renews keys of others, and its own by old ones.",
        _others_keys,
    ),
    (
        "endless-cut",
        "full",
        "Removes and adopts with a thousand rows that end at the last of all numbers.",
        _endless_cut,
    ),
    ("cuts-that-are-none", "full", "Leaves with cuts that break every rule.", _cuts_that_are_none),
    (
        "private-key-for-everyone",
        "full",
        "Grants a newer private key to all, whatever their level.",
        _private_key_for_everyone,
    ),
    ("many-requests", "full", "Asks sixty times that somebody be admitted.", _many_requests),
    ("requests-of-a-guest", "guest", "Asks sixty times, as a guest.", _many_requests),
)
for _name, _level, _about, _write in _WRITTEN:
    TRUST.add(_name, _level, operations(_write), _about)


# More than one log --------------------------------------------------------------------------------


@TRUST.act("full")
async def paper_key_of_its_own(attacker: Attacker) -> None:
    """Makes a paper key of its own, and removes everybody by the word of that."""
    paper, ours = attacker.new_keys(), attacker.control_log()
    ours.operation("recovery-replace", {"recovery": [paper.sig_pk, paper.seal_pk]})
    theirs, parents = attacker.control_log(paper), (ours.entries[-1].id,)
    for device in _others(attacker):
        theirs.operation("revoke", {"device": device, "cut": []}, parents=parents)
    await attacker.deliver(ours.frame(), theirs.frame())


@TRUST.act("full")
async def entries_of_who_has_left(attacker: Attacker) -> None:
    """Passes on what an accomplice writes after it has left, under old heads and under new ones."""
    leaver = attacker.accomplice
    known = None if leaver is None else attacker.victim.mesh.registry.devices.get(leaver.sig_pk)
    if leaver is None or known is None or not known.active:
        raise NothingToMisuseError("nobody is there who could leave")
    name, key = f"hostile {attacker.random.getrandbits(32):08x}", attacker.entropy.draw(KEY_BYTES)
    tag = attacker.tag(name, _FAMILY)
    ours = attacker.control_log()
    grant(attacker, ours, (tag, name, _FAMILY, 1), key, entitled(attacker, _FAMILY))
    before = (ours.entries[-1].id,)
    last_word = attacker.control_log(leaver)
    last_word.operation("revoke", {"device": leaver.sig_pk, "cut": []}, parents=before)
    after = (last_word.entries[-1].id,)
    frames = [ours.frame(), last_word.frame()]
    for heads in (before, after):
        data = Forger(attacker.victim, leaver, tag, attacker.entropy.draw)
        # Not an id that an attacker may use, for nobody should ever see this record.
        data.record("of-who-has-left", {"x": 1}, key=key, heads=heads)
        frames.append(data.frame())
    await attacker.deliver(*frames)
