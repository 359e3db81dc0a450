"""`covey backup` and `covey restore` in real processes, and what is restored beside the rest."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .processes import Device, pair


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A laptop with one record, not up."""
    made = Device(tmp_path, "laptop")
    made.init()
    write(made, "tea")
    return made


@pytest.fixture
def started() -> Iterator[list[Device]]:
    """Devices to be killed at the end."""
    devices: list[Device] = []
    yield devices
    for device in devices:
        device.kill()


def write(device: Device, *ids: str) -> None:
    for id in ids:
        device.run("put", "memory", "facts", id, json.dumps({"text": id}))


def ids(device: Device) -> set[str]:
    return {record["id"] for record in device.run("ls", "memory", "facts")["records"]}


def restored(device: Device, file: Path, name: str) -> tuple[Device, dict[str, Any]]:
    """Restore a backup to a home of its own, unlocked as `device`."""
    twin = Device(file.parent, name)
    twin.key = device.key
    return twin, twin.run("restore", str(file))


def test_a_home_is_backed_up_and_restored_with_no_node_running(
    device: Device, tmp_path: Path
) -> None:
    """The plain case, and its answers for scripts."""
    file = tmp_path / "b"
    made = device.run("backup", str(file))
    twin, answer = restored(device, file, "twin")

    assert made == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "made_at": made["made_at"],
        "blobs_only_here": 0,
    }
    assert set(answer) == {"home", "device", "mesh", "made_at"}
    assert (answer["home"], answer["made_at"]) == (str(twin.home), made["made_at"])
    assert answer["device"]["id"] == device.run("devices")["devices"][0]["device_id"]
    assert ids(twin) == {"tea"}


def test_a_restored_home_runs_beside_the_original_and_nothing_is_lost(
    device: Device, tmp_path: Path, started: list[Device]
) -> None:
    """The laptop was found again: both go on, with a phone that knows one device of that name."""
    phone = Device(tmp_path, "phone")
    started += [device, phone]
    phone.init("phone")
    device.up("--no-mdns")
    pair(device, phone)
    phone.up("--no-mdns")
    phone.run("sync", "--wait")
    made = device.run("backup", str(tmp_path / "b"))
    write(device, "after")
    device.run("sync", "--wait")

    twin, _ = restored(device, tmp_path / "b", "twin")
    started.append(twin)
    twin.up("--no-mdns")
    write(twin, "by-the-twin")
    write(device, "by-the-original")
    for each in (device, twin, device):
        each.run("sync", "--wait")

    assert made["bytes"] == (tmp_path / "b").stat().st_size
    assert (
        ids(device) == ids(twin) == ids(phone) == {"tea", "after", "by-the-twin", "by-the-original"}
    )
    for each in (device, twin, phone):
        assert each.run("status")["alarms"] == []


def test_a_damaged_backup_and_a_wrong_key_end_apart(device: Device, tmp_path: Path) -> None:
    """A script tries the next backup after the one, and asks for the key after the other."""
    file = tmp_path / "b"
    device.run("backup", str(file))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    stranger = Device(tmp_path, "twin")
    stranger.key.write_bytes(b"k" * 32)
    stranger.key.chmod(0o600)

    endings = {
        "damaged": (6, "checksum is wrong"),
        "b": (5, "does not hold the key"),
        "laptop.key": (6, "does not begin as a backup"),
        "nothing": (1, "cannot be read"),
    }
    for name, (code, told) in endings.items():
        refused = stranger.attempt("restore", str(tmp_path / name))
        assert (refused.returncode, refused.stderr.count("\n")) == (code, 1), refused.stderr
        assert told in refused.stderr
        assert not stranger.home.exists()
        assert not list(tmp_path.glob(".twin*"))
    again = device.attempt("backup", str(file))
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    over = device.attempt("restore", str(file))
    assert (over.returncode, "there is a Covey home here" in over.stderr) == (1, True)


def test_restore_takes_a_home_of_its_own_option(device: Device, tmp_path: Path) -> None:
    """`covey restore FILE --home DIR` is what people type."""
    device.run("backup", str(tmp_path / "b"))
    answer = device.run("restore", str(tmp_path / "b"), "--home", str(tmp_path / "elsewhere"))

    assert answer["home"] == str(tmp_path / "elsewhere")
    device.home = tmp_path / "elsewhere"
    assert ids(device) == {"tea"}
