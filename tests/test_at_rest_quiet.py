"""At rest nothing is said: devices that hold the same exchange no message, however long it takes.

Battery, traffic and privacy all hang on it. Time is a clock that the test moves, the sockets are
real; what is counted are messages of the transport, each of which is one of Noise. The keep-alive
pings of WebSockets lie below that and carry nothing.
"""

import asyncio
from pathlib import Path
from typing import Any

import covey
from covey.node.ports import Accept, Address, Connection, Listener, Transport
from covey.node.secure_channel import AGE_MS_MAX

from .fake_clock import FakeClock
from .loopback import Device, Nodes, admit, nodes
from .schema_world import second

STEP_MS = 20
STEPS_MAX = 3_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FOLLOWERS = ("vectors", "late writes")
NOTE = "Notes._take.<locals>.write"


class Counting:
    """A transport that counts what every connection of it sends."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.sent = 0
        self.dialled = 0

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        async def counted(connection: Connection) -> None:
            await accept(_Counted(connection, self))

        return await self._inner.listen(host, port, counted)

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        self.dialled += 1
        return _Counted(await self._inner.dial(address, timeout_ms), self)


class _Counted:
    def __init__(self, inner: Connection, counting: Counting) -> None:
        self._inner = inner
        self._counting = counting

    @property
    def remote(self) -> Address:
        return self._inner.remote

    async def send(self, message: bytes) -> None:
        self._counting.sent += 1
        await self._inner.send(message)

    async def receive(self) -> bytes:
        return await self._inner.receive()

    async def close(self, code: int = 1000) -> None:
        await self._inner.close(code)

    def admit(self) -> None:
        self._inner.admit()  # type: ignore[attr-defined]


class Mesh:
    """Devices of one mesh on one clock, with the count of everything they say."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.devices: list[Device] = []
        self.transports: list[Counting] = []

    def wrap(self, inner: Transport) -> Transport:
        self.transports.append(Counting(inner))
        return self.transports[-1]

    @property
    def said(self) -> int:
        return sum(transport.sent for transport in self.transports)

    @property
    def dialled(self) -> int:
        return sum(transport.dialled for transport in self.transports)

    async def settle(self) -> None:
        """Let a little time pass until all are linked to all, hold the same and know it."""
        for _ in range(STEPS_MAX):
            await self.clock.advance(STEP_MS)
            if self._is_settled():
                # What is on the wire now is let in before anybody counts.
                for _ in range(20):
                    await self.clock.advance(STEP_MS)
                if self._is_settled():
                    return
        raise AssertionError("the devices do not come to rest")

    def _is_settled(self) -> bool:
        return len({device.heads() for device in self.devices}) == 1 and all(
            device.engine.standing_with(other.keys.sig_pk).proved
            for device in self.devices
            for other in self.devices
            if other is not device
        )

    async def wait(self, duration_ms: int) -> int:
        """Let time pass, in steps of ten seconds; how many messages were sent meanwhile."""
        before = self.said
        for _ in range(duration_ms // 10_000):
            await self.clock.advance(10_000)
        return self.said - before


async def mesh_of(made: Nodes, clock: FakeClock, *names: str) -> Mesh:
    mesh = Mesh(clock)
    for name in names:
        device = await (await made.make(name, clock=clock, wrap=mesh.wrap)).online()
        if mesh.devices:
            await admit(mesh.devices[0], device)
        mesh.devices.append(device)
    first = mesh.devices[0]
    await first.facts.put({"text": "in sync"}, id="first")
    for device in mesh.devices:
        for other in mesh.devices:
            if other is not device:
                port = other.engine.port or 0
                device.engine.add_address("127.0.0.1", port, other.keys.sig_pk)
    await mesh.settle()
    return mesh


async def test_two_devices_in_sync_say_nothing_for_an_hour(tmp_path: Path) -> None:
    """A protocol that chats at rest is a battery that is flat by noon."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")

        said = await mesh.wait(HOUR_MS - 5 * MINUTE_MS)

        assert said == 0
        assert all(len(device.engine.switchboard.links) == 1 for device in mesh.devices)


async def test_three_devices_in_sync_say_nothing_either(tmp_path: Path) -> None:
    """What two do not start, a third one could keep going round in circles."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone", "tablet")

        assert await mesh.wait(10 * MINUTE_MS) == 0


