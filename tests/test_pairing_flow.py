"""Pairing by code, both sides whole and over real WebSockets: who gets in, and who never does.

After every refusal the member's registry must be what it was, and the new device must still be in
its own mesh with everything that was written on it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.identity import make_certificate
from covey.crypto.secret import Secret
from covey.node.joining import Joiner
from covey.node.outgoing import whole_log
from covey.node.pairing import PairingPausedError, PairingWindow
from covey.node.pairing_frames import (
    TYPE_CERTIFICATE,
    TYPE_LOG,
    TYPE_OFFER,
    Offer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
)
from covey.node.secure_channel import SecureChannel
from covey.storage.errors import StoreFullError
from covey.sync.messages import decode_batch

from .fake_clock import FakeClock
from .impostor import FakeJoiner, FakeSponsor
from .loopback import (
    Device,
    Hesitant,
    Nodes,
    ShiftedClock,
    Window,
    admit,
    arrives,
    enroll,
    join,
    meet,
    nodes,
    until,
)
from .rogue import Forger, new_keys

MINUTE_MS = 60_000
WRONG = "zebra-zebra-zebra"
A_CODE = "amber-clock-river"


@dataclass
class Both:
    """A member that may admit, and a device that wants in, each with a record of its own."""

    nodes: Nodes
    admin: Device
    joiner: Device

    def window(self, level: str = "full", ask: Any = None, minutes: int = 5) -> Window:
        return Window(PairingWindow(self.admin.engine, level, minutes * MINUTE_MS, ask))


@asynccontextmanager
async def both(folder: Path, clock: Any = None) -> AsyncIterator[Both]:
    async with nodes(folder) as made:
        admin = await (await made.make("admin", clock=clock)).online()
        joiner = await (await made.make("joiner")).online()
        await admin.facts.put({"text": "of the mesh"}, id="theirs")
        await joiner.facts.put({"text": "written before"}, id="mine")
        yield Both(made, admin, joiner)


@asynccontextmanager
async def nobody_admitted(world: Both) -> AsyncIterator[None]:
    """Whatever happens in the block, no device has moved from where it was."""
    members, mesh = world.admin.members(), world.joiner.engine.mesh.id
    ours, theirs = await world.admin.records(), await world.joiner.records()
    yield
    assert world.admin.members() == members
    assert world.joiner.engine.mesh.id == mesh != world.admin.engine.mesh.id
    assert await world.admin.records() == ours
    assert await world.joiner.records() == theirs
    assert world.joiner.members() == {world.joiner.keys.sig_pk}


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def refused(work: Awaitable[Any]) -> PairingRefusedError:
    with pytest.raises(PairingRefusedError) as caught:
        await work
    return caught.value


async def enrolled_and_gone(world: Both) -> None:
    """The device is admitted and its battery dies: it has adopted nothing."""
    window = world.window()
    code = await window.open()
    joiner = await FakeJoiner.connect(world.admin, world.joiner.keys)
    await joiner.prove(code)
    await joiner.introduce(name="joiner")
    offer = Offer.decode(expect(await joiner.receive(), TYPE_OFFER))
    await joiner.channel.send(bytes((TYPE_CERTIFICATE,)) + joiner.certificate(offer.mesh))
    Welcome.decode(expect(await joiner.receive(), 0x28))
    await joiner.close()
    await until(lambda: world.joiner.keys.sig_pk in world.admin.members())
    await window.close()


# The right code -------------------------------------------------------------------------------


async def test_the_right_code_admits_and_both_sides_hold_everything(tmp_path: Path) -> None:
    """This is what pairing is for."""
    async with both(tmp_path) as world:
        window = world.window(ask=yes)
        code = await window.open()

        told = await join(world.joiner, code, world.admin.address, yes)
        shown = await window.ended()

        assert [event["event"] for event in shown] == ["code", "confirm", "enrolled"]
        assert [e["event"] for e in told if e["event"] != "progress"] == [
            "searching",
            "confirm",
            "joined",
            "synced",
        ]
        assert world.admin.members() == world.joiner.members()
        await arrives(world.admin, "mine", {"text": "written before"})
        await arrives(world.joiner, "theirs", {"text": "of the mesh"})


async def test_both_persons_are_shown_the_other_device_before_they_answer(tmp_path: Path) -> None:
    """Somebody who cannot see whom they let in agrees to anything."""
    async with both(tmp_path) as world:
        window = world.window(level="limited", ask=yes)

        told = await join(world.joiner, await window.open(), world.admin.address, yes)
        shown = await window.ended()

        asked_there = next(event["device"] for event in shown if event["event"] == "confirm")
        asked_here = next(event for event in told if event["event"] == "confirm")
        assert asked_there["id"] == world.joiner.node.device_id
        assert (asked_there["name"], asked_there["level"]) == ("joiner", "limited")
        assert asked_here["enrolled_by"]["id"] == world.admin.node.device_id
        assert asked_here["level"] == "limited"


async def test_the_code_may_be_typed_in_capitals_and_with_spaces(tmp_path: Path) -> None:
    """People read codes aloud."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()

        await join(world.joiner, f"  {code.upper().replace('-', ' ')} ", world.admin.address)

        assert world.joiner.keys.sig_pk in world.admin.members()
        await window.ended()


