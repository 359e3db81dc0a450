"""Pairing by the text of the picture, over real WebSockets: who holds it gets in, once.

A thief is somebody who saw a part of it, or all of it too late.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.identity import DeviceKeys
from covey.crypto.pairing import qr_psk
from covey.crypto.secret import Secret
from covey.node.channel import ChannelKeys, ChannelRefused, Purpose, SecureChannel, open_channel
from covey.node.counters import Counters
from covey.node.pairing import PairingWindow, public_of
from covey.node.pairing_frames import (
    TYPE_OFFER,
    Offer,
    PairingRefusedError,
    Refusal,
    expect,
)
from covey.node.ports import Address
from covey.node.system_clock import SystemClock
from covey.node.system_entropy import SystemEntropy
from covey.node.ticket import Ticket, read_ticket
from covey.node.websocket import WebSocketTransport
from covey.storage import meta_rows

from .fake_clock import FakeClock
from .impostor import FakeJoiner
from .loopback import Device, Hesitant, Nodes, Window, arrives, join, nodes, until

MINUTE_MS = 60_000
WRONG = "zebra-zebra-zebra"


@dataclass
class Both:
    nodes: Nodes
    admin: Device
    joiner: Device

    def window(self, level: str = "full", ask: Any = None) -> Window:
        return Window(PairingWindow(self.admin.engine, level, 5 * MINUTE_MS, ask))

    async def burned(self) -> bytes | None:
        """The note of wrong codes that the member keeps."""
        return await self.admin.engine.database.read(
            lambda conn: meta_rows.get_meta(conn, "pairing_burned")
        )


@asynccontextmanager
async def both(folder: Path, clock: Any = None) -> AsyncIterator[Both]:
    async with nodes(folder) as made:
        admin = await (await made.make("admin", clock=clock)).online()
        joiner = await (await made.make("joiner")).online()
        await joiner.facts.put({"text": "written before"}, id="mine")
        yield Both(made, admin, joiner)
        await until(lambda: admin.engine.window is None)


async def shown(window: Window) -> tuple[str, Ticket]:
    await window.open()
    text = window.events[0]["qr"]
    return text, read_ticket(text)


async def refused(device: Device, text: str) -> PairingRefusedError:
    mesh = device.engine.mesh.id
    with pytest.raises(PairingRefusedError) as caught:
        await join(device, text, None)
    assert device.engine.mesh.id == mesh and device.members() == {device.keys.sig_pk}
    return caught.value


async def yes() -> bool:
    return True


async def test_the_text_of_the_picture_admits_without_code_or_address(tmp_path: Path) -> None:
    """It says where to go and proves who may."""
    async with both(tmp_path) as world:
        window = world.window(level="limited", ask=yes)
        text, ticket = await shown(window)

        told = await join(world.joiner, text.upper(), None, yes)
        events = await window.ended()

        assert ticket.addresses == (Address("127.0.0.1", world.admin.engine.port or 0),)
        assert ticket.mesh == world.admin.engine.mesh.id
        assert [event["event"] for event in events] == ["code", "confirm", "enrolled"]
        assert [e["event"] for e in told if e["event"] != "progress"] == [
            "searching",
            "confirm",
            "joined",
            "synced",
        ]
        assert world.admin.members() == world.joiner.members()
        assert world.admin.engine.mesh.registry.devices[world.joiner.keys.sig_pk].level == "limited"
        assert await world.joiner.facts.get("mine") == {"text": "written before"}


async def test_both_persons_answer_as_with_a_code(tmp_path: Path) -> None:
    """A picture that somebody filmed over a shoulder must not be enough."""
    for declines in ("admin", "joiner"):
        async with both(tmp_path / declines) as world:

            async def answer(who: str, declines: str = declines) -> bool:
                return who != declines

            window = world.window(ask=lambda: answer("admin"))
            text, _ = await shown(window)
            with pytest.raises(PairingRefusedError) as caught:
                await join(world.joiner, text, None, lambda: answer("joiner"))
            events = await window.ended()

            assert caught.value.refusal is Refusal.DECLINED
            assert (events[-1]["event"], events[-1]["reason"]) == ("failed", "refused")
            assert world.admin.members() == {world.admin.keys.sig_pk}


async def test_the_code_beside_a_picture_still_works_and_ends_the_picture(tmp_path: Path) -> None:
    """One window, two ways in, one device."""
    async with both(tmp_path) as world:
        window = world.window()
        text, _ = await shown(window)
        await join(world.joiner, window.events[0]["code"], world.admin.address)
        late = await world.nodes.make("late")

        error = await refused(late, text)
        await window.ended()

        assert error.refusal is Refusal.EXPIRED
        assert late.keys.sig_pk not in world.admin.members()


async def test_a_picture_that_was_used_ends_the_code(tmp_path: Path) -> None:
    """The other way round."""
    async with both(tmp_path) as world:
        person = Hesitant()
        window = world.window(ask=person)
        text, _ = await shown(window)
        first = asyncio.create_task(join(world.joiner, text, None))
        await person.asked.wait()
        late = await world.nodes.make("late")

        with pytest.raises(PairingRefusedError) as caught:
            await join(late, window.events[0]["code"], world.admin.address)
        person.says_yes.set()
        await first
        await window.ended()

        assert caught.value.refusal is Refusal.BUSY
        assert late.keys.sig_pk not in world.admin.members()


async def test_a_wrong_code_ends_the_picture_too(tmp_path: Path) -> None:
    """The person was told that it is over and may turn away."""
    async with both(tmp_path) as world:
        window = world.window()
        text, _ = await shown(window)
        with pytest.raises(PairingRefusedError):
            await join(world.joiner, WRONG, world.admin.address)
        await window.ended()

        assert (await refused(world.joiner, text)).refusal is Refusal.EXPIRED
        assert world.joiner.keys.sig_pk not in world.admin.members()


async def test_a_picture_expires_with_its_window(tmp_path: Path) -> None:
    """A photograph of yesterday's screen must be worth nothing."""
    clock = FakeClock()
    async with both(tmp_path, clock) as world:
        window = world.window()
        text, _ = await shown(window)
        await clock.advance(5 * MINUTE_MS)
        await window.ended()

        error = await refused(world.joiner, text)

        assert error.refusal is Refusal.EXPIRED and "covey pair" in str(error)


