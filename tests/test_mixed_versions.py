"""Mixed versions: devices of one mesh are updated one after the other, and must go on meanwhile."""

from pathlib import Path

import pytest

from covey.node.links import Link
from covey.node.pairing import PairingWindow
from covey.node.pairing_frames import PairingRefusedError
from covey.sync.session_events import DeclareGreeting

from .loopback import Device, Window, join, meet, nodes, pair, until

NO_SHARED_VERSION = "channel.refused.no_shared_version"


def channel_between(device: Device, other: Device) -> tuple[int, tuple[str, ...]]:
    """Version and features of the one link of `device` to another."""
    (link,) = device.engine.switchboard.links_to(other.keys.sig_pk)
    return link.channel.version, link.channel.features


async def test_a_newer_device_speaks_the_old_version_with_an_older_one(tmp_path: Path) -> None:
    """An update of one device must not cut it off from the others."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        laptop.engine.versions, laptop.engine.features = (1, 2), ("new", "old")
        phone.engine.features = ("old",)
        await meet(laptop, phone)

        assert channel_between(laptop, phone) == channel_between(phone, laptop) == (1, ("old",))


async def test_the_session_greets_with_what_the_handshake_agreed_on(tmp_path: Path) -> None:
    """What is spoken in a session hangs on both ends, and not on the newer one alone."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        for device, more in ((laptop, "a"), (phone, "b")):
            device.engine.versions, device.engine.features = (1, 2), ("both", more)
        greeted: list[tuple[int, tuple[str, ...]]] = []

        def heard(link: Link, greeting: DeclareGreeting) -> None:
            greeted.append((link.state.version, greeting.features))

        for device in (laptop, phone):
            device.engine.switchboard.greeted = heard  # type: ignore[method-assign]
        await meet(laptop, phone)

        assert greeted == [(2, ("both",))] * 2


async def test_members_that_share_no_version_have_no_link_and_it_is_counted(
    tmp_path: Path,
) -> None:
    """The person is told to update, instead of looking for a fault in the network."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        laptop.engine.versions = (2,)
        laptop.engine.add_address("127.0.0.1", phone.engine.port or 0, phone.keys.sig_pk)
        await until(
            lambda: laptop.counters[NO_SHARED_VERSION] and phone.counters[NO_SHARED_VERSION]
        )

        assert not laptop.engine.switchboard.links
        assert not phone.engine.switchboard.links


async def test_a_newer_device_can_join_an_older_one(tmp_path: Path) -> None:
    """A new phone comes with the newest program, and the laptop at home has not."""
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop")).online()
        phone = await (await opened.make("phone")).online()
        phone.engine.versions = (1, 2)
        await pair(laptop, phone)

        assert phone.keys.sig_pk in laptop.members()


async def test_a_device_that_is_too_new_is_told_so_when_it_joins(tmp_path: Path) -> None:
    """Nothing of the code is used up, and the cure is in the message."""
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop")).online()
        phone = await (await opened.make("phone")).online()
        phone.engine.versions = (2,)
        window = Window(PairingWindow(laptop.engine, "full", 60_000, None))
        code = await window.open()
        with pytest.raises(PairingRefusedError, match="update covey") as refused:
            await join(phone, code, laptop.address)
        assert "expired" not in str(refused.value)
        await window.close()
