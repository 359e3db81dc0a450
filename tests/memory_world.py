"""Devices in memory, without a network: stores that can be held up or made to fail, and a courier.

A `Device` is a real engine on a `MemoryDatabase` behind a `Gate`. `admit` is a pairing without the
wire, `carry` brings the batches that a peer would send, entry by entry if wanted, in any
order the test likes. Time is a `FakeClock`, chance a seed: nothing here waits or varies.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.identity import DeviceKeys
from covey.node.api import Collection, Node
from covey.node.counters import Counters
from covey.node.engine import Engine
from covey.node.founding import found_mesh
from covey.node.outgoing import read_entries, whole_log
from covey.node.ports import Address, Connection, Listener
from covey.simulations import admitting
from covey.storage.errors import StoreFullError
from covey.storage.instance_rule import renew_instance
from covey.storage.memory import MemoryDatabase
from covey.storage.store import Conn
from covey.storage.system_files import SYSTEM_FILES
from covey.sync.messages import Batch, decode_batch, encode_batch
from covey.sync.session_events import ReadEntries
from covey.sync.values import timestamp_of

from .fake_clock import FakeClock, SeededEntropy

T = TypeVar("T")


class NoTransport:
    """A transport of a machine without a network."""

    async def listen(self, host: str, port: int, accept: Any) -> Listener:
        raise AssertionError("this world has no network")

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        raise AssertionError("this world has no network")


class Gate:
    """A store that counts transactions, and fails or holds them up when told to."""

    def __init__(self, image: bytes | None = None) -> None:
        self.inner = MemoryDatabase(image)
        self.writes = 0
        self.fail: BaseException | None = None
        """What the next writes fail with, before their job is run."""
        self.fail_after: int | None = None
        """How many more writes succeed before the disk is full."""
        self.held: list[asyncio.Event] = []
        self.hold_writes = False
        self.hold_reads = False

    def write(self, job: Callable[[Conn], T]) -> "asyncio.Future[T]":
        self.writes += 1
        if self.hold_writes:
            return self._later(lambda: self._write_now(job))
        return self._write_now(job)

    def read(self, job: Callable[[Conn], T]) -> "asyncio.Future[T]":
        if self.hold_reads:
            # The snapshot is taken now, the answer is told later.
            answer = self.inner.read(job)
            return self._later(lambda: answer)
        return self.inner.read(job)

    def _write_now(self, job: Callable[[Conn], T]) -> "asyncio.Future[T]":
        failure = self.fail
        if self.fail_after is not None:
            failure = StoreFullError(Path("memory")) if self.fail_after <= 0 else None
            self.fail_after -= 1
        if failure is not None:
            failed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            failed.set_exception(failure)
            return failed
        return self.inner.write(job)

    def _later(self, act: Callable[[], "asyncio.Future[T]"]) -> "asyncio.Future[T]":
        opened = asyncio.Event()
        self.held.append(opened)

        async def wait() -> T:
            await opened.wait()
            return await act()

        return asyncio.ensure_future(wait())

    def release(self, count: int | None = None) -> None:
        """Let what was held up go on, in order: all of it, or the first `count`."""
        for opened in self.held[:count]:
            opened.set()
        del self.held[:count]

    def image(self) -> bytes:
        return self.inner.image()

    async def close(self) -> None:
        await self.inner.close()


class Device:
    """One engine, its API and its store."""

    def __init__(self, engine: Engine, gate: Gate, clock: FakeClock) -> None:
        self.engine = engine
        self.gate = gate
        self.clock = clock
        self.node = Node(engine, engine.close)

    @property
    def id(self) -> bytes:
        return self.engine.keys.sig_pk

    def collection(self, name: str = "facts", database: str = "memory") -> Collection:
        return self.node.database(database).collection(name)

    async def values(self) -> dict[str, Any]:
        """Every record that can be read: `database/collection/id` to its JSON."""
        return {
            f"{name}/{found.collection}/{found.id}": found.value
            async for name, found in self.engine.reader.export(None)
        }


class World:
    """All devices of a test. Close it at the end."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.clock = FakeClock()
        self.devices: list[Device] = []

    async def founder(self, name: str) -> Device:
        """A device with a mesh of its own."""
        self.seed += 1
        entropy, gate = SeededEntropy(self.seed), Gate()
        instance = entropy.draw(16)
        await gate.write(lambda conn: renew_instance(conn, instance))
        keys = await found_mesh(gate, instance, name, "laptop", self.clock, entropy)
        return await self._start(gate, keys, instance, entropy)

    async def restart(self, device: Device, *, crash: bool = False) -> Device:
        """The same device after it was closed, or after it was killed at this moment."""
        image = device.gate.image()
        if not crash:
            await device.engine.close()
        self.seed += 1
        engine = device.engine
        return await self._start(
            Gate(image), engine.keys, engine.instance, SeededEntropy(self.seed)
        )

    async def _start(
        self, gate: Gate, keys: DeviceKeys, instance: bytes, entropy: SeededEntropy
    ) -> Device:
        engine = Engine(
            Path("memory"),
            gate,
            keys,
            instance,
            self.clock,
            entropy,
            NoTransport(),
            None,
            Counters(),
            files=SYSTEM_FILES,
        )
        await engine.start()
        device = Device(engine, gate, self.clock)
        self.devices.append(device)
        return device

    async def close(self) -> None:
        for device in self.devices:
            for gate in (device.gate,):
                gate.hold_reads = gate.hold_writes = False
                gate.fail = None
                gate.release()
            await device.engine.close()

    async def member(self, admin: Device, name: str, level: str = "full") -> Device:
        """A new device in the mesh of `admin`."""
        device = await self.founder(name)
        await admit(admin, device, level)
        return device

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def admit(admin: Device, device: Device, level: str = "full") -> None:
    """A pairing, less the wire."""
    await admitting.admit(admin.engine, device.engine, level)


