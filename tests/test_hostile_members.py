"""Members who misuse the membership log: grants, enrolments and names that nobody should believe.

Any member may append to it, since every operation is judged in the fold; so whatever one writes
there must harm nobody, neither now nor when the next device joins.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covey.cli.output import visible
from covey.crypto.entry import CONTROL_SCOPE, key_id
from covey.crypto.grants import seal_key
from covey.crypto.identity import make_certificate
from covey.sync import session_comparing, session_receiving
from covey.sync.membership import Operation, encode_operation
from covey.sync.messages import Ack

from . import loopback
from .hostile_world import World, unharmed, world
from .loopback import arrives, in_sync, meet, pair
from .rogue import Forger, Rogue, new_keys


def grant(
    there: World,
    key: bytes,
    scope: bytes,
    *,
    database: str = "memory",
    privacy: int = 1,
    epoch: int = 1,
    to: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """The details of a grant, with boxes that open."""
    mesh = there.victim.engine.mesh.id
    return {
        "scope": scope,
        "database": database,
        "privacy": privacy,
        "epoch": epoch,
        "key_id": key_id(key),
        "sealed": sorted(
            [
                keys.sig_pk,
                seal_key(key, mesh, scope, epoch, keys.sig_pk, keys.seal_pk, os.urandom),
            ]
            for keys in to
        ),
    }


async def publish(there: World, forger: Forger) -> None:
    """Send what was forged to the victim, and leave."""
    rogue = await there.enter()
    await rogue.send(forger.frame())
    ack = await rogue.hear_kind(Ack)
    assert ack.heads == ((forger.instance, forger.entries[-1].seq),)
    await rogue.leave()


async def all_is_well(there: World) -> None:
    """Everyone still writes, old databases and new ones, and new devices still join."""
    for device, name in ((there.victim, "victims"), (there.honest, "honests")):
        await device.facts.put({"by": name}, id=name)
        await device.node.database(f"new of {name}").collection("facts").put({"by": name}, id=name)
    await in_sync(there.victim, there.honest)
    assert await there.honest.facts.get("victims") == {"by": "victims"}
    assert await there.victim.facts.get("honests") == {"by": "honests"}
    assert await there.honest.records() == await there.victim.records()
    joiner = await (await there.nodes.make("joiner")).online()
    await pair(there.victim, joiner)
    await arrives(joiner, "victims", {"by": "victims"})
    assert joiner.members() == there.victim.members()


# Grants ---------------------------------------------------------------------------------------


async def test_a_grant_that_calls_its_scope_by_anothers_name_is_not_taken(tmp_path: Path) -> None:
    """The tag belongs to one database and privacy; a second one of that name would shadow it."""
    async with world(tmp_path) as there:
        forger = Forger.of_control(there.victim, there.mallory)
        key, scope = os.urandom(32), os.urandom(16)
        forger.operation("grant", grant(there, key, scope, to=(there.victim.keys,)))
        before = [scope.tag for scope in there.victim.engine.ledger.scopes()]

        await publish(there, forger)

        assert [scope.tag for scope in there.victim.engine.ledger.scopes()] == before
        assert there.victim.engine.mesh.key(key_id(key)) is None
        await all_is_well(there)


async def test_a_device_scope_cannot_come_from_somebody_else(tmp_path: Path) -> None:
    """What stays on this device would otherwise be sealed under a key that another knows."""
    async with world(tmp_path) as there:
        forger = Forger.of_control(there.victim, there.mallory)
        details = grant(there, os.urandom(32), os.urandom(16), privacy=0, to=(there.victim.keys,))
        forger.operation("grant", details)

        await publish(there, forger)
        await there.victim.facts.put({"text": "mine"}, id="diary", privacy="device")

        assert await there.victim.facts.get("diary") == {"text": "mine"}
        assert await there.honest.facts.get("diary") is None


async def test_a_newer_key_that_only_its_maker_holds_stops_nobody_from_writing(
    tmp_path: Path,
) -> None:
    """Local-first means that no one else can take away the right to write one's own data."""
    async with world(tmp_path) as there:
        scope = Forger.of_data(there.victim, there.mallory).scope
        forger = Forger.of_control(there.victim, there.mallory)
        for name, tag in (("memory", scope), ("", CONTROL_SCOPE)):
            details = grant(
                there, os.urandom(32), tag, database=name, privacy=1 if name else 0, epoch=2,
                to=(there.mallory,),
            )  # fmt: skip
            forger.operation("grant", details)

        await publish(there, forger)

        await all_is_well(there)


