"""Two real processes, one of which takes only what is new; and a record that is moved, end to end.

What is old was written by this very program, on a home that nobody has open, with the wall clock of
its process set back: processes have no other way to be in another month.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import covey
from covey.node.main import open_engine
from covey.node.system_clock import SystemClock
from covey.sync.policy import BUCKET_DAYS, DAY_MS, Value

from .processes import Device, homes, pair

MONTH_MS = BUCKET_DAYS * DAY_MS


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone") as made:
        yield made


async def write_months_ago(
    monkeypatch: pytest.MonkeyPatch, device: Device, months: int, id: str
) -> None:
    """A record of that many months ago, written while the node of the device is down."""
    real = SystemClock.wall_ms
    with monkeypatch.context() as patch:
        patch.setattr(SystemClock, "wall_ms", lambda clock: real(clock) - months * MONTH_MS)
        async with open_engine(device.home, covey.KeyFile(device.key), online=False) as engine:
            node = covey.Node(engine, engine.close)
            await node.database("memory").collection("facts").put({"ago": months}, id=id)


async def test_a_phone_with_a_window_of_30_days_is_in_sync_without_the_old_records(
    devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: policy, birth, greeting, digests, `status`, and a move."""
    laptop, phone = devices
    laptop.init()
    phone.init("phone")
    laptop.up("--no-mdns")
    pair(laptop, phone)
    laptop.down()
    async with open_engine(laptop.home, covey.KeyFile(laptop.key), online=False) as engine:
        (other,) = [d for d in engine.mesh.registry.active() if d.name == "phone"]
        said: dict[str, Value | None] = {"mode": "window", "window_days": 30}
        await engine.trust.set_policy(other.sig_pk, "memory", said)
    for months in (5, 3):
        await write_months_ago(monkeypatch, laptop, months, f"old{months}")
    laptop.up("--no-mdns")
    phone.up("--no-mdns", "--peer", f"127.0.0.1:{laptop.port}")
    laptop.run("put", "memory", "facts", "new", '{"ago": 0}')
    phone.run("sync", "--wait")
    phone.run("put", "memory", "facts", "answer", '{"by": "phone"}')
    laptop.run("sync", "--wait")

    held = {r["id"] for r in phone.run("ls", "memory")["records"]}
    assert held == {"new", "answer"}
    assert {r["id"] for r in laptop.run("ls", "memory")["records"]} == held | {"old5", "old3"}
    for device in devices:
        (peer,) = device.run("status")["peers"]
        assert (peer["proved"], peer["databases"][0]["state"]) == (True, "synced")
    meta = [laptop.run("get", "memory", "facts", id, "--meta")["_meta"] for id in ("old5", "new")]
    assert meta[0]["born"] < meta[1]["born"]

    moved = laptop.run("move", "memory", "facts", "new", "--privacy", "family")
    laptop.run("sync", "--wait")
    assert moved["moved"] and (moved["from"], moved["to"]) == ("private", "family")
    assert "copies" in moved["remains"]
    there = phone.run("get", "memory", "facts", "new", "--meta")["_meta"]
    assert (there["privacy"], there["born"]) == ("family", meta[1]["born"])
    assert "was moved from private to family" in laptop.attempt("log").stdout
