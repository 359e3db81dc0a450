"""Homes for benchmarks: made, paired over loopback, and counted on the disk.

Pairing runs both nodes in this process, through the real window and the real joiner; afterwards
both are closed, and a benchmark starts each as a process of its own.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import covey
from covey.node.joining import Joiner
from covey.node.main import create_home
from covey.node.pairing import PairingWindow

LOOPBACK = "127.0.0.1:0"
STEP_MS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class Home:
    path: Path
    key_file: Path

    @property
    def unlock(self) -> covey.KeyFile:
        return covey.KeyFile(self.key_file)

    def store_bytes(self) -> int:
        """Size of the store of a closed home; the reserve for a full disk is not counted."""
        return sum(file.stat().st_size for file in self.path.glob("store.db*"))


def make_paired_homes(folder: Path, names: Sequence[str]) -> list[Home]:
    """New homes; all others join the mesh of the first one."""
    folder.mkdir(parents=True)
    homes = [Home(folder / name, folder / f"{name}.key") for name in names]
    asyncio.run(_make(homes))
    return homes


async def _make(homes: Sequence[Home]) -> None:
    for home in homes:
        await create_home(home.path, home.path.name, "laptop", home.unlock)
    first = homes[0]
    async with covey.open(
        first.path, unlock=first.unlock, online=True, listen=LOOPBACK, mdns=False
    ) as member:
        for home in homes[1:]:
            async with covey.open(
                home.path, unlock=home.unlock, online=True, listen=LOOPBACK, mdns=False
            ) as newcomer:
                await _pair(member, newcomer)


async def _pair(member: covey.Node, newcomer: covey.Node) -> None:
    events = PairingWindow(member.engine, "full", STEP_MS_MAX, None).run()
    shown = await anext(events)

    async def admit() -> None:
        async for _ in events:
            pass

    admitting = asyncio.create_task(admit())
    address = f"127.0.0.1:{member.port}"
    async for _ in Joiner(newcomer.engine, shown["code"], address, None, STEP_MS_MAX, None).run():
        pass
    await admitting
