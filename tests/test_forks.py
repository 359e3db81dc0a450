"""A store whose copying the instance rule could not see: two branches of one instance."""

import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import covey
from covey.node.engine import Engine
from covey.node.joining import Joiner
from covey.node.main import create_home, open_engine
from covey.node.pairing import PairingWindow
from covey.node.ports import Address
from covey.storage.instance_rule import renew_instance

SYNC_MS_MAX = 90_000


def opened(path: Path) -> AbstractAsyncContextManager[Engine]:
    key = covey.KeyFile(path.with_name("shared.key"))
    return open_engine(path, key, online=True, listen=Address("127.0.0.1", 0), mdns=False)


async def pair(member: Engine, joiner: Engine) -> None:
    events = PairingWindow(member, "full", 60_000, None).run()
    code = await anext(events)

    async def admit() -> None:
        async for _ in events:
            pass

    admitting = asyncio.create_task(admit())
    address = f"127.0.0.1:{member.port}"
    async for _ in Joiner(joiner, code["code"], address, None, 5_000, None).run():
        pass
    await admitting


async def put(engine: Engine, id: str, text: str) -> None:
    node = covey.Node(engine, engine.close)
    await node.database("memory").collection("facts").put({"text": text}, id=id)


async def facts(engine: Engine) -> dict[str, str]:
    node = covey.Node(engine, engine.close)
    found = await node.database("memory").collection("facts").find(order="text")
    return {record.id: record.value["text"] for record in found}


async def sync(engine: Engine, other: Engine) -> None:
    assert other.port is not None
    engine.add_address("127.0.0.1", other.port)
    assert await engine.patience.sync(None, SYNC_MS_MAX)


async def test_both_branches_of_a_forked_store_survive_and_everyone_is_told(
    tmp_path: Path,
) -> None:
    """A snapshot of a virtual machine forks a log; neither branch's writes may be lost."""
    laptop, phone, twin = (tmp_path / name for name in ("laptop", "phone", "twin"))
    for path in (laptop, phone):
        await create_home(path, path.name, "laptop", covey.KeyFile(tmp_path / "shared.key"))
    async with opened(laptop) as a, opened(phone) as b:
        await pair(a, b)
        await put(b, "common", "before the snapshot")
        await sync(b, a)
        instance = b.instance
    shutil.copytree(phone, twin)
    async with opened(twin) as c:
        # What a snapshot of the running machine would leave: the same instance, twice.
        await c.database.write(lambda conn: renew_instance(conn, instance))
        c.instance = c.mesh.instance = instance
        await put(c, "twin", "written on the twin")
    async with opened(laptop) as a:
        async with opened(phone) as b:
            await put(b, "phone", "written on the phone")
            await sync(b, a)
        async with opened(twin) as c:
            assert c.instance == instance
            c.add_address("127.0.0.1", a.port or 0)
            await c.patience.at_most(
                c.patience.until(lambda: c.instance != instance), SYNC_MS_MAX, otherwise=None
            )
            await sync(c, a)

            everywhere = {
                "common": "before the snapshot",
                "phone": "written on the phone",
                "twin": "written on the twin",
            }
            assert await facts(c) == everywhere
            assert await facts(a) == everywhere
            assert [alarm["kind"] for alarm in (await c.status())["alarms"]] == ["fork"]
