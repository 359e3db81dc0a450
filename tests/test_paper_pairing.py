"""The paper key admits a device through any member, and nobody else gets in by that way."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.identity import DeviceKeys, make_certificate
from covey.crypto.pairing import prove_key, prove_paper
from covey.crypto.recovery import RecoveryKeys
from covey.crypto.secret import Secret
from covey.node.adopting import open_welcome
from covey.node.directory import UnknownDeviceError
from covey.node.pairing import PairingWindow
from covey.node.pairing_frames import (
    TYPE_CERTIFICATE,
    TYPE_LOG,
    TYPE_OFFER,
    TYPE_PAPER_WELCOME,
    TYPE_WORD,
    Bearer,
    Newcomer,
    Offer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
)
from covey.node.paper_joining import PaperJoiner, offer_recovery
from covey.node.recovering import Recovering
from covey.node.system_entropy import SystemEntropy
from covey.sync.batch import decode_batch

from .impostor import FakeJoiner
from .loopback import Device, Window, admit, arrives, in_sync, meet, nodes, until

MINUTE_MS = 60_000


def paper(number: int = 1) -> RecoveryKeys:
    return RecoveryKeys.from_seed(Secret(bytes([number]) * 32))


@asynccontextmanager
async def world(folder: Path, level: str = "full") -> AsyncIterator[tuple[Device, Device]]:
    """A member of this level that is left of a mesh with a paper key, and a new device."""
    async with nodes(folder) as made:
        admin, member = await made.make("lost"), await made.make("member")
        await admin.online()
        await member.online()
        await admit(admin, member, level)
        await Recovering(admin.engine).create(paper(), None)
        await admin.facts.put({"text": "private"}, id="mine", privacy="private")
        await admin.facts.put({"text": "of all"}, id="ours", privacy="public")
        await linked(member, admin)
        await admin.close()
        made.open_devices.remove(admin)
        new = await (await made.make("new")).online()
        await new.facts.put({"text": "written before"}, id="before")
        yield member, new


async def linked(one: Device, other: Device) -> None:
    """Link two members of any levels until both have proved that they share what they may."""
    one.engine.add_address("127.0.0.1", other.engine.port or 0, other.keys.sig_pk)
    pairs = ((one, other), (other, one))

    def proved() -> bool:
        return one.heads()[0] == other.heads()[0] and all(
            a.engine.standing_with(b.keys.sig_pk).proved for a, b in pairs
        )

    await until(proved)


def window_of(member: Device, ask: Any = None) -> Window:
    return Window(PairingWindow(member.engine, "guest", MINUTE_MS, ask))


async def recovered(
    new: Device, member: Device, window: Window, key: RecoveryKeys, ask: Any = None
) -> list[dict[str, Any]]:
    code = await window.open()
    joiner = PaperJoiner(new.engine, key, code, member.address, None, 5_000, ask)
    return [event async for event in joiner.run()]


async def refused(new: Device, member: Device, key: RecoveryKeys) -> PairingRefusedError:
    """A try that ends in a no and changes nothing on either side."""
    window, members, mesh = window_of(member), member.members(), new.engine.mesh.id
    with pytest.raises(PairingRefusedError) as caught:
        await recovered(new, member, window, key)
    assert (await window.ended())[-1]["event"] == "failed"
    assert (member.members(), new.engine.mesh.id) == (members, mesh)
    return caught.value


async def no() -> bool:
    return False


@pytest.mark.parametrize("level", ["full", "limited", "guest"])
async def test_one_member_of_any_level_is_enough_to_be_an_admin_again(
    tmp_path: Path, level: str
) -> None:
    """Everything else is lost. The member may itself not be able to read what it keeps."""
    async with world(tmp_path, level) as (member, new):
        window = window_of(member)

        told = await recovered(new, member, window, paper())
        shown = await window.ended()

        us = new.engine.our_device()
        assert (us.level, us.role, us.enrolled_by) == ("full", "admin", paper().sig_pk)
        assert [event["event"] for event in shown] == ["code", "enrolled"]
        assert shown[-1]["device"]["paper_key"] is True
        assert "joined" in [event["event"] for event in told]
        assert member.members() == new.members()
        registry = new.engine.mesh.registry
        lacking = registry.missing_grants(new.engine.mesh.held_keys())
        assert {grant.key_id for grant in registry.grants} <= set(new.engine.mesh.held_keys())
        assert not [one for lack in lacking for one in lack.recipients if one is us]
        await linked(new, member)
        await arrives(new, "ours", {"text": "of all"})
        if level == "full":
            await arrives(new, "mine", {"text": "private"})
            await arrives(member, "before", {"text": "written before"})


async def test_the_recovered_device_removes_the_lost_one_and_changes_the_words(
    tmp_path: Path,
) -> None:
    """The worst day ends with a mesh that the lost devices have no part in."""
    async with world(tmp_path) as (member, new):
        window = window_of(member)
        await recovered(new, member, window, paper())
        await window.ended()
        recovering = Recovering(new.engine)

        await recovering.promote(paper(), recovering.others(["lost"]), paper(2))
        await meet(new, member)
        await in_sync(new, member)
        await new.facts.put({"text": "later"}, id="later")
        await arrives(member, "later", {"text": "later"})

        for device in (new, member):
            by_name = {d.name: d for d in device.engine.mesh.registry.devices.values()}
            assert not by_name["lost"].active and by_name["new"].role == "admin"
            assert [r.sig_pk for r in device.engine.mesh.registry.recovery] == [paper(2).sig_pk]


async def test_a_third_device_hears_of_it_from_the_member(tmp_path: Path) -> None:
    """What came while pairing is passed on as what comes from a peer is."""
    async with nodes(tmp_path) as made:
        admin, member, new = [await (await made.make(n)).online() for n in ("a", "m", "new")]
        await admit(admin, member)
        await Recovering(admin.engine).create(paper(), None)
        await meet(member, admin)
        window = window_of(member)

        await recovered(new, member, window, paper())
        await until(lambda: new.keys.sig_pk in admin.members())
        await window.ended()

        assert admin.engine.mesh.registry.is_admin(new.keys.sig_pk)


async def test_words_of_another_paper_key_are_refused(tmp_path: Path) -> None:
    """Those that were replaced, and those of somebody else."""
    async with world(tmp_path) as (member, new):
        error = await refused(new, member, paper(2))

        assert error.refusal is Refusal.NOT_THE_PAPER_KEY


async def test_a_paper_key_that_is_replaced_while_a_person_thinks_gets_nothing(
    tmp_path: Path,
) -> None:
    """The old words may be a thief's: they must not open one key more."""
    async with world(tmp_path) as (member, new):

        async def replaced() -> bool:
            await Recovering(member.engine).create(paper(2), paper())
            return True

        window, members = window_of(member, replaced), member.members()
        with pytest.raises(PairingRefusedError) as caught:
            await recovered(new, member, window, paper())
        await window.ended()

        assert caught.value.refusal is Refusal.NOT_THE_PAPER_KEY
        assert member.members() == members


