"""Homes that were put back from an old copy, or cloned: real processes, real files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes, pair


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone") as made:
        laptop, phone = made
        laptop.init()
        phone.init("phone")
        laptop.up("--no-mdns")
        pair(laptop, phone)
        yield made


def put(device: Device, id: str, text: str) -> None:
    device.run("put", "memory", "facts", id, f'{{"text": "{text}"}}')


def texts(device: Device) -> dict[str, str]:
    return {r["id"]: r["text"] for r in device.run("ls", "memory", "facts")["records"]}


def meet(device: Device, other: Device) -> None:
    """Be up for as long as it takes to prove that both hold the same."""
    device.up("--no-mdns", "--peer", f"127.0.0.1:{other.port}")
    device.run("sync", "--wait", "--timeout", "60")
    device.down()


def test_a_home_put_back_from_an_old_copy_gets_its_lost_entries_again(
    devices: list[Device], tmp_path: Path
) -> None:
    """Whoever restores a backup must not lose what was synced since, nor fork their own log."""
    laptop, phone = devices
    put(phone, "early", "before the copy")
    meet(phone, laptop)
    shutil.copytree(phone.home, tmp_path / "backup")
    put(phone, "late", "after the copy")
    meet(phone, laptop)

    shutil.rmtree(phone.home)
    shutil.copytree(tmp_path / "backup", phone.home)
    put(phone, "after", "written by the restored home")
    meet(phone, laptop)

    everything = {
        "early": "before the copy",
        "late": "after the copy",
        "after": "written by the restored home",
    }
    assert texts(phone) == everything
    assert texts(laptop) == everything
    assert laptop.run("status", code=1)["alarms"] == []
    events = [line["event"] for line in log_of(phone)]
    assert "new_instance" in events


def test_both_clones_of_one_home_keep_their_writes(devices: list[Device], tmp_path: Path) -> None:
    """People copy folders. Two nodes from one copy must end as two writers, not as one torn log."""
    laptop, phone = devices
    put(phone, "shared", "before the clone")
    meet(phone, laptop)
    twin = Device(tmp_path, "twin")
    twin.key = phone.key
    shutil.copytree(phone.home, twin.home)

    put(phone, "from-phone", "phone")
    put(phone, "shared", "changed on the phone")
    put(twin, "from-twin", "twin")
    put(twin, "only-twin", "twin")
    try:
        for device in (phone, twin, phone, twin):
            meet(device, laptop)
    finally:
        twin.kill()

    everything = {
        "shared": "changed on the phone",
        "from-phone": "phone",
        "from-twin": "twin",
        "only-twin": "twin",
    }
    assert texts(phone) == texts(twin) == texts(laptop) == everything


def test_two_clones_that_are_up_at_once_do_not_push_each_other_out(
    devices: list[Device], tmp_path: Path
) -> None:
    """They are one device to the mesh; each must still keep its own link."""
    laptop, phone = devices
    twin = Device(tmp_path, "twin")
    twin.key = phone.key
    shutil.copytree(phone.home, twin.home)
    peer = f"127.0.0.1:{laptop.port}"
    try:
        phone.up("--no-mdns", "--peer", peer)
        phone.run("sync", "--wait")
        twin.up("--no-mdns", "--peer", peer)
        twin.run("sync", "--wait")
        put(phone, "one", "phone")
        put(twin, "two", "twin")
        for device in (phone, twin, phone):
            device.run("sync", "--wait")

        assert texts(laptop) == {"one": "phone", "two": "twin"}
        reasons = [line.get("reason") for line in log_of(laptop)]
        assert "replaced" not in reasons
    finally:
        twin.kill()


def log_of(device: Device) -> list[dict[str, str]]:
    import json

    lines = device.attempt("log", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]
