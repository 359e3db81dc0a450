"""Two devices that write apart, and their inboxes: what tests of conflicts start from."""

from typing import Any

from covey.node.service import Service
from covey.storage.conflict_rows import ConflictState

from .loopback import Device as LinkedDevice
from .memory_world import Device, World, meet

R = "memory/facts/r"
EVERY = tuple(ConflictState)


async def two(world: World) -> tuple[Device, Device]:
    """Two devices that hold one record."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    await laptop.collection().put({"mood": "calm", "n": 0}, id="r")
    await meet(laptop, phone)
    return laptop, phone


async def apart(laptop: Device, phone: Device, **fields: tuple[Any, Any]) -> None:
    """Both write these fields without having seen the other; then they meet."""
    for at, device in enumerate((laptop, phone)):
        await device.collection().put({name: both[at] for name, both in fields.items()}, id="r")
        device.clock.now_ms += 1
    await meet(laptop, phone)


async def inbox(device: Device, *, everything: bool = False) -> list[dict[str, Any]]:
    states = EVERY if everything else (ConflictState.OPEN, ConflictState.SETTLED)
    found = await device.engine.inbox.page(states)
    return [device.engine.inbox.row(one) for one in found]


async def rule(device: Device | LinkedDevice, key: str, name: str | None) -> None:
    await device.engine.trust.set_policy(b"", "memory", {key: name})


async def call(device: Device, method: str, **params: Any) -> Any:
    return await Service(device.engine, lambda: None).call(method, params)


async def settle(device: Device) -> None:
    """Let it judge anew by the rules that it has just learned."""
    for task in list(device.engine._tasks):
        if task.get_name() == "judge again":
            await task