async def test_a_used_picture_opens_no_later_window(tmp_path: Path) -> None:
    """A thief who filmed it and comes back next time."""
    async with both(tmp_path) as world:
        first = world.window()
        text, _ = await shown(first)
        await join(world.joiner, text, None)
        await first.ended()
        second, thief = world.window(), await world.nodes.make("thief")
        await shown(second)

        error = await refused(thief, text)

        assert error.refusal is Refusal.EXPIRED
        assert [event["event"] for event in second.events] == ["code"]
        assert thief.keys.sig_pk not in world.admin.members()
        await second.close()


async def test_a_used_picture_is_not_answered_while_its_device_is_being_admitted(
    tmp_path: Path,
) -> None:
    """The token dies at its first use and not with the window."""
    async with both(tmp_path) as world:
        window = world.window()
        text, ticket = await shown(window)
        first = await dial(world.admin, ticket)
        await first.introduce()
        await first.receive()

        error = await refused(world.joiner, text)

        assert error.refusal is Refusal.EXPIRED
        await first.close()
        await window.ended()


# A thief who has a part of it -------------------------------------------------------------------


async def dial(
    admin: Device, ticket: Ticket, token: bytes | None = None, static: bytes | None = None
) -> FakeJoiner:
    """As far as the handshake goes, from another device's point of view."""
    transport = WebSocketTransport(SystemClock(), Counters())
    secret = Secret(os.urandom(32))
    psk = qr_psk(ticket.token if token is None else Secret(token))
    try:
        channel = await open_channel(
            await transport.dial(Address("127.0.0.1", admin.engine.port or 0), 5_000),
            Purpose.QR,
            ChannelKeys(secret, psk),
            static or ticket.static,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            counters=Counters(),
        )
    except BaseException:
        await transport.close()
        raise
    return FakeJoiner(DeviceKeys.generate(os.urandom), transport, channel, secret)