# A wrong code ---------------------------------------------------------------------------------


async def test_a_wrong_code_is_burned_and_both_sides_say_so(tmp_path: Path) -> None:
    """One guess a code is what makes three words enough."""
    async with both(tmp_path) as world:
        window = world.window()
        await window.open()

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, WRONG, world.admin.address))
            shown = await window.ended()

        assert error.refusal is Refusal.WRONG_CODE
        assert "wrong" in str(error) and "covey pair" in str(error)
        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "wrong-code")
        assert (await world.admin.event("pairing_failed"))["reason"] == "wrong-code"


async def test_after_a_wrong_code_the_right_one_is_refused_too(tmp_path: Path) -> None:
    """A second guess at the same code would halve its worth."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()

        async with nobody_admitted(world):
            await refused(join(world.joiner, WRONG, world.admin.address))
            await window.ended()
            error = await refused(join(world.joiner, code, world.admin.address))

        assert error.refusal is Refusal.EXPIRED


async def test_a_member_shows_no_code_after_three_wrong_ones(tmp_path: Path) -> None:
    """Somebody who can make us show codes for ever can guess for ever."""
    clock = ShiftedClock()
    async with both(tmp_path, clock) as world:
        for _ in range(3):
            window = world.window()
            await window.open()
            await refused(join(world.joiner, WRONG, world.admin.address))
            await window.ended()
            clock.wall_ahead_ms += 4 * MINUTE_MS  # at 0, 4 and 8 minutes

        with pytest.raises(PairingPausedError, match="pairing is off"):
            await world.window().open()
        clock.wall_ahead_ms += 5 * MINUTE_MS  # 17 minutes: 9 since the last one
        with pytest.raises(PairingPausedError, match="another 1 min"):
            await world.window().open()
        clock.wall_ahead_ms += 2 * MINUTE_MS
        window = world.window()
        await join(world.joiner, await window.open(), world.admin.address)
        await window.ended()

        assert world.joiner.keys.sig_pk in world.admin.members()


async def test_the_pause_outlives_a_restart(tmp_path: Path) -> None:
    """Else the cure for the attacker would be to make the node crash."""
    async with both(tmp_path) as world:
        for _ in range(3):
            window = world.window()
            await window.open()
            await refused(join(world.joiner, WRONG, world.admin.address))
            await window.ended()
        await world.joiner.close()
        await world.admin.close()
        again = await (await world.nodes.make("admin")).online()

        with pytest.raises(PairingPausedError):
            await Window(PairingWindow(again.engine, "full", MINUTE_MS, None)).open()


async def test_three_wrong_codes_in_a_day_pause_nothing(tmp_path: Path) -> None:
    """People mistype; only a burst is an attack."""
    clock = ShiftedClock()
    async with both(tmp_path, clock) as world:
        for _ in range(3):
            window = world.window()
            await window.open()
            await refused(join(world.joiner, WRONG, world.admin.address))
            await window.ended()
            clock.wall_ahead_ms += 6 * MINUTE_MS
        window = world.window()

        await join(world.joiner, await window.open(), world.admin.address)
        await window.ended()

        assert world.joiner.keys.sig_pk in world.admin.members()


async def test_a_connection_that_guesses_nothing_does_not_burn_the_code(tmp_path: Path) -> None:
    """Else anyone on the network could keep a person from pairing by knocking."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        for sent in (b"", b"\x21" + bytes(33), b"\x21short", b"\xff" * 40, b"\x2f\x01"):
            stranger = await FakeJoiner.connect(world.admin)
            await stranger.channel.send(sent)
            await stranger.last_word()
            await stranger.close()
        idle = await FakeJoiner.connect(world.admin)
        await idle.begin(WRONG)
        await idle.receive()
        await idle.close()  # It has our point and nothing to test a guess on.
        await until(lambda: not window.window._busy)

        await join(world.joiner, code, world.admin.address)
        await window.ended()

        assert world.joiner.keys.sig_pk in world.admin.members()


