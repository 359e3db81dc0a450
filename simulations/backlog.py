"""Backlog: how long a chat message takes past a backlog of media, in virtual time.

    python -m covey.simulations.backlog

One of two devices has a hundred photos to send, of 40 KB each, and somebody writes a message on it.
Measured is the time until the message can be read on the other device, for several networks:
with nothing before it, and written while the photos are under way, with how many photos arrived in
that time. All is simulated: the figures are the same everywhere.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from .mesh import Mesh, MeshDevice

PHOTOS = 100
PHOTO_BYTES = 40_000
NETWORKS = ("lan", "wifi", "flaky-wifi", "mobile", "satellite")
LOOK_S = 0.001
SEED = 1


class Passing(NamedTuple):
    """How long a message took, and how many photos arrived meanwhile."""

    took_ms: int
    photos: int


async def alone(mesh: Mesh, network: str) -> Passing:
    """A message with nothing before it."""
    laptop, phone = await _pair(mesh, network)
    return await _arrives(laptop, phone, "message")


async def while_linked(mesh: Mesh, network: str) -> Passing:
    """A message that is written while photos are under way."""
    laptop, phone = await _pair(mesh, network)
    await _photograph(mesh, laptop, phone)
    mesh.heal()
    while _photos(phone) < 2:
        await asyncio.sleep(LOOK_S)
    return await _arrives(laptop, phone, "message")


async def _pair(mesh: Mesh, network: str) -> tuple[MeshDevice, MeshDevice]:
    """Two devices in sync, with a message and a photo."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.law(network)
    chat, media = laptop.database("conversations"), laptop.database("media")
    await chat.collection("messages").put({"text": "are you there"}, id="first")
    await media.collection("photos").put({"data": "x"}, id="first")
    await mesh.settle()
    return laptop, phone


async def _photograph(mesh: Mesh, laptop: MeshDevice, phone: MeshDevice) -> None:
    """Take the two apart and fill one of them."""
    mesh.partition(laptop, phone)
    mesh.advance(minutes=1)
    photos = laptop.database("media").collection("photos")
    data = "".join(mesh.random.choices("abcdefghijklmnop", k=PHOTO_BYTES))
    for number in range(PHOTOS):
        await photos.put({"data": data}, id=f"photo-{number:03}")


async def _arrives(sender: MeshDevice, receiver: MeshDevice, id: str) -> Passing:
    """Write a message here; how long until it is read there."""
    loop, before = asyncio.get_running_loop(), _photos(receiver)
    began = loop.time()
    await sender.database("conversations").collection("messages").put({"text": "hello"}, id=id)
    while not await _has(receiver, id):
        await asyncio.sleep(LOOK_S)
    return Passing(round((loop.time() - began) * 1000), _photos(receiver) - before)


async def _has(device: MeshDevice, id: str) -> bool:
    return await device.database("conversations").collection("messages").get(id) is not None


def _photos(device: MeshDevice) -> int:
    """How many photos a device holds."""
    ledger = device.sim.engine.ledger
    tags = [scope.tag for scope in ledger.scopes() if scope.database == "media"]
    return sum(head.seq for tag in tags for head in ledger.holdings.heads(tag).values())


def main() -> None:
    """Print a row for each network."""
    print(f"a message behind {PHOTOS} photos of {PHOTO_BYTES} bytes: virtual ms (photos meanwhile)")
    print(f"{'network':12}" + "".join(f"{name:>16}" for name in MEASURES))
    for network in NETWORKS:
        row = (measured(measure, network) for measure in MEASURES.values())
        print(f"{network:12}" + "".join(f"{each.took_ms:>10} ({each.photos:3})" for each in row))


def measured(measure: Callable[[Mesh, str], Coroutine[Any, Any, Passing]], name: str) -> Passing:
    """One of the measurements, in a mesh of its own."""
    mesh = Mesh(SEED)
    try:
        return mesh.run(measure(mesh, name))
    finally:
        mesh.close()


MEASURES: dict[str, Callable[[Mesh, str], Coroutine[Any, Any, Passing]]] = {
    "alone": alone,
    "behind photos": while_linked,
}

if __name__ == "__main__":
    main()