async def batches(source: Device, target: Device, scope: bytes) -> list[Batch]:
    """What `source` holds of a scope, whole, as a peer would get it."""
    heads = source.engine.ledger.holdings.heads(scope)
    ranges = tuple((instance, 1, head.seq) for instance, head in sorted(heads.items()))
    frames = await whole_log(source.gate, source.engine.ledger, scope, ranges)
    return [decode_batch(frame) for frame in frames]


async def single_entries(source: Device, scope: bytes) -> list[Batch]:
    """Every entry of a scope as a batch of its own, in order of log and seq."""
    found = []
    for instance, head in sorted(source.engine.ledger.holdings.heads(scope).items()):
        for seq in range(1, head.seq + 1):
            request = ReadEntries(scope, ((instance, seq, seq),), 1)
            answer = await read_entries(source.gate, source.engine.ledger, request)
            found.append(decode_batch(encode_batch(scope, answer.runs)))
    return found


async def take(device: Device, batch: Batch) -> None:
    """Receive one batch as a link would."""
    await device.engine.ingest.store(await device.engine.ingest.prepare(batch))


def shared_scopes(source: Device, target: Device) -> Iterable[bytes]:
    sharing = source.engine.mesh.sharing_with(target.id)
    return source.engine.ledger.holdings.scopes(sharing)


async def carry_scope(source: Device, target: Device, scope: bytes) -> None:
    """Bring `target` all that `source` holds of one scope, whether it asks for it or not."""
    for batch in await batches(source, target, scope):
        await name_scope(source, target, scope)
        await take(target, batch)


async def name_scope(source: Device, target: Device, scope: bytes) -> None:
    """Tell `target` of a scope as digests do: by its tag, under the tag of its database."""
    if not target.engine.ledger.holdings.knows(scope):
        database = source.engine.ledger.holdings.database(scope)
        sharing = target.engine.mesh.sharing_with(source.id)
        await target.engine.mesh.buckets.know_named(database, [scope], sharing)


async def carry(source: Device, target: Device) -> None:
    """Bring `target` everything that it may have of `source`: membership first."""
    await carry_scope(source, target, CONTROL_SCOPE)
    for scope in shared_scopes(source, target):
        await carry_scope(source, target, scope)
    await settle_tasks(target)


async def settle_tasks(device: Device) -> None:
    """Let the background work of an engine end."""
    while tasks := [task for task in device.engine._tasks if not task.done()]:
        await asyncio.gather(*tasks, return_exceptions=True)


def now(device: Device) -> datetime:
    """What the clock of a device says."""
    return timestamp_of(device.clock.wall_ms())


async def tick(device: Device) -> datetime:
    """The time, and time passes."""
    time = now(device)
    await device.clock.advance(1_000)
    return time


async def meet(*devices: Device) -> None:
    """Everybody gets what anybody has, until nothing is new."""
    for _ in range(2):
        for source in devices:
            for target in devices:
                if source is not target:
                    await carry(source, target)
