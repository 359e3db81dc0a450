"""Joining a mesh: what the new device sees of windows, and what becomes of what it wrote before."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covey.node.background import AGAIN_MS
from covey.node.joining import SECOND_WINDOW_MS, Joiner, NobodyWaitingError
from covey.node.ports import Address, Sighting
from covey.storage.errors import StoreFullError

from .fake_clock import settle
from .memory_world import Device, World, admit, settle_tasks

CODE = "amber-clock-river"


def refusing_after(device: Device) -> Any:
    """A change of meshes after which the disk takes nothing any more."""
    change_mesh = device.engine.rebuild

    async def rebuild(change: Any) -> None:
        await change_mesh(change)
        device.gate.fail = StoreFullError(Path("memory"))

    return rebuild


class Windows:
    """Discovery of which the test says what is seen."""

    def __init__(self) -> None:
        self.see: Callable[[Sighting], None] = lambda _: None

    async def browse(self, _: str, seen: Callable[[Sighting], None]) -> Any:
        self.see = seen
        return self

    async def close(self) -> None:
        self.see = lambda _: None


def window(tag: str) -> Sighting:
    return Sighting("0123abcd", (Address("192.0.2.1", 7),), (("t", tag), ("v", "1")))


async def test_a_window_that_closes_while_a_second_one_is_waited_for_is_not_joined() -> None:
    """The device that showed the code shows another one by now, under another tag."""
    async with World() as world:
        device, windows = await world.founder("phone"), Windows()
        device.engine.reach.browse = windows.browse  # type: ignore[assignment, method-assign]
        joining = Joiner(device.engine, CODE, None, "aaaa", 5_000, None).run()
        assert (await anext(joining))["event"] == "searching"
        searching = asyncio.ensure_future(anext(joining))
        await settle()

        windows.see(window("aaaa"))
        await settle()
        windows.see(window("bbbb"))
        await world.clock.advance(SECOND_WINDOW_MS)
        assert not searching.done()
        await world.clock.advance(5_000)

        with pytest.raises(NobodyWaitingError):
            await searching


async def test_what_the_disk_refuses_to_take_over_is_written_when_it_can() -> None:
    """Until the next start, a record that was written before would be gone for its user."""
    async with World() as world:
        admin, phone = await world.founder("laptop"), await world.founder("phone")
        await phone.collection().put({"text": "written before"}, id="mine")
        phone.engine.rebuild = refusing_after(phone)  # type: ignore[method-assign]
        await admit(admin, phone)
        assert await phone.collection().get("mine") is None
        for _ in range(3):
            await world.clock.advance(AGAIN_MS)
        phone.gate.fail = None
        await world.clock.advance(AGAIN_MS)
        await settle_tasks(phone)

        assert await phone.collection().get("mine") == {"text": "written before"}


@pytest.mark.parametrize(
    ("since", "left"),
    [
        ("put", {"text": "written since", "mood": "good"}),
        ("delete", None),
    ],
)
async def test_what_is_taken_over_late_gives_way_to_what_was_written_since(
    since: str, left: Any
) -> None:
    """A disk that fails for a moment must not bring back what its user has replaced."""
    async with World() as world:
        admin, phone = await world.founder("laptop"), await world.founder("phone")
        await phone.collection().put({"text": "written before", "mood": "good"}, id="mine")
        phone.engine.rebuild = refusing_after(phone)  # type: ignore[method-assign]
        await admit(admin, phone)
        phone.gate.fail = None

        await phone.collection().put({"text": "written since"}, id="mine")
        if since == "delete":
            await phone.collection().delete("mine")
        await world.clock.advance(AGAIN_MS)
        await settle_tasks(phone)

        assert await phone.collection().get("mine") == left


async def test_what_is_taken_over_late_stands_beside_a_record_of_another_privacy_level() -> None:
    """Neither may take the other's place, and a node that cannot write it must still start."""
    async with World() as world:
        admin, phone = await world.founder("laptop"), await world.founder("phone")
        await phone.collection().put({"text": "written before"}, id="mine")
        await phone.collection().put({"text": "another"}, id="other")
        phone.engine.rebuild = refusing_after(phone)  # type: ignore[method-assign]
        await admit(admin, phone)
        phone.gate.fail = None
        await phone.collection().put({"text": "for all"}, id="mine", privacy="family")

        phone = await world.restart(phone, crash=True)
        await settle_tasks(phone)

        assert sorted(value["text"] for value in (await phone.values()).values()) == [
            "another",
            "for all",
            "written before",
        ]
        assert await phone.collection().get("mine") == {"text": "for all"}
        assert await phone.collection().get("other") == {"text": "another"}
