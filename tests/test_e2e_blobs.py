"""Blobs between real processes: a file is put on one device and got on the other, byte for byte."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes, pair

PLACE = ("memory", "facts", "cat", "photo")
SIZE = 3 * 1024 * 1024 + 17


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone") as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.png"
    path.write_bytes(os.urandom(SIZE))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def paired(devices: list[Device]) -> tuple[Device, Device]:
    laptop, phone = devices
    laptop.init()
    phone.init("phone")
    laptop.up("--no-mdns")
    pair(laptop, phone)
    phone.up("--no-mdns")
    return laptop, phone


def test_a_photo_is_on_the_other_device(devices: list[Device], photo: Path, tmp_path: Path) -> None:
    """The one sentence that somebody who pairs a phone wants to be true."""
    laptop, phone = paired(devices)
    put = laptop.run("blob", "put", *PLACE, str(photo))
    phone.run("sync", "--wait")
    got = phone.run("blob", "get", *PLACE, "-o", str(tmp_path / "copy.png"))

    assert put["blob"]["size"] == SIZE and put["blob"]["name"] == "a photo.png"
    assert digest(tmp_path / "copy.png") == digest(photo)
    assert stat.S_IMODE((tmp_path / "copy.png").stat().st_mode) == 0o600
    assert {giver["device"] for giver in got["from"]} == {"laptop"}
    (listed,) = phone.run("blob", "ls")["blobs"]
    assert (listed["here"], listed["chunks"], listed["held_by"]) == (13, 13, ["laptop"])
    record = phone.run("get", "memory", "facts", "cat")
    assert record["photo"]["$blob"] == put["blob"]


def test_get_never_replaces_a_file_and_follows_no_link(
    devices: list[Device], photo: Path, tmp_path: Path
) -> None:
    """A name that a peer chose must not be able to overwrite anything."""
    laptop, _ = devices
    laptop.init()
    laptop.run("blob", "put", *PLACE, str(photo))
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")

    for target in (there, link):
        laptop.run("blob", "get", *PLACE, "-o", str(target), code=2)
    assert there.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_get_without_a_name_makes_a_file_of_the_blob_s_own_name_here(
    devices: list[Device], photo: Path, tmp_path: Path
) -> None:
    """And in no other folder, whatever the name says."""
    laptop, _ = devices
    laptop.init()
    laptop.run("blob", "put", *PLACE, str(photo))
    folder = tmp_path / "downloads"
    folder.mkdir()
    done = subprocess.run(
        laptop.command("blob", "get", *PLACE),
        cwd=folder,
        env=laptop.environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["a photo.png"]
    assert digest(folder / "a photo.png") == digest(photo)


def test_what_nobody_can_give_ends_with_the_code_for_nobody_there(
    devices: list[Device], photo: Path, tmp_path: Path
) -> None:
    """A script must tell a missing file from one that is elsewhere."""
    laptop, phone = paired(devices)
    phone.run("blob", "quota", "1")
    laptop.run("blob", "put", *PLACE, str(photo))
    phone.run("sync", "--wait")
    phone.run("blob", "quota", "none")
    laptop.kill()
    for path in (phone.home / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    phone.kill()
    phone.up("--no-mdns")
    done = phone.attempt("blob", "get", *PLACE, "-o", str(tmp_path / "copy"), "--timeout", "3")

    assert done.returncode == 4, (done.stdout, done.stderr)
    assert "chunks of this blob are not here" in done.stderr
    assert not (tmp_path / "copy").exists()
    phone.run("blob", "get", "memory", "facts", "dog", "photo", "-o", str(tmp_path / "x"), code=1)


def test_a_receiver_that_is_killed_goes_on_where_it_was(
    devices: list[Device], photo: Path, tmp_path: Path
) -> None:
    """A phone's battery dies in the middle of a film."""
    photo.write_bytes(os.urandom(SIZE * 4))
    laptop, phone = paired(devices)
    laptop.run("blob", "put", *PLACE, str(photo))
    for _ in range(3):
        phone.kill()
        phone.up("--no-mdns")
    got = phone.run("blob", "get", *PLACE, "-o", str(tmp_path / "copy"), "--timeout", "60")

    assert got["bytes"] == SIZE * 4
    assert digest(tmp_path / "copy") == digest(photo)


def test_standard_output_gets_the_content(devices: list[Device], photo: Path) -> None:
    """It is piped into a player."""
    laptop, _ = devices
    laptop.init()
    laptop.run("blob", "put", *PLACE, str(photo))
    done = subprocess.run(
        laptop.command("blob", "get", *PLACE, "-o", "-"),
        env=laptop.environment(),
        capture_output=True,
        check=True,
    )

    assert done.stdout == photo.read_bytes()