async def test_a_lost_device_that_nobody_knows_is_told_before_anything_is_said(
    tmp_path: Path,
) -> None:
    """With a slip in the name the lost device would stay, and half of the work be done."""
    async with world(tmp_path) as (member, new):
        window, members, mesh = window_of(member), member.members(), new.engine.mesh.id
        code = await window.open()
        joiner = PaperJoiner(
            new.engine, paper(), code, member.address, None, 5_000, None, ["lost", "lots"]
        )

        with pytest.raises(UnknownDeviceError, match=r"no device 'lots'.*nothing was changed"):
            async for _ in joiner.run():
                pass
        assert (await window.ended())[-1]["event"] == "failed"

        assert (member.members(), new.engine.mesh.id) == (members, mesh)


async def test_a_person_at_the_member_may_say_no_to_the_paper_key(tmp_path: Path) -> None:
    """Whoever found the paper needs a person with a device of the mesh beside it."""
    async with world(tmp_path) as (member, new):
        window, members = window_of(member, no), member.members()
        with pytest.raises(PairingRefusedError) as caught:
            await recovered(new, member, window, paper())
        shown = await window.ended()

        assert caught.value.refusal is Refusal.DECLINED
        asked = next(event["device"] for event in shown if event["event"] == "confirm")
        assert asked["paper_key"] is True and asked["level"] == "full"
        assert member.members() == members