async def test_a_second_first_control_key_does_not_rename_every_database(tmp_path: Path) -> None:
    """Tags come from the founder's key; another of the same epoch must not change them."""
    async with world(tmp_path) as there:
        mesh = there.victim.engine.mesh
        founders = min(g.key_id for g in mesh.registry.grants if g.scope == CONTROL_SCOPE)
        while key_id(key := os.urandom(32)) > founders:
            pass
        forger = Forger.of_control(there.victim, there.mallory)
        details = grant(there, key, CONTROL_SCOPE, database="", privacy=0, to=(there.mallory,))
        forger.operation("grant", details)

        await publish(there, forger)

        await all_is_well(there)


async def test_a_newer_control_key_for_everyone_keeps_nobody_from_joining(tmp_path: Path) -> None:
    """Any member of level full may grant one, and then nobody could ever be added."""
    async with world(tmp_path) as there:
        forger = Forger.of_control(there.victim, there.mallory)
        everyone = (there.victim.keys, there.honest.keys, there.mallory)
        details = grant(
            there, os.urandom(32), CONTROL_SCOPE, database="", privacy=0, epoch=2, to=everyone
        )
        forger.operation("grant", details)

        await publish(there, forger)

        await all_is_well(there)


async def test_boxes_that_do_not_open_are_passed_over(tmp_path: Path) -> None:
    """Their maker says whom they are for; only opening one shows whether that is so."""
    async with world(tmp_path) as there:
        scope = Forger.of_data(there.victim, there.mallory).scope
        forger = Forger.of_control(there.victim, there.mallory)
        details = grant(
            there, os.urandom(32), scope, epoch=9, to=(there.victim.keys, there.honest.keys)
        )
        details["sealed"] = [[recipient, bytes(164)] for recipient, _ in details["sealed"]]
        forger.operation("grant", details)

        await publish(there, forger)

        await all_is_well(there)


async def test_a_grant_to_a_stranger_makes_it_no_member(tmp_path: Path) -> None:
    """Keys are not what membership is made of."""
    async with world(tmp_path) as there:
        puppet = new_keys()
        scope = Forger.of_data(there.victim, there.mallory).scope
        key = there.victim.engine.mesh.key(key_id(Forger.of_data(there.victim, puppet).scope_key()))
        assert key is not None
        forger = Forger.of_control(there.victim, there.mallory)
        forger.operation("grant", grant(there, key, scope, to=(puppet,)))
        await publish(there, forger)

        rogue = await Rogue.connect(there.victim, puppet)
        await rogue.channel.send(b"\x08")
        with pytest.raises(Exception, match="closed"):
            await rogue.hear()

        assert puppet.sig_pk not in there.victim.members()
        assert there.victim.counters["channel.refused.unknown_device"] == 1
        await rogue.close()
        await all_is_well(there)


# Enrolments, names, and what is none -------------------------------------------------------------

Write = Callable[[World, Forger], None]


def enrols_a_puppet(there: World, forger: Forger) -> None:
    puppet = new_keys()
    certificate = make_certificate(puppet, there.victim.engine.mesh.id, 1)
    details = {
        "cert": certificate, "name": "puppet", "type": "phone", "level": "full", "role": "admin",
    }  # fmt: skip
    forger.operation("enroll", details)


def makes_itself_admin(there: World, forger: Forger) -> None:
    certificate = make_certificate(there.mallory, there.victim.engine.mesh.id, 1)
    details = {
        "cert": certificate, "name": "boss", "type": "phone", "level": "full", "role": "admin",
    }  # fmt: skip
    forger.operation("enroll", details)


def renames_another(there: World, forger: Forger) -> None:
    forger.operation("rename", {"device": there.victim.keys.sig_pk, "name": "owned"})


def founds_another_mesh(there: World, forger: Forger) -> None:
    me = there.mallory
    details = {
        "sig": me.sig_pk, "dh": me.dh_pk, "seal": me.seal_pk, "name": "new", "type": "phone",
        "salt": bytes(16), "created": 1,
    }  # fmt: skip
    forger.entry(encode_operation(Operation("genesis", (), 0, details)))


def speaks_of_the_future(there: World, forger: Forger) -> None:
    forger.operation("revoke", {"device": there.victim.keys.sig_pk})


def rests_on_nothing_known(there: World, forger: Forger) -> None:
    parents = tuple(sorted(os.urandom(32) for _ in range(64)))
    body = encode_operation(
        Operation("rename", parents, 1, {"device": there.mallory.sig_pk, "name": "later"})
    )
    forger.entry(body)


def writes_rubbish(there: World, forger: Forger) -> None:
    forger.entry(os.urandom(100))
    forger.entry(b"")
    forger.entry(b"\x91" * 3_000)
    forger.entry(encode_operation(Operation("grant", (), 1, {"scope": 1})))