async def test_nobody_is_dialled_who_is_linked(tmp_path: Path) -> None:
    """Every attempt wakes two devices and their radios."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        dialled = mesh.dialled

        await mesh.wait(10 * MINUTE_MS)

        assert mesh.dialled == dialled


async def test_one_write_costs_a_handful_of_messages_and_then_it_is_quiet(tmp_path: Path) -> None:
    """Pushed, acknowledged, proved: whatever more is said is said for nothing."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        before = mesh.said

        await mesh.devices[0].facts.put({"text": "one more"}, id="second")
        await mesh.settle()

        assert 2 <= mesh.said - before <= 4  # the batch, its ack, and a root from each
        assert await mesh.wait(10 * MINUTE_MS) == 0
        assert await mesh.devices[1].facts.get("second") == {"text": "one more"}


async def test_a_deleted_and_an_unchanged_record_say_nothing_twice(tmp_path: Path) -> None:
    """A put that changes nothing writes nothing, so there is nothing to tell."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        before = mesh.said

        await mesh.devices[0].facts.put({"text": "in sync"}, id="first")
        await mesh.wait(MINUTE_MS)

        assert mesh.said == before


async def test_a_write_after_two_idle_hours_still_arrives(tmp_path: Path) -> None:
    """Channels wear out after an hour, also those on which nothing was said."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        await mesh.wait(2 * AGE_MS_MAX)

        await mesh.devices[1].facts.put({"text": "after a long lunch"}, id="late")
        await mesh.settle()

        assert await mesh.devices[0].facts.get("late") == {"text": "after a long lunch"}


async def test_a_device_that_is_away_costs_the_other_a_few_attempts_an_hour(
    tmp_path: Path,
) -> None:
    """The phone in the drawer must not empty the laptop."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        await mesh.devices[1].close()
        before = mesh.dialled

        await mesh.wait(HOUR_MS)

        assert 1 <= mesh.dialled - before <= 40


async def test_declared_vectors_and_schemas_leave_the_store_alone(tmp_path: Path) -> None:
    """What follows the records has nothing to look at; a look each second wakes a core."""
    async with nodes(tmp_path) as made:
        mesh = await mesh_of(made, FakeClock(), "laptop", "phone")
        for device in mesh.devices:
            await device.facts.vectors("embedding", model="m", version="1", dimension=2)
            await device.node.install(second())
        vector = covey.embedding("m", "1", [1.0, 0.0])
        await mesh.devices[0].facts.put({"text": "near", "embedding": vector}, id="near")
        await mesh.settle()
        for _ in range(6):
            await mesh.wait(10_000)
            await looked(mesh)
        jobs = [counted_jobs(device) for device in mesh.devices]

        said = await mesh.wait(HOUR_MS - 5 * MINUTE_MS)

        # A note for people is a write, and after a write each follower asks once how far the feed
        # reaches; so does whoever has not asked yet after the last write before.
        assert said == 0
        for each in jobs:
            assert each.count(NOTE) <= 1
            assert each.count("last_change") <= len(FOLLOWERS) * (each.count(NOTE) + 1)
        assert {job for each in jobs for job in each} <= {NOTE, "last_change"}
        assert len(await mesh.devices[1].facts.nearest("near", k=1)) == 0


async def looked(mesh: Mesh) -> None:
    """Let those end that look whether something has changed: the stores are real, and take time."""
    for device in mesh.devices:
        tasks = [task for task in device.engine._tasks if task.get_name() in FOLLOWERS]
        if tasks:
            await asyncio.wait(tasks)


def counted_jobs(device: Device) -> list[str]:
    """The names of the jobs that the store of a device is asked to run from now on."""
    jobs: list[str] = []
    database = device.engine.database
    read, write = database.read, database.write

    def reading(job: Any) -> Any:
        jobs.append(job.__qualname__)
        return read(job)

    def writing(job: Any) -> Any:
        jobs.append(job.__qualname__)
        return write(job)

    database.read, database.write = reading, writing  # type: ignore[method-assign]
    return jobs
