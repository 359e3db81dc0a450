"""The world fails: keys, disks, ports and networks. One line, the right exit code, nothing lost."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import covey
from covey.storage.errors import StoreFullError

from .netns import available, namespaces
from .processes import Device, homes

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with homes(tmp_path, "laptop") as [made]:
        made.init()
        made.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
        yield made


FILLER = '{"text": "' + "long " * 100_000 + '"}'


async def fill(device: Device) -> set[str]:
    """Write half a megabyte at a time until the disk is full; the ids that were acknowledged."""
    acknowledged: set[str] = set()
    async with covey.open(device.home, unlock=covey.KeyFile(device.key), mdns=False) as node:
        facts = node.database("memory").collection("facts")
        with pytest.raises(StoreFullError):
            for number in range(1_000):
                await facts.put({"text": "long " * 100_000}, id=f"f{number}")
                acknowledged.add(f"f{number}")
        assert await facts.get("tea") == {"text": "likes tea"}
    return acknowledged


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line that a failed command says."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("covey: ")]
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def test_a_wrong_key_file_opens_nothing_and_says_so(device: Device, tmp_path: Path) -> None:
    """Exit 5 tells a script that the key is at fault, not the store."""
    right, device.key = device.key, tmp_path / "other.key"
    device.key.write_bytes(bytes(32))
    device.key.chmod(0o600)

    line = refused(device.attempt("get", "memory", "facts", "tea"), 5)

    assert "key" in line
    device.key = right
    assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}


def test_without_a_keyring_the_other_ways_are_named(tmp_path: Path) -> None:
    """A headless machine has none; the sentence must be the way out."""
    home = tmp_path / "home"
    command = Device(tmp_path, "x").command()[:3]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COVEY", "DBUS"))}
    done = subprocess.run(
        [*command, "--home", str(home), "init", "--keyring"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )

    line = refused(done, 5)

    assert "(there is none)" in line
    assert "--passphrase-fd" in line and "--key-file" in line
    assert not home.exists()


def test_a_home_that_was_never_made_says_how_to_make_it(tmp_path: Path) -> None:
    """The first mistake a newcomer makes."""
    assert "covey init" in refused(Device(tmp_path, "nobody").attempt("status"), 1)


def test_a_home_in_use_is_not_opened_twice(device: Device) -> None:
    """Two writers of one store would tear its logs."""
    device.up("--no-mdns")

    done = device.attempt("up", "--no-mdns", "--listen", "127.0.0.1:0")

    assert str(device.process.pid if device.process else "") in refused(done, 7)
    assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}


def test_a_port_in_use_is_named(device: Device) -> None:
    """The cure is another port, so the line must say which one is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = device.attempt("up", "--no-mdns", "--listen", f"127.0.0.1:{port}")

    assert str(port) in refused(done, 4)


@pytest.mark.parametrize("place", [0, 5000, -3000])
def test_a_damaged_store_is_called_damaged(device: Device, place: int) -> None:
    """A flipped bit must not be read as data, nor as a wrong key."""
    store = device.home / "store.db"
    content = bytearray(store.read_bytes())
    for at in range(64):
        content[place + at] ^= 0xFF
    store.write_bytes(content)

    done = device.attempt("ls", "memory", "facts")

    if done.returncode == 0:
        # A page that this command did not need; the whole export must meet it.
        done = device.attempt("export")
    assert done.returncode in (0, 6), done.stderr
    if done.returncode == 6:
        assert "damaged" in refused(done, 6)
    else:
        assert "likes tea" in done.stdout


def test_a_truncated_vault_is_restored_from_its_copy_or_called_damaged(device: Device) -> None:
    """Losing the few bytes of the vault loses everything, so there are two of it."""
    vault = device.home / "vault.covey"
    vault.write_bytes(vault.read_bytes()[:20])

    assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}


def test_without_anybody_to_reach_sync_ends_with_four(device: Device) -> None:
    """A script must be able to tell "nobody there" from "not in sync"."""
    assert device.attempt("sync", "--timeout", "1", "--json").returncode == 4


@ROOT_ONLY
async def test_a_full_disk_refuses_writes_loses_nothing_and_recovers(tmp_path: Path) -> None:
    """Reads and a clean stop must work on a full disk, and writes again once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        device = Device(disk, "laptop")
        device.key = tmp_path / "laptop.key"
        device.init()
        device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 65_536):
                    pass
            except OSError:
                pass

        acknowledged = await fill(device)

        line = refused(device.attempt("put", "memory", "facts", "big", "-", stdin=FILLER), 6)
        assert "full" in line
        ballast.unlink()
        device.run("put", "memory", "facts", "again", '{"text": "room again"}')
        held = {r["id"] for r in device.run("ls", "memory", "facts", "--limit", "9999")["records"]}
        assert held == {"tea", "again", *acknowledged}
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@ROOT_ONLY
def test_a_read_only_home_is_named(tmp_path: Path) -> None:
    """A mounted backup is a common place to look into by accident."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        device = Device(disk, "laptop")
        device.key = tmp_path / "laptop.key"
        device.init()
        device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        refused(device.attempt("put", "memory", "facts", "x", '{"a": 1}'), 6)

        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.skipif(available() is not None, reason=available() or "")
def test_without_any_network_the_node_runs_and_says_what_it_misses(tmp_path: Path) -> None:
    """On a plane everything local must work."""
    with namespaces(1) as (alone,):
        alone.unplug()
        device = Device(tmp_path, "laptop", prefix=tuple(alone.command()))
        device.init()
        device.up()
        try:
            device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
            assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
            assert device.attempt("sync", "--timeout", "1", "--json").returncode == 4
        finally:
            device.down()


def test_an_ended_node_leaves_no_socket_and_no_lock(device: Device) -> None:
    """Whatever is left behind is in the way of the next start."""
    device.up("--no-mdns")
    device.down()

    assert not (device.home / "node.sock").exists()
    device.up("--no-mdns")
    assert device.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