def writes_for_nobody(there: World, forger: Forger) -> None:
    forger.entry(b"sealed under a key that nobody has", key=os.urandom(32))


def writes_under_a_name_of_nobody(there: World, forger: Forger) -> None:
    forger.keys = new_keys()
    forger.operation("rename", {"device": there.victim.keys.sig_pk, "name": "owned"})


def grants_in_a_long_list(there: World, forger: Forger) -> None:
    for _ in range(40):
        forger.operation("rename", {"device": there.mallory.sig_pk, "name": "again"})


@pytest.mark.parametrize(
    "write",
    [
        enrols_a_puppet,
        makes_itself_admin,
        renames_another,
        founds_another_mesh,
        speaks_of_the_future,
        rests_on_nothing_known,
        writes_rubbish,
        writes_for_nobody,
        writes_under_a_name_of_nobody,
        grants_in_a_long_list,
    ],
)
async def test_what_a_plain_member_may_not_decide_decides_nothing(
    tmp_path: Path, write: Write
) -> None:
    """It is kept and passed on, so that all hold the same, and it counts for nobody."""
    async with world(tmp_path) as there:
        mesh, members = there.victim.engine.mesh.id, there.victim.members()
        forger = Forger.of_control(there.victim, there.mallory)
        write(there, forger)

        await publish(there, forger)

        registry = there.victim.engine.mesh.registry
        assert there.victim.members() == members
        assert there.victim.engine.mesh.id == mesh
        assert registry.devices[there.victim.keys.sig_pk].name == "victim"
        assert registry.devices[there.mallory.sig_pk].role == "member"
        await all_is_well(there)


async def test_the_same_holds_after_a_restart(tmp_path: Path) -> None:
    """What is judged again at every start must be judged the same."""
    async with world(tmp_path) as there:
        members, mesh = there.victim.members(), there.victim.engine.mesh.id
        forger = Forger.of_control(there.victim, there.mallory)
        for write in (enrols_a_puppet, founds_another_mesh, writes_rubbish, writes_for_nobody):
            write(there, forger)
        scope, key = os.urandom(16), os.urandom(32)
        forger.operation("grant", grant(there, key, scope, to=(there.victim.keys,)))
        await publish(there, forger)
        await in_sync(there.victim, there.honest)
        await there.honest.close()
        await there.victim.close()

        there.victim = await (await there.nodes.make("victim")).online()
        there.honest = await (await there.nodes.make("honest")).online()
        await meet(there.honest, there.victim)

        assert (there.victim.members(), there.victim.engine.mesh.id) == (members, mesh)
        await all_is_well(there)


async def test_a_name_that_a_terminal_would_obey_is_shown_as_text(tmp_path: Path) -> None:
    """A device names itself, and others read the name in their terminals."""
    async with world(tmp_path) as there, unharmed(there):
        name = "\x1b[2J\x07owned"
        forger = Forger.of_control(there.victim, there.mallory)
        forger.operation("rename", {"device": there.mallory.sig_pk, "name": name})
        await publish(there, forger)

        rows = await there.victim.engine.directory.device_rows()
        shown = [visible(row["device_name"]) for row in rows]

        assert all(text.isprintable() for text in shown)


async def test_a_device_that_is_no_member_gets_no_session(tmp_path: Path) -> None:
    """The registry decides, and nothing that the device says of itself."""
    async with world(tmp_path) as there, unharmed(there):
        stranger = new_keys()
        rogue = await Rogue.connect(there.victim, stranger)
        await rogue.channel.send(b"\x01")

        heard = await rogue.hear_all()

        assert heard == []
        await rogue.close()


@pytest.mark.xfail(
    reason="a vector holds 8,192 logs and is cut beyond; whoever opens more of them in the"
    " membership log, under made-up names even, keeps it from ever being settled"
)
async def test_more_logs_than_a_vector_holds_do_not_end_all_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member could stop everybody's sync for good, with two megabytes."""
    monkeypatch.setattr(session_comparing, "VECTOR_ROWS_MAX", 16)
    monkeypatch.setattr(session_receiving, "VECTOR_ROWS_MAX", 16)
    async with world(tmp_path) as there:
        await there.honest.close()
        rogue = await there.enter()
        for _ in range(40):
            forger = Forger.of_control(there.victim, new_keys())
            forger.operation("rename", {"device": forger.keys.sig_pk, "name": "nobody"})
            await rogue.send(forger.frame())
            await rogue.hear_kind(Ack)
        await rogue.leave()
        there.honest = await (await there.nodes.make("honest")).online()
        monkeypatch.setattr(loopback, "PATIENCE_S", 2.0)

        await meet(there.honest, there.victim)