async def test_no_code_is_empty_while_the_window_is_being_announced(tmp_path: Path) -> None:
    """A window that answers before its code is made lets in whoever guesses nothing."""
    async with both(tmp_path) as world:
        announcing, go_on = asyncio.Event(), asyncio.Event()

        async def announce(service: str, properties: dict[str, str]) -> None:
            announcing.set()
            await go_on.wait()

        world.admin.engine.reach.announce = announce  # type: ignore[method-assign]
        window = world.window()
        opening = asyncio.create_task(window.open())
        await announcing.wait()
        stranger = await FakeJoiner.connect(world.admin)

        async with nobody_admitted(world):
            error = await refused(stranger.prove(""))
            go_on.set()
            await opening
            await window.ended()

        assert error.refusal is Refusal.WRONG_CODE
        await stranger.close()


# Time and order -------------------------------------------------------------------------------


async def test_an_expired_code_admits_nobody(tmp_path: Path) -> None:
    """A code that somebody wrote down yesterday must be worth nothing."""
    clock = FakeClock()
    async with both(tmp_path, clock) as world:
        window = world.window()
        code = await window.open()
        await clock.advance(5 * MINUTE_MS)

        async with nobody_admitted(world):
            shown = await window.ended()
            error = await refused(join(world.joiner, code, world.admin.address))

        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "expired")
        assert error.refusal is Refusal.EXPIRED
        assert world.admin.engine.window is None


async def test_a_code_that_expires_while_it_is_being_proved_admits_nobody(tmp_path: Path) -> None:
    """The person at the member was told that it is over, and must be able to rely on it."""
    clock = FakeClock()
    async with both(tmp_path, clock) as world:
        window = world.window(minutes=1)
        code = await window.open()
        await clock.advance(MINUTE_MS - 1_000)
        joiner = await FakeJoiner.connect(world.admin)
        pake = await joiner.begin(code)
        point = expect(await joiner.receive(), 0x22)
        await clock.advance(1_000)

        async with nobody_admitted(world):
            await joiner.channel.send(b"\x23" + pake.confirm(point))
            answer = await joiner.last_word()
            shown = await window.ended()

        assert answer == bytes((0x2F, Refusal.EXPIRED))
        assert shown[-1]["reason"] == "expired"
        await joiner.close()