@pytest.mark.parametrize("part", ["no token", "no static"])
async def test_who_has_a_part_of_it_gets_no_channel_and_spoils_nothing(
    tmp_path: Path, part: str
) -> None:
    """Neither half is worth a try, and a try costs the owner nothing."""
    async with both(tmp_path) as world:
        window = world.window()
        text, ticket = await shown(window)
        other = public_of(Secret(os.urandom(32)))
        for _ in range(5):
            with pytest.raises(ChannelRefused):
                if part == "no token":
                    await dial(world.admin, ticket, token=os.urandom(16))
                else:
                    await dial(world.admin, ticket, static=other)

        await join(world.joiner, text, None)
        events = await window.ended()

        assert [event["event"] for event in events] == ["code", "enrolled"]
        assert await world.burned() is None


async def test_a_picture_for_another_mesh_is_said_to_be_wrong(tmp_path: Path) -> None:
    """What B goes by is what it read, not what it is offered."""
    async with both(tmp_path) as world:
        window = world.window()
        _, ticket = await shown(window)
        other = Ticket(bytes(16), ticket.static, ticket.token, ticket.addresses)

        error = await refused(world.joiner, other.text())
        events = await window.ended()

        assert "another mesh" in str(error)
        assert events[-1]["event"] == "failed"
        assert world.admin.members() == {world.admin.keys.sig_pk}


async def test_who_holds_the_text_and_does_not_introduce_itself_ends_the_window(
    tmp_path: Path,
) -> None:
    """The token is used by then: a window left open would wait for nobody."""
    async with both(tmp_path) as world:
        window = world.window()
        _, ticket = await shown(window)
        thief = await dial(world.admin, ticket)
        await thief.channel.send(b"\x25\xc0")
        await thief.last_word()
        events = await window.ended()

        assert (events[-1]["event"], events[-1]["reason"]) == ("failed", "refused")
        await thief.close()


async def test_a_channel_by_picture_that_says_nothing_uses_nothing(tmp_path: Path) -> None:
    """A first handshake message can be a recording: only what follows is a use."""
    async with both(tmp_path) as world:
        window = world.window()
        text, ticket = await shown(window)
        silent = await dial(world.admin, ticket)

        await join(world.joiner, text, None)
        events = await window.ended()

        assert [event["event"] for event in events] == ["code", "enrolled"]
        await silent.close()


async def test_two_that_hold_the_text_at_once_are_one_too_many(tmp_path: Path) -> None:
    """Both opened a channel before either spoke: the first to speak is the one."""
    async with both(tmp_path) as world:
        window = world.window()
        _, ticket = await shown(window)
        first, second = await dial(world.admin, ticket), await dial(world.admin, ticket)
        await first.introduce()
        Offer.decode(expect(await first.receive(), TYPE_OFFER))
        await second.introduce()

        answer = await second.last_word()

        assert answer == bytes((0x2F, Refusal.BUSY))
        await first.close()
        await second.close()
        await window.ended()
        assert world.admin.members() == {world.admin.keys.sig_pk}


async def test_no_member_channel_comes_of_a_picture(tmp_path: Path) -> None:
    """What is proved is the right to ask, not membership."""
    async with both(tmp_path) as world:
        window = world.window()
        _, ticket = await shown(window)
        thief = await dial(world.admin, ticket)
        channel: SecureChannel = thief.channel
        await channel.send(b"\x01" + bytes(64))
        answer = await thief.last_word()
        await window.ended()

        assert answer == bytes((0x2F, Refusal.MALFORMED))
        assert not world.admin.engine.switchboard.links
        await thief.close()


async def test_what_both_wrote_is_on_both_after_it(tmp_path: Path) -> None:
    """It ends where pairing by code ends."""
    async with both(tmp_path) as world:
        window = world.window()
        text, _ = await shown(window)
        await join(world.joiner, text, None)
        await window.ended()

        await arrives(world.admin, "mine", {"text": "written before"})


async def test_the_text_is_in_no_log_and_no_event(tmp_path: Path) -> None:
    """The journal of a node is read by support, and kept."""
    async with both(tmp_path) as world:
        window = world.window()
        text, ticket = await shown(window)
        await join(world.joiner, text, None)
        await window.ended()

        rows = [row async for row in world.admin.engine.directory.journal_rows()]
        rows += [row async for row in world.joiner.engine.directory.journal_rows()]
        told = repr(rows) + repr(window.window)

        assert text not in told and ticket.token.reveal().hex() not in told
