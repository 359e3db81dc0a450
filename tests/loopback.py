"""Engines in this process, on real stores and real WebSockets, for tests that need to look inside.

`Nodes` opens devices in a folder and closes them all at its end, and then insists that nothing of
them is left: no task, no connection. `pair` is the real pairing by code; `admit` writes the same
enrolment without the network, which is a hundred times faster. Waiting is for events of the board
or for a condition that the event loop brings about; nothing here sleeps.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from covey.crypto.identity import DeviceKeys, make_certificate
from covey.node.api import Collection, Node
from covey.node.counters import Counters
from covey.node.engine import Engine
from covey.node.founding import DEVICE_KEYS, found_mesh
from covey.node.happenings import NodeEvent, Subscription
from covey.node.joining import Joiner
from covey.node.pairing import PairingWindow
from covey.node.ports import Address, Clock, Transport
from covey.node.system_clock import SystemClock
from covey.node.system_entropy import SystemEntropy
from covey.node.websocket import WebSocketTransport
from covey.simulations import admitting
from covey.storage import meta_rows
from covey.storage.home import Home
from covey.storage.store_file import create_store, open_store
from covey.storage.system_files import SYSTEM_FILES
from covey.sync.sharing import Sharing

STORE_KEY = bytes(range(32))
LOOPBACK = Address("127.0.0.1", 0)
PATIENCE_S = 60.0
"""When a test that waits for something gives up; never how long it takes."""


class ShiftedClock(SystemClock):
    """Real time, but the wall clock shows what the test wants."""

    __slots__ = ("wall_ahead_ms",)

    def __init__(self) -> None:
        self.wall_ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.wall_ahead_ms


class Device:
    """One open device: its engine, its API, and what it is bound to."""

    def __init__(self, engine: Engine, transport: WebSocketTransport, home: Path) -> None:
        self.engine = engine
        self.home = home
        self.node = Node(engine, self.close)
        self.counters = engine.counters
        self._transport = transport
        self._events = engine.board.subscribe(NodeEvent)

    @property
    def facts(self) -> Collection:
        return self.node.database("memory").collection("facts")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.engine.port}"

    @property
    def keys(self) -> DeviceKeys:
        return self.engine.keys

    async def online(self) -> "Device":
        self.engine.reach.listen_on = LOOPBACK
        await self.engine.go_online()
        return self

    async def close(self) -> None:
        await self.engine.close()
        await self._transport.close()

    async def records(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Everything an application could read, by database, collection and id."""
        return {
            (database, found.collection, found.id): found.value
            async for database, found in self.engine.reader.export(None)
        }

    async def event(self, kind: str, /, **detail: Any) -> dict[str, Any]:
        """The next event of this kind and detail that was not asked for before."""
        return await next_event(self._events, kind, detail)

    def members(self) -> set[bytes]:
        return set(self.engine.mesh.registry.devices)

    def heads(self) -> tuple[bytes, bytes]:
        """What this device would tell a peer of level full: control and root digest."""
        holdings = self.engine.ledger.holdings
        return holdings.control_digest(), holdings.root(Sharing.of((1, 2, 3)))


async def next_event(
    events: Subscription, kind: str, detail: dict[str, Any] | None = None
) -> dict[str, Any]:
    wanted = (detail or {}).items()
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if (
                isinstance(event, NodeEvent)
                and event.kind == kind
                and wanted <= event.detail.items()
            ):
                return event.detail
    raise AssertionError(f"the node closed without the event {kind}")


async def until(condition: Callable[[], Any]) -> None:
    """Let the event loop run until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


class Nodes:
    """The devices of one test. Made by `nodes`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.open_devices: list[Device] = []

    async def make(
        self,
        name: str,
        *,
        kind: str = "laptop",
        clock: Clock | None = None,
        wrap: Callable[[Transport], Transport] | None = None,
    ) -> Device:
        """A device in a mesh of its own, or the one of that name as it was left."""
        home = Home(self._folder / name)
        clock, entropy, counters = clock or SystemClock(), SystemEntropy(), Counters()
        if home.store.exists():
            opened = await open_store(home, STORE_KEY, clock.wall_ms(), entropy.draw)
            stored = await opened.database.read(lambda c: meta_rows.get_meta(c, DEVICE_KEYS))
            assert stored is not None
            keys = DeviceKeys.decode(stored)
        else:
            home.create()
            opened = await create_store(home, STORE_KEY, clock.wall_ms(), entropy.draw)
            keys = await found_mesh(opened.database, opened.instance, name, kind, clock, entropy)
        transport = WebSocketTransport(clock, counters)
        engine = Engine(
            home.path,
            opened.database,
            keys,
            opened.instance,
            clock,
            entropy,
            wrap(transport) if wrap else transport,
            None,
            counters,
            files=SYSTEM_FILES,
        )
        await engine.start()
        device = Device(engine, transport, home.path)
        self.open_devices.append(device)
        return device

    async def mesh(self, *names: str, clock: Clock | None = None) -> list[Device]:
        """Devices of one mesh, all online; the first is its admin. Nobody is linked yet."""
        made = [await (await self.make(name, clock=clock)).online() for name in names]
        for device in made[1:]:
            await admit(made[0], device)
        return made

    async def close(self) -> None:
        # Whoever was dialled goes last: it would wait for the others to hang up.
        for device in reversed(self.open_devices):
            await device.close()