async def test_a_new_device_that_died_after_it_was_admitted_joins_again(tmp_path: Path) -> None:
    """It has forgotten what it wrote in the log of the paper key; the mesh has not."""
    async with world(tmp_path) as (member, new):
        window = window_of(member)
        thief = await bearer(member, await window.open(), new.keys)
        await thief.say(await thief.word())
        expect(await thief.fake.receive(), 0x28)
        await thief.fake.close()
        await until(lambda: new.keys.sig_pk in member.members())
        await window.close()
        control = member.heads()[0]
        again = window_of(member, no)

        told = await recovered(new, member, again, paper())
        await again.ended()

        assert "joined" in [event["event"] for event in told]
        assert member.heads()[0] == control
        assert new.engine.our_device().role == "admin"


async def test_a_control_key_that_a_removed_device_has_is_renewed_first(tmp_path: Path) -> None:
    """The enrolment and the keys must not be readable by who was removed."""
    async with world(tmp_path, "limited") as (member, new):
        welcomed = member.engine.mesh
        genesis, keys, frames = await welcomed.welcome(paper().sig_pk)
        opened = open_welcome(
            paper(), welcomed.id, member.keys.sig_pk, Welcome(genesis, keys, len(frames)), frames
        )
        held = {control.key_id for control in opened.control.values()}
        registry = opened.membership.registry
        us = new.engine.our_device()
        enrolment = {
            "cert": certificate_of(new.keys, welcomed.id),
            "name": us.name,
            "type": us.type,
            "level": "full",
            "role": "admin",
        }
        good = type(registry).writer_key
        stale = {key for key in held}

        def writer_key(self: Any, scope: bytes, keys: Any = None) -> Any:
            found = good(self, scope, keys)
            return None if found is not None and found[1] in stale else found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(registry), "writer_key", writer_key)
            said = offer_recovery(paper(), opened, enrolment, 1, SystemEntropy())

        (run,) = decode_batch(said[0]).runs
        under = [segment.key_id for segment in run.segments]
        assert under[0] in held and not set(under[1:]) & held
        for frame in said:
            prepared = await member.engine.ingest.prepare(decode_batch(frame))
            await member.engine.switchboard.store_unlinked(prepared)
        assert member.engine.mesh.registry.is_admin(new.keys.sig_pk)


def certificate_of(keys: DeviceKeys, mesh: bytes) -> bytes:
    return make_certificate(keys, mesh, 1)


# Who lies -------------------------------------------------------------------------------------


class Thief:
    """The new device's side, step by step, with the true code and perhaps the true paper."""

    def __init__(self, fake: FakeJoiner, key: RecoveryKeys) -> None:
        self.fake = fake
        self.key = key

    async def introduce(self, **other: Any) -> None:
        keys, h = self.fake.keys, self.fake.channel.handshake_hash
        proof = prove_key(keys.sign, h)
        newcomer = Newcomer(keys.sig_pk, keys.dh_pk, keys.seal_pk, "new", "phone", proof)
        fields: dict[str, Any] = {
            "newcomer": newcomer,
            "paper": self.key.sig_pk,
            "paper_proof": prove_paper(self.key.sign, h, keys.sig_pk),
        }
        await self.fake.channel.send(Bearer(**{**fields, **other}).encode())

    async def welcome(self) -> tuple[Offer, Welcome, list[bytes]]:
        offer = Offer.decode(expect(await self.fake.receive(), TYPE_OFFER))
        certificate = self.fake.certificate(offer.mesh)
        await self.fake.channel.send(bytes((TYPE_CERTIFICATE,)) + certificate)
        welcome = Welcome.decode(expect(await self.fake.receive(), TYPE_PAPER_WELCOME))
        frames = [expect(await self.fake.receive(), TYPE_LOG) for _ in range(welcome.frames)]
        return offer, welcome, frames

    async def word(self, **other: Any) -> list[bytes]:
        offer, welcome, frames = await self.welcome()
        opened = open_welcome(self.key, offer.mesh, offer.sig, welcome, frames)
        enrolment = {
            "cert": self.fake.certificate(offer.mesh),
            "name": "new",
            "type": "phone",
            "level": "full",
            "role": "admin",
        }
        return offer_recovery(self.key, opened, {**enrolment, **other}, 1, SystemEntropy())

    async def say(self, frames: list[bytes], count: int | None = None) -> None:
        announced = len(frames) if count is None else count
        await self.fake.channel.send(bytes((TYPE_WORD, announced)))
        for frame in frames:
            await self.fake.channel.send(bytes((TYPE_LOG,)) + frame)