async def test_a_command_that_was_ended_admits_nobody_any_more(tmp_path: Path) -> None:
    """Ctrl-C at the question is a no."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        joiner = await FakeJoiner.connect(world.admin)
        await joiner.prove(code)
        await joiner.introduce()
        offer = Offer.decode(expect(await joiner.receive(), TYPE_OFFER))

        async with nobody_admitted(world):
            await window.close()
            await joiner.channel.send(bytes((TYPE_CERTIFICATE,)) + joiner.certificate(offer.mesh))
            answer = await joiner.last_word()

        assert answer == bytes((0x2F, Refusal.EXPIRED))
        assert world.admin.engine.window is None
        await joiner.close()


async def test_an_announcement_that_fails_leaves_no_window_open(tmp_path: Path) -> None:
    """Else "a code is being shown already" would be true until the node is restarted."""
    async with both(tmp_path) as world:

        async def announce(service: str, properties: dict[str, str]) -> None:
            raise OSError("no such device")

        whole = world.admin.engine.reach.announce
        world.admin.engine.reach.announce = announce  # type: ignore[method-assign]
        with pytest.raises(OSError, match="no such device"):
            await world.window().open()
        world.admin.engine.reach.announce = whole  # type: ignore[method-assign]
        window = world.window()

        await join(world.joiner, await window.open(), world.admin.address)
        await window.ended()

        assert world.joiner.keys.sig_pk in world.admin.members()


async def test_a_second_joiner_is_turned_away_while_one_is_being_admitted(tmp_path: Path) -> None:
    """One code, one device: the second must neither get in nor spoil it for the first."""
    async with both(tmp_path) as world:
        person = Hesitant()
        window = world.window(ask=person)
        code = await window.open()
        first = asyncio.create_task(join(world.joiner, code, world.admin.address))
        await person.asked.wait()
        second = await world.nodes.make("second")

        error = await refused(join(second, code, world.admin.address))
        person.says_yes.set()
        await first
        await window.ended()

        assert error.refusal is Refusal.BUSY
        assert world.joiner.keys.sig_pk in world.admin.members()
        assert second.keys.sig_pk not in world.admin.members()
        assert second.members() == {second.keys.sig_pk}


# Meshes and members ---------------------------------------------------------------------------


async def test_a_device_of_a_mesh_with_others_joins_no_second_one(tmp_path: Path) -> None:
    """It would leave its other devices behind without a word."""
    async with both(tmp_path) as world:
        await admit(world.joiner, await world.nodes.make("companion"))
        window = world.window()
        members, mesh = world.admin.members(), world.joiner.engine.mesh.id

        error = await refused(join(world.joiner, await window.open(), world.admin.address))

        assert error.refusal is Refusal.OTHER_MESH and "--home" in str(error)
        assert (world.admin.members(), world.joiner.engine.mesh.id) == (members, mesh)
        assert await world.joiner.facts.get("mine") == {"text": "written before"}
        await window.close()


async def test_the_code_of_another_window_is_a_wrong_code(tmp_path: Path) -> None:
    """Two people pairing in one room must not end in each other's mesh."""
    async with both(tmp_path) as world:
        other = await (await world.nodes.make("other")).online()
        ours, theirs = world.window(), Window(PairingWindow(other.engine, "full", MINUTE_MS, None))
        await ours.open()
        code = await theirs.open()

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, code, world.admin.address))
            await ours.ended()
            await theirs.close()

        assert error.refusal is Refusal.WRONG_CODE
        assert other.members() == {other.keys.sig_pk}


async def test_a_device_that_crashed_after_it_was_enrolled_joins_again(tmp_path: Path) -> None:
    """The enrolment stands; a second one for the same key would only be noise for ever."""
    async with both(tmp_path) as world:
        await enrolled_and_gone(world)
        control = world.admin.heads()[0]
        again = world.window(ask=no)

        told = await join(world.joiner, await again.open(), world.admin.address)
        shown = await again.ended()

        assert "joined" in [event["event"] for event in told]
        assert [event["event"] for event in shown] == ["code", "enrolled"]
        assert world.admin.heads()[0] == control
        await arrives(world.admin, "mine", {"text": "written before"})


