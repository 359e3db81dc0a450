"""Homes that were put back from an old copy, and homes that exist twice.

Nobody reads a manual before they restore a backup. Whatever way the files come back, the home gets
its lost entries from its peers, and what is written in it afterwards reaches them; and two
copies of one home that both go on lose nothing of either.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from covey.node.dialing import ATTEMPTS_PER_MINUTE

from .processes import Device, homes, pair

CONNECTS_MAX = 2 * ATTEMPTS_PER_MINUTE
"""Of one start of a device with one peer: both may dial, as often as they allow themselves. Whoever
heals a fork lets go of those that call meanwhile, so how often that is depends on the machine.
"""


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    """A laptop and a phone that know each other and are up."""
    with homes(tmp_path, "laptop", "phone") as made:
        laptop, phone = made
        laptop.init()
        phone.init("phone")
        laptop.up("--no-mdns")
        pair(laptop, phone)
        phone.up("--no-mdns")
        yield made


def replace_folder(backup: Path, home: Path) -> None:
    """As a person does who moves the broken home out of the way."""
    shutil.rmtree(home)
    shutil.copytree(backup, home)


def overwrite_files(backup: Path, home: Path) -> None:
    """As `cp -r backup/. home/` does: every file stays the same file, with the old content."""
    for path in backup.iterdir():
        (home / path.name).write_bytes(path.read_bytes())


def write(device: Device, *ids: str, **fields: Any) -> None:
    for id in ids:
        device.run("put", "memory", "facts", id, json.dumps(fields or {"text": id}))


def records(device: Device) -> dict[str, dict[str, Any]]:
    listed = device.run("ls", "memory", "facts")["records"]
    return {record["id"]: record for record in listed}


def events(device: Device, kind: str) -> int:
    """How often it happened; the log puts together what came within a minute."""
    lines = map(json.loads, device.attempt("log", "--json").stdout.splitlines())
    return sum(line.get("times", 1) for line in lines if line["event"] == kind)


def lose_a_day(laptop: Device, tmp_path: Path, put_back: Callable[[Path, Path], None]) -> None:
    """Copy the laptop's home, write more and sync it, and put the copy back. It is down then."""
    write(laptop, "early")
    laptop.run("sync", "--wait")
    laptop.down()
    shutil.copytree(laptop.home, tmp_path / "backup")
    laptop.up("--no-mdns")
    write(laptop, "lost-1", "lost-2")
    write(laptop, "early", text="changed")
    laptop.run("sync", "--wait")
    laptop.down()
    put_back(tmp_path / "backup", laptop.home)


@pytest.mark.parametrize("put_back", [replace_folder, overwrite_files])
def test_a_restored_home_gets_its_lost_entries_back_and_writes_on(
    devices: list[Device], tmp_path: Path, put_back: Callable[[Path, Path], None]
) -> None:
    """The day between the backup and the disaster lives on the phone; it must come home."""
    laptop, phone = devices
    lose_a_day(laptop, tmp_path, put_back)
    connected = events(phone, "connected")

    laptop.up("--no-mdns")
    laptop.run("sync", "--wait")
    back = records(laptop)
    write(laptop, "after")
    laptop.run("sync", "--wait")

    assert set(back) == {"early", "lost-1", "lost-2"}
    assert back["early"]["text"] == "changed"
    assert records(phone) == records(laptop) == {**back, "after": {**records(phone)["after"]}}
    assert events(laptop, "new_instance") == (put_back is replace_folder)
    assert laptop.run("status")["alarms"] == phone.run("status")["alarms"] == []
    assert events(phone, "connected") - connected <= CONNECTS_MAX


@pytest.mark.parametrize("put_back", [replace_folder, overwrite_files])
def test_what_a_restored_home_writes_before_it_meets_anybody_survives_with_what_it_lost(
    devices: list[Device], tmp_path: Path, put_back: Callable[[Path, Path], None]
) -> None:
    """Restored on a train: the new notes and the lost ones are both somebody's work.

    Where the store cannot see that it is an old one, two entries of one number exist. Both devices
    say so, and heal it.
    """
    laptop, phone = devices
    lose_a_day(laptop, tmp_path, put_back)
    connected = events(phone, "connected")
    write(laptop, "train-1", "train-2", "train-3")
    write(laptop, "early", seat=7)

    laptop.up("--no-mdns")
    laptop.run("sync", "--wait")
    phone.run("sync", "--wait")
    write(laptop, "after")
    laptop.run("sync", "--wait")

    ours, theirs = records(laptop), records(phone)
    assert ours == theirs
    assert set(ours) == {"early", "lost-1", "lost-2", "train-1", "train-2", "train-3", "after"}
    assert ours["early"]["seat"] == 7
    forked = put_back is overwrite_files
    for device in devices:
        assert [alarm["kind"] for alarm in device.run("status")["alarms"]] == ["fork"] * forked
    assert events(phone, "connected") - connected <= CONNECTS_MAX


def test_two_copies_of_one_home_both_go_on_and_lose_nothing(
    devices: list[Device], tmp_path: Path
) -> None:
    """A disk image put on a second laptop: two devices with one name, and with their own work."""
    laptop, phone = devices
    write(laptop, "early", text="before")
    laptop.run("sync", "--wait")
    laptop.down()
    twin = Device(tmp_path, "twin")
    twin.key = laptop.key
    shutil.copytree(laptop.home, twin.home)
    connected = events(phone, "connected")
    try:
        for device in (laptop, twin):
            device.up("--no-mdns")
        for round in ("1", "2"):
            for device in (laptop, twin):
                write(device, f"{device.name}-{round}")
                write(device, "early", f"both-{round}", **{device.name: round})
            for device in (laptop, twin, laptop):
                device.run("sync", "--wait")
            if round == "1":
                for device in (laptop, twin):
                    device.down()
                    device.up("--no-mdns")

        ours, others, theirs = records(laptop), records(twin), records(phone)
        assert ours == others == theirs
        assert set(ours) == {
            "early",
            *("laptop-1", "twin-1", "both-1"),
            *("laptop-2", "twin-2", "both-2"),
        }
        assert ours["early"] == {**ours["early"], "text": "before", "laptop": "2", "twin": "2"}
        assert (ours["both-1"]["laptop"], ours["both-1"]["twin"]) == ("1", "1")
        assert events(twin, "new_instance") == 1
        assert events(laptop, "new_instance") == 0
        for device in (laptop, twin, phone):
            assert device.run("status")["alarms"] == []
        # Two copies were started twice each.
        assert events(phone, "connected") - connected <= 4 * CONNECTS_MAX
        assert events(laptop, "connected") + events(twin, "connected") <= 8 * CONNECTS_MAX
    finally:
        twin.kill()