@asynccontextmanager
async def nodes(folder: Path) -> AsyncIterator[Nodes]:
    """Devices for the length of the block; then nothing of them may be left."""
    before = asyncio.all_tasks()
    opened = Nodes(folder)
    try:
        yield opened
    finally:
        await opened.close()
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, f"left behind: {[task.get_name() for task in left]} {left}"


async def enroll(admin: Device, keys: DeviceKeys, name: str, level: str = "full") -> None:
    """Make the owner of `keys` a member, as a finished pairing would."""
    mesh = admin.engine.mesh
    certificate = make_certificate(keys, mesh.id, admin.engine.clock.wall_ms())
    await mesh.enroll(certificate, name, "phone", level)


async def admit(admin: Device, device: Device, level: str = "full") -> None:
    """Make a device a member of the admin's mesh without the network."""
    await admitting.admit(admin.engine, device.engine, level)


async def meet(first: Device, second: Device) -> None:
    """Link two members and wait until both have proved that they are in sync."""
    first.engine.add_address("127.0.0.1", second.engine.port or 0, second.keys.sig_pk)
    await in_sync(first, second)


async def in_sync(*devices: Device) -> None:
    """Wait until linked devices hold the same and know it."""

    def proved() -> bool:
        return len({device.heads() for device in devices}) == 1 and all(
            device.engine.standing_with(other.keys.sig_pk).proved
            for device in devices
            for other in devices
            if other is not device and device.engine.switchboard.links_to(other.keys.sig_pk)
        )

    await until(lambda: all(d.engine.switchboard.links for d in devices) and proved())


async def arrives(device: Device, id: str, value: dict[str, Any]) -> None:
    """Wait until a device has this record, with these fields."""
    async with device.node.database("memory").watch() as changes:
        if await device.facts.get(id) == value:
            return
        async with asyncio.timeout(PATIENCE_S):
            async for change in changes:
                if change.id == id and change.record == value:
                    return


class Window:
    """A pairing window that is open; `events` collects what the person at it is told."""

    def __init__(self, window: PairingWindow) -> None:
        self.window = window
        self.events: list[dict[str, Any]] = []
        self._stream = window.run()

    async def open(self) -> str:
        """Show the code."""
        shown = await anext(self._stream)
        assert shown["event"] == "code", shown
        self.events.append(shown)
        code: str = shown["code"]
        self._rest = asyncio.create_task(self._collect())
        return code

    async def _collect(self) -> None:
        async for event in self._stream:
            self.events.append(event)

    async def ended(self) -> list[dict[str, Any]]:
        """Everything the person was told, once the window has closed."""
        async with asyncio.timeout(PATIENCE_S):
            await self._rest
        return self.events

    async def close(self) -> None:
        self._rest.cancel()
        await asyncio.gather(self._rest, return_exceptions=True)
        await self._stream.aclose()  # type: ignore[attr-defined]


class Hesitant:
    """A person who is asked about a device, and says yes when the test lets them."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.says_yes = asyncio.Event()

    async def __call__(self) -> bool:
        self.asked.set()
        await self.says_yes.wait()
        return True


async def join(
    device: Device, code: str, address: str | None, ask: Any = None
) -> list[dict[str, Any]]:
    """Join by a code, or the text of a picture, to the end of the first sync; what the person is
    told. Raises what the Joiner raises.
    """
    return [event async for event in Joiner(device.engine, code, address, None, 5_000, ask).run()]


async def pair(admin: Device, device: Device, *, level: str = "full") -> None:
    """The real pairing by code, over the network."""
    window = Window(PairingWindow(admin.engine, level, 60_000, None))
    code = await window.open()
    await join(device, code, admin.address)
    await window.ended()


def text_of(value: Any) -> str:
    """One comparable text of anything JSON-like."""
    return json.dumps(value, sort_keys=True, default=str)
