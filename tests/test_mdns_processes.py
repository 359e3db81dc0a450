"""Two devices on one machine find each other by real mDNS over loopback, pair and converge.

The tag of the pairing window is given, since another test may show a code on this machine too.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import COMMAND_SECONDS_MAX, Device, homes
from .test_mdns import multicast_missing


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    if (missing := multicast_missing()) is not None:
        pytest.skip(missing)
    with homes(tmp_path, "laptop", "phone") as made:
        for device in made:
            device.init()
        yield made


def pair_by_tag(member: Device, joiner: Device) -> None:
    window = member.start("pair", "--yes", "--json")
    assert window.stdout is not None
    shown = json.loads(window.stdout.readline())
    joined = joiner.attempt("join", shown["code"], "--yes", "--json", "--tag", shown["tag"])
    if joined.returncode != 0:
        window.terminate()
    rest, errors = window.communicate(timeout=COMMAND_SECONDS_MAX)
    assert joined.returncode == 0, (joined.stdout, joined.stderr, rest, errors)


def test_two_processes_pair_and_converge_with_no_address_typed(devices: list[Device]) -> None:
    """The first thing anyone tries is two terminals on one machine."""
    laptop, phone = devices
    laptop.up()
    laptop.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')

    pair_by_tag(laptop, phone)
    phone.up()
    phone.run("put", "memory", "facts", "cake", '{"text": "and cake"}')
    phone.run("sync", "--wait")

    assert phone.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
    assert laptop.run("get", "memory", "facts", "cake") == {"text": "and cake"}


def test_a_node_that_is_started_anew_is_found_on_its_new_port(devices: list[Device]) -> None:
    """Ports change at every start; the announcement has to be what is believed."""
    laptop, phone = devices
    laptop.up()
    pair_by_tag(laptop, phone)
    phone.up()
    before = laptop.port
    laptop.kill()
    laptop.up()
    laptop.run("put", "memory", "facts", "new", '{"text": "after the restart"}')

    laptop.run("sync", "--wait", "--timeout", "30")

    assert laptop.port != before
    assert phone.run("get", "memory", "facts", "new") == {"text": "after the restart"}


def test_a_wrong_tag_is_nobody_and_the_way_out_is_told(devices: list[Device]) -> None:
    """Guessing a window would burn the code of somebody else."""
    laptop, phone = devices
    laptop.up()
    window = laptop.start("pair", "--yes", "--json")
    assert window.stdout is not None
    shown = json.loads(window.stdout.readline())
    other = "aaaa" if shown["tag"] != "aaaa" else "bbbb"

    refused = phone.attempt("join", shown["code"], "--yes", "--tag", other, "--timeout", "2")
    window.terminate()
    window.communicate(timeout=COMMAND_SECONDS_MAX)

    assert refused.returncode == 4
    assert "--address" in refused.stderr