async def test_a_device_that_was_removed_is_admitted_by_a_person_or_not(tmp_path: Path) -> None:
    """The registry knows it still, but it is no longer one that was asked about already."""
    async with both(tmp_path) as world:
        await enrolled_and_gone(world)
        await world.admin.engine.trust.revoke(world.joiner.keys.sig_pk)
        again = world.window(ask=no)

        error = await refused(join(world.joiner, await again.open(), world.admin.address))

        assert error.refusal is Refusal.DECLINED


async def test_the_enrolment_and_the_keys_are_one_transaction(tmp_path: Path) -> None:
    """A member without keys would be a device that can never read anything."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        joiner = await FakeJoiner.connect(world.admin)
        await joiner.prove(code)
        await joiner.introduce()
        offer = Offer.decode(expect(await joiner.receive(), TYPE_OFFER))
        await joiner.channel.send(bytes((TYPE_CERTIFICATE,)) + joiner.certificate(offer.mesh))
        expect(await joiner.receive(), 0x28)

        registry = world.admin.engine.mesh.registry
        held = {grant.scope for grant in registry.grants if joiner.keys.sig_pk in grant.sealed}

        assert held == {grant.scope for grant in registry.grants}
        await joiner.close()
        await window.close()


async def test_two_windows_at_once_are_one_too_many(tmp_path: Path) -> None:
    """Two codes are two guesses."""
    async with both(tmp_path) as world:
        first = world.window()
        await first.open()

        with pytest.raises(Exception, match="being shown already"):
            await world.window().open()

        await first.close()


# People say no --------------------------------------------------------------------------------


async def test_no_at_the_member_admits_nobody(tmp_path: Path) -> None:
    """The last word is with the person whose data it is."""
    async with both(tmp_path) as world:
        window = world.window(ask=no)
        code = await window.open()

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, code, world.admin.address, yes))
            shown = await window.ended()

        assert error.refusal is Refusal.DECLINED and "said no" in str(error)
        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "refused")


async def test_no_at_the_new_device_changes_nothing(tmp_path: Path) -> None:
    """Who sees a mesh they did not expect must be able to stop."""
    async with both(tmp_path) as world:
        window = world.window(ask=yes)
        code = await window.open()

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, code, world.admin.address, no))
            shown = await window.ended()

        assert error.refusal is Refusal.DECLINED and "nothing was changed" in str(error)
        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "refused")


# A joiner that lies ---------------------------------------------------------------------------

Introduction = Callable[[FakeJoiner], Awaitable[None]]


async def _wrong_proof(joiner: FakeJoiner) -> None:
    await joiner.introduce(proof=bytes(64))


async def _someone_elses_key(joiner: FakeJoiner) -> None:
    await joiner.introduce(sig=new_keys().sig_pk)


async def _control_name(joiner: FakeJoiner) -> None:
    await joiner.introduce(name="kitchen\x1b[2J")


async def _long_name(joiner: FakeJoiner) -> None:
    await joiner.introduce(name="n" * 41)


async def _strange_type(joiner: FakeJoiner) -> None:
    await joiner.introduce(type="toaster")


async def _small_order_seal_key(joiner: FakeJoiner) -> None:
    await joiner.introduce(seal=bytes(32))


async def _no_map(joiner: FakeJoiner) -> None:
    await joiner.channel.send(b"\x25\xc0")


async def _nested_bomb(joiner: FakeJoiner) -> None:
    await joiner.channel.send(b"\x25" + b"\x91" * 60_000)


async def _nothing_more(joiner: FakeJoiner) -> None:
    await joiner.close()


@pytest.mark.parametrize(
    "introduce",
    [
        _wrong_proof,
        _someone_elses_key,
        _control_name,
        _long_name,
        _strange_type,
        _small_order_seal_key,
        _no_map,
        _nested_bomb,
        _nothing_more,
    ],
)
async def test_who_knows_the_code_but_not_how_to_introduce_itself_ends_the_window(
    tmp_path: Path, introduce: Introduction
) -> None:
    """The code is spent by then: a window left open would wait for nobody, for ever."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        joiner = await FakeJoiner.connect(world.admin)
        await joiner.prove(code)

        async with nobody_admitted(world):
            await introduce(joiner)
            await joiner.last_word()
            shown = await window.ended()

        assert shown[-1]["event"] == "failed"
        assert shown[-1]["reason"] in ("refused", "interrupted")
        await joiner.close()


