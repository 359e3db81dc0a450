"""Real processes pair by the text of the picture, over real sockets, without mDNS."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import COMMAND_SECONDS_MAX, Device, homes


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone", "tablet") as made:
        for device in made:
            device.init()
        yield made


def test_the_pasted_text_joins_once_and_a_thief_of_it_never(devices: list[Device]) -> None:
    """It holds the address, the key and the secret, and nobody has to type anything."""
    laptop, phone, thief = devices
    laptop.up("--no-mdns")
    laptop.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
    window = laptop.start("pair", "--yes", "--json")
    assert window.stdout is not None
    shown = json.loads(window.stdout.readline())

    in_argument = phone.attempt("join", shown["qr"], "--yes")
    joined = phone.run("join", "-", "--yes", stdin=shown["qr"].upper() + "\n")
    rest, errors = window.communicate(timeout=COMMAND_SECONDS_MAX)
    again = thief.attempt("join", "-", "--yes", "--timeout", "3", stdin=shown["qr"])

    assert in_argument.returncode == 2 and "covey join -" in in_argument.stderr
    assert shown["qr"][8:] not in in_argument.stderr
    assert shown["addresses"] == [f"127.0.0.1:{laptop.port}"]
    assert joined["enrolled_by"]["name"] == "laptop"
    assert json.loads(rest)["device"]["name"] == "phone", errors
    assert phone.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
    assert again.returncode == 3 and "expired" in again.stderr
    assert [d["device_name"] for d in laptop.run("devices")["devices"]] == ["laptop", "phone"]


def test_a_text_that_was_cut_is_said_to_be_and_the_window_waits_on(devices: list[Device]) -> None:
    """Half a paste is told on the device where it happened."""
    laptop, phone, _ = devices
    laptop.up("--no-mdns")
    window = laptop.start("pair", "--yes", "--json")
    assert window.stdout is not None
    shown = json.loads(window.stdout.readline())

    cut = phone.attempt("join", "-", "--yes", stdin=shown["qr"][:-4])
    phone.run("join", "-", "--yes", stdin=shown["qr"])
    window.communicate(timeout=COMMAND_SECONDS_MAX)

    assert cut.returncode == 2 and "copy all of it" in cut.stderr
    assert len(laptop.run("devices")["devices"]) == 2