async def bearer(member: Device, code: str, keys: DeviceKeys | None = None) -> Thief:
    fake = await FakeJoiner.connect(member, keys)
    await fake.prove(code)
    thief = Thief(fake, paper())
    await thief.introduce()
    return thief


@pytest.mark.parametrize("lie", ["proof", "of another device", "of another handshake", "short"])
async def test_the_name_of_the_paper_key_is_not_the_paper_key(tmp_path: Path, lie: str) -> None:
    """Its public half stands in the log that every member reads."""
    async with world(tmp_path) as (member, _):
        window, members = window_of(member), member.members()
        code = await window.open()
        fake = await FakeJoiner.connect(member)
        await fake.prove(code)
        h, other = fake.channel.handshake_hash, DeviceKeys.generate(os.urandom)
        proofs = {
            "proof": bytes(64),
            "of another device": prove_paper(paper().sign, h, other.sig_pk),
            "of another handshake": prove_paper(paper().sign, bytes(32), fake.keys.sig_pk),
            "short": bytes(63),
        }

        await Thief(fake, paper()).introduce(paper_proof=proofs[lie])
        answer = await fake.last_word()
        await window.ended()

        assert answer == bytes((0x2F, Refusal.MALFORMED))
        assert member.members() == members
        await fake.close()


async def _nothing_said(thief: Thief) -> None:
    await thief.welcome()
    await thief.say([])


async def _more_than_may_be(thief: Thief) -> None:
    await thief.say(await thief.word(), 65)


async def _rubbish(thief: Thief) -> None:
    await thief.welcome()
    await thief.say([b"\x05" + bytes(500)])


async def _said_by_a_member(thief: Thief) -> None:
    _, _, frames = await thief.welcome()
    await thief.say(frames[:1])


async def _about_another_device(thief: Thief) -> None:
    keys = DeviceKeys.generate(os.urandom)
    real = thief.fake.certificate
    thief.fake.certificate = lambda mesh: certificate_of(keys, mesh)  # type: ignore[method-assign]
    offer = Offer.decode(expect(await thief.fake.receive(), TYPE_OFFER))
    await thief.fake.channel.send(bytes((TYPE_CERTIFICATE,)) + real(offer.mesh))
    welcome = Welcome.decode(expect(await thief.fake.receive(), TYPE_PAPER_WELCOME))
    frames = [expect(await thief.fake.receive(), TYPE_LOG) for _ in range(welcome.frames)]
    opened = open_welcome(thief.key, offer.mesh, offer.sig, welcome, frames)
    enrolment = {
        "cert": bytes(188),
        "name": "new",
        "type": "phone",
        "level": "full",
        "role": "admin",
    }
    await thief.say(offer_recovery(thief.key, opened, enrolment, 1, SystemEntropy()))


async def _changed_on_its_way(thief: Thief) -> None:
    first, *rest = await thief.word()
    await thief.say([first[:-1] + bytes((first[-1] ^ 1,)), *rest])


@pytest.mark.parametrize(
    "lie",
    [
        _nothing_said,
        _more_than_may_be,
        _rubbish,
        _said_by_a_member,
        _about_another_device,
        _changed_on_its_way,
    ],
)
async def test_a_word_that_admits_nobody_ends_the_pairing(
    tmp_path: Path, lie: Callable[[Thief], Any]
) -> None:
    """The member believes the fold, and what cannot be folded is refused."""
    async with world(tmp_path) as (member, _):
        window, members = window_of(member), member.members()
        thief = await bearer(member, await window.open())

        await lie(thief)
        answer = await thief.fake.last_word()
        shown = await window.ended()

        assert answer in (bytes((0x2F, Refusal.MALFORMED)), bytes((0x2F, Refusal.FAILED)))
        assert shown[-1]["event"] == "failed"
        assert member.members() == members
        await thief.fake.close()
