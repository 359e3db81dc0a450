"""Phone mode: few and short connections; nobody takes them for a fault, and nothing is lost."""

from typing import Any

from covey.node.phone import AWAKE_MS, LINGER_MS, WRITE_MS
from covey.simulations.mesh import Mesh, MeshDevice

from .test_scheduling import has, put

BURST_S = (AWAKE_MS + LINGER_MS) / 1000 + 5


def is_linked(device: MeshDevice) -> bool:
    return bool(device.sim.engine.switchboard.links)


async def peer(device: MeshDevice) -> dict[str, Any]:
    (found,) = (await device.status())["peers"]
    return dict(found)


async def resting(mesh: Mesh) -> tuple[MeshDevice, MeshDevice]:
    """A laptop, and a phone that synced and hung up."""
    laptop, phone = mesh.devices("laptop", "phone")
    await put(laptop, "chat", "first")
    await mesh.settle()
    await phone.sim.engine.scheduling.change_settings({"phone": "yes"})
    # The laptop hears of it with the next greeting.
    mesh.restart(phone)
    mesh.advance(seconds=BURST_S)
    assert not is_linked(phone)
    return laptop, phone


def links_seen(mesh: Mesh, device: MeshDevice) -> int:
    return sum(e.kind == "connected" and e.device == device.name for e in mesh.events)


async def test_a_phone_hangs_up_when_all_is_proved_and_is_not_dialled(mesh: Mesh) -> None:
    """A radio that is on is the battery; whoever would call at once would keep it on."""
    laptop, _phone = await resting(mesh)
    before = links_seen(mesh, laptop)

    await put(laptop, "chat", "hello")
    mesh.advance(minutes=10)

    assert links_seen(mesh, laptop) == before
    assert not is_linked(laptop)


async def test_a_phone_at_rest_is_away_and_no_error(mesh: Mesh) -> None:
    """People see when it was last proved, and why it is not there."""
    laptop, phone = await resting(mesh)
    mesh.advance(minutes=16)
    assert not is_linked(phone)

    seen = await peer(laptop)

    assert (seen["state"], seen["resting"]) == ("away", True)
    (chat,) = seen["databases"]
    assert chat["state"] == "synced" and chat["proved_at"]
    told = [event.kind for event in mesh.events if event.device == "laptop"]
    assert "sync cut" not in told[-4:] and told[-1] == "disconnected"


async def test_a_phone_comes_by_itself_and_catches_up_in_one_burst(mesh: Mesh) -> None:
    """What others wrote meanwhile comes at once, and the phone goes again."""
    laptop, phone = await resting(mesh)
    for number in range(50):
        await put(laptop, "chat", f"{number}")
    before = links_seen(mesh, phone)

    mesh.advance(minutes=16)

    assert links_seen(mesh, phone) == before + 1
    assert all([await has(phone, "chat", f"{number}") for number in range(50)])
    assert not is_linked(phone)


async def test_what_is_written_on_a_phone_goes_soon_and_together(mesh: Mesh) -> None:
    """Ten messages in a row are one connection, not ten."""
    laptop, phone = await resting(mesh)
    before = links_seen(mesh, phone)

    for number in range(10):
        await put(phone, "chat", f"{number}")
        mesh.advance(milliseconds=200)
    mesh.advance(seconds=WRITE_MS / 1000 + 5)

    assert all([await has(laptop, "chat", f"{number}") for number in range(10)])
    mesh.advance(seconds=BURST_S)
    assert links_seen(mesh, phone) == before + 1
    assert not is_linked(phone)


async def test_a_person_who_asks_reaches_a_phone_at_rest(mesh: Mesh) -> None:
    """`covey sync` on the laptop dials it, and it is served."""
    laptop, phone = await resting(mesh)
    await put(laptop, "chat", "hello")

    assert await laptop.sync(timeout=30)

    assert await has(phone, "chat", "hello")


async def test_a_phone_on_mains_keeps_its_links(mesh: Mesh) -> None:
    """With auto, what is spared is the battery. Where power is unknown, a setting is needed."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.advance(minutes=2)
    assert is_linked(phone)
    mesh.surround(phone, mains=False, battery=80)
    mesh.advance(seconds=BURST_S)
    assert not is_linked(phone)

    mesh.surround(phone, mains=True)
    mesh.advance(seconds=30)

    assert is_linked(phone) and is_linked(laptop)


async def test_a_laptop_on_its_battery_is_no_phone(mesh: Mesh) -> None:
    """Only a device of type phone rests without being told to."""
    laptop, _phone = mesh.devices("laptop", "phone")
    mesh.surround(laptop, mains=False, battery=80)
    mesh.advance(minutes=5)

    assert is_linked(laptop)


async def test_two_phones_and_a_desktop_come_to_hold_the_same(mesh: Mesh) -> None:
    """Each comes when it likes; what one brings, the other finds at whoever is always on."""
    desktop, one, two = mesh.devices("desktop", "one", "two")
    for phone in (one, two):
        await phone.sim.engine.scheduling.change_settings({"phone": "yes", "phone_minutes": 5})
    mesh.advance(minutes=2)
    for round_number in range(4):
        for device in (desktop, one, two):
            await put(device, "chat", f"{device.name}-{round_number}")
        mesh.advance(minutes=3)
    mesh.advance(minutes=12)

    mesh.assert_converged()