async def test_a_certificate_that_names_other_keys_admits_nobody(tmp_path: Path) -> None:
    """The keys that people agreed to must be the keys that get in."""
    async with both(tmp_path) as world:
        window = world.window(ask=yes)
        code = await window.open()
        joiner = await FakeJoiner.connect(world.admin)
        await joiner.prove(code)
        await joiner.introduce()
        offer = Offer.decode(expect(await joiner.receive(), TYPE_OFFER))
        other = make_certificate(world.joiner.keys, offer.mesh, 1)

        async with nobody_admitted(world):
            await joiner.channel.send(bytes((TYPE_CERTIFICATE,)) + other)
            answer = await joiner.last_word()
            shown = await window.ended()

        assert answer == bytes((0x2F, Refusal.MALFORMED))
        assert shown[-1]["event"] == "failed"
        await joiner.close()


async def test_a_certificate_for_another_mesh_admits_nobody(tmp_path: Path) -> None:
    """It could be played back there."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        joiner = await FakeJoiner.connect(world.admin)
        await joiner.prove(code)
        await joiner.introduce()
        await joiner.receive()

        async with nobody_admitted(world):
            certificate = joiner.certificate(world.joiner.engine.mesh.id)
            await joiner.channel.send(bytes((TYPE_CERTIFICATE,)) + certificate)
            answer = await joiner.last_word()
            await window.ended()

        assert answer == bytes((0x2F, Refusal.MALFORMED))
        await joiner.close()


async def test_a_full_disk_at_the_member_is_said_on_both_sides(tmp_path: Path) -> None:
    """Nobody may wait for ever because the other side has a problem."""
    async with both(tmp_path) as world:

        async def enroll_fails(*_: object) -> None:
            raise StoreFullError(tmp_path / "store.db")

        world.admin.engine.mesh.enroll = enroll_fails  # type: ignore[assignment, method-assign]
        window = world.window()
        code = await window.open()

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, code, world.admin.address))
            shown = await window.ended()

        assert error.refusal is Refusal.FAILED
        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "failed")


async def test_a_wrong_code_ends_the_window_though_the_disk_takes_no_note(tmp_path: Path) -> None:
    """Else the command would wait for ever, and no other code could be shown."""
    async with both(tmp_path) as world:
        window = world.window()
        await window.open()

        async def burned_fails() -> None:
            raise StoreFullError(tmp_path / "store.db")

        window.window._burned = burned_fails  # type: ignore[method-assign]

        async with nobody_admitted(world):
            error = await refused(join(world.joiner, WRONG, world.admin.address))
            shown = await window.ended()

        assert error.refusal is Refusal.WRONG_CODE
        assert (shown[-1]["event"], shown[-1]["reason"]) == ("failed", "wrong-code")
        assert world.admin.engine.window is None


# A member that lies ---------------------------------------------------------------------------


@asynccontextmanager
async def sponsored(world: Both, change: Callable[[Offer, Welcome, list[bytes]], Any]) -> Any:
    """A pairing with someone who knows the code and shows a changed copy of the true mesh."""
    engine = world.admin.engine
    await enroll(world.admin, world.joiner.keys, "joiner")
    genesis, keys, frames = await engine.mesh.welcome(world.joiner.keys.sig_pk)
    us = engine.our_device()
    true = Offer(engine.mesh.id, us.name, us.sig_pk, "full")
    welcome = Welcome(genesis, keys, len(frames))
    offer, welcome, frames = change(true, welcome, frames)

    async def script(channel: SecureChannel) -> None:
        await channel.send(offer.encode())
        await channel.receive()
        await channel.send(welcome.encode())
        for frame in frames:
            await channel.send(bytes((TYPE_LOG,)) + frame)

    sponsor = FakeSponsor(A_CODE, script)
    address = await sponsor.open()
    try:
        yield address
    finally:
        await sponsor.close()


def _other_mesh(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    return Offer(bytes(16), offer.name, offer.sig, offer.level), welcome, frames


def _other_genesis(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    changed = Welcome(bytes(32), welcome.keys, welcome.frames)
    return offer, changed, frames


def _sponsor_is_nobody(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    return Offer(offer.mesh, offer.name, bytes(32), offer.level), welcome, frames


def _box_for_another(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    epoch, key_id, _ = welcome.keys[0]
    changed = Welcome(welcome.genesis, ((epoch, key_id, bytes(164)),), welcome.frames)
    return offer, changed, frames


def _changed_log(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    return offer, welcome, [frames[0][:-1] + bytes((frames[0][-1] ^ 1,)), *frames[1:]]


def _log_of_another_scope(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    return offer, welcome, [frames[0][:1] + b"s" * 16 + frames[0][17:], *frames[1:]]


def _rubbish_log(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
    return offer, welcome, [b"\x05" + bytes(500)] * len(frames)


@pytest.mark.parametrize(
    "change",
    [
        _other_mesh,
        _other_genesis,
        _sponsor_is_nobody,
        _box_for_another,
        _changed_log,
        _log_of_another_scope,
        _rubbish_log,
    ],
)
async def test_a_mesh_that_does_not_prove_itself_is_not_joined(
    tmp_path: Path, change: Callable[[Offer, Welcome, list[bytes]], Any]
) -> None:
    """Whoever shows a code could show a made-up mesh; the new device must find out by itself."""
    async with both(tmp_path) as world:
        before = world.joiner.engine.mesh.id
        async with sponsored(world, change) as address:
            error = await refused(join(world.joiner, A_CODE, address))

        assert error.refusal is Refusal.MALFORMED
        assert world.joiner.engine.mesh.id == before
        assert world.joiner.members() == {world.joiner.keys.sig_pk}
        assert await world.joiner.facts.get("mine") == {"text": "written before"}


async def test_a_log_in_which_we_are_not_enrolled_is_not_adopted(tmp_path: Path) -> None:
    """The words "you are in" are not the same as being in."""
    async with both(tmp_path) as world:

        def log_before_us(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
            return offer, welcome, old

        engine = world.admin.engine
        holdings = engine.ledger.holdings.heads(bytes(16))
        ranges = tuple((instance, 1, head.seq) for instance, head in sorted(holdings.items()))
        old = await whole_log(engine.database, engine.ledger, bytes(16), ranges)
        async with sponsored(world, log_before_us) as address:
            error = await refused(join(world.joiner, A_CODE, address))

        assert "enrolment" in str(error)
        assert world.joiner.members() == {world.joiner.keys.sig_pk}


async def test_a_sponsor_that_does_not_belong_to_its_mesh_is_refused(tmp_path: Path) -> None:
    """A device that was removed shows codes as well."""
    async with both(tmp_path) as world:
        member = await world.nodes.make("member")
        await admit(world.admin, member)
        await world.admin.engine.trust.revoke(member.keys.sig_pk)

        def signed_by_member(offer: Offer, welcome: Welcome, frames: list[bytes]) -> Any:
            return Offer(offer.mesh, "member", member.keys.sig_pk, "full"), welcome, frames

        async with sponsored(world, signed_by_member) as address:
            error = await refused(join(world.joiner, A_CODE, address))

        assert "does not belong" in str(error)
        assert world.joiner.members() == {world.joiner.keys.sig_pk}


async def test_a_sponsor_who_does_not_know_the_code_is_told_nothing(tmp_path: Path) -> None:
    """A fake window on the network must not learn who wants to join."""
    async with both(tmp_path) as world:

        async def script(channel: SecureChannel) -> None:
            raise AssertionError("the joiner went on with somebody who does not know the code")

        sponsor = FakeSponsor(WRONG, script)
        address = await sponsor.open()
        async with nobody_admitted(world):
            error = await refused(join(world.joiner, A_CODE, address))
        await sponsor.close()

        assert error.refusal in (Refusal.WRONG_CODE, Refusal.FAILED)
        assert sponsor.heard == []


# What was written meanwhile -------------------------------------------------------------------


async def test_rubbish_in_the_membership_log_keeps_nobody_from_joining(tmp_path: Path) -> None:
    """A member could otherwise close the mesh for everyone with one entry."""
    async with both(tmp_path) as world:
        keys = new_keys()
        await enroll(world.admin, keys, "mallory")
        forger = Forger.of_control(world.admin, keys)
        forger.entry(b"\xc1 no operation")
        forger.entry(b"sealed under a key that nobody has", key=bytes(32))
        unreadable = forger.entry(b"whatever")
        unreadable.ct = bytes(len(unreadable.ct))
        forger.entries.remove(unreadable)
        batch = decode_batch(forger.frame())
        await world.admin.engine.ingest.store(await world.admin.engine.ingest.prepare(batch))
        window = world.window()

        await join(world.joiner, await window.open(), world.admin.address)
        await window.ended()

        assert world.joiner.members() == world.admin.members()
        await arrives(world.admin, "mine", {"text": "written before"})
        await arrives(world.joiner, "theirs", {"text": "of the mesh"})


async def test_nothing_that_was_acknowledged_while_joining_is_lost(tmp_path: Path) -> None:
    """An agent goes on writing while a person pairs the device it runs on."""
    async with both(tmp_path) as world:
        written: list[str] = []
        stop = asyncio.Event()

        async def write(writer: int) -> None:
            while not stop.is_set():
                id = f"w{writer}-{len(written)}"
                await world.joiner.facts.put({"writer": writer}, id=id)
                written.append(id)

        writing = [asyncio.create_task(write(writer)) for writer in range(8)]
        window = world.window()
        code = await window.open()
        joiner = Joiner(world.joiner.engine, code, world.admin.address, None, 5_000, None)
        async for event in joiner.run():
            if event["event"] == "joined":
                stop.set()
        await asyncio.gather(*writing)
        await window.ended()

        kept = {id for (_, _, id) in await world.joiner.records()}
        assert len(written) > 8
        assert kept >= set(written) | {"mine"}


async def test_secrets_of_a_pairing_have_no_words(tmp_path: Path) -> None:
    """A trace or a log line must not be able to hold the code."""
    async with both(tmp_path) as world:
        window = world.window()
        code = await window.open()
        joiner = Joiner(world.joiner.engine, code, world.admin.address, None, 5_000, None)

        shown = repr(window.window) + repr(joiner) + repr(Secret(code.encode()))

        assert code not in shown
        await window.close()


async def test_the_devices_of_a_finished_pairing_find_each_other_again(tmp_path: Path) -> None:
    """Pairing twice would be the only cure otherwise."""
    async with both(tmp_path) as world:
        window = world.window()
        await join(world.joiner, await window.open(), world.admin.address)
        await window.ended()
        await world.joiner.close()
        again = await (await world.nodes.make("joiner")).online()

        await meet(again, world.admin)
        await again.facts.put({"text": "after a restart"}, id="later")

        await arrives(world.admin, "later", {"text": "after a restart"})
