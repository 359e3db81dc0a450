"""Two machines on one network, as far as the kernel is concerned: found, paired, moved, cut off.

Every device is a process in a network namespace of its own, and everything is done with the real
commands. No address is typed unless a test says so: devices find each other by mDNS.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import netns
from .netns import Namespace
from .processes import COMMAND_SECONDS_MAX, Device

ANYWHERE = "0.0.0.0:0"


@dataclass
class Lan:
    """A laptop and a phone, each on a machine of its own."""

    laptop: Device
    phone: Device
    machines: list[Namespace]

    def pair(self, *where: str) -> dict[str, Any]:
        """Pair by code through the real commands; the answer of `join`."""
        window = self.laptop.start("pair", "--yes", "--json")
        assert window.stdout is not None
        shown = json.loads(window.stdout.readline())
        joined = self.phone.attempt("join", shown["code"], "--yes", "--json", *where)
        if joined.returncode != 0:
            window.terminate()
        rest, errors = window.communicate(timeout=COMMAND_SECONDS_MAX)
        assert joined.returncode == 0, (joined.stdout, joined.stderr, rest, errors)
        answer: dict[str, Any] = json.loads(joined.stdout.splitlines()[-1])
        return answer

    def address_of(self, device: Device, other: str) -> str:
        """Where a device has reached another one."""
        peers = device.run("status")["peers"]
        return str(next(peer["address"] for peer in peers if peer["name"] == other))


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    if (missing := netns.available()) is not None:
        pytest.skip(missing)
    with netns.namespaces(2) as machines:
        laptop, phone = (
            Device(tmp_path, name, tuple(machine.command()))
            for name, machine in zip(("laptop", "phone"), machines, strict=True)
        )
        laptop.init()
        phone.init("phone")
        try:
            yield Lan(laptop, phone, machines)
        finally:
            laptop.kill()
            phone.kill()


def block_multicast(machine: Namespace) -> None:
    """What many access points do: the network works, and nobody hears a multicast."""
    port = ("ip", "-n", machine.switch, "link", "set", machine.port, "type", "bridge_slave")
    subprocess.run([*port, "mcast_flood", "off"], check=True, capture_output=True)


def move(machine: Namespace, address: str) -> None:
    """Give a machine another address, as a router does that was restarted."""
    for command in (
        ("addr", "flush", "dev", "eth0"),
        ("addr", "add", f"{address}/24", "dev", "eth0"),
        ("route", "add", "224.0.0.0/4", "dev", "eth0"),
    ):
        done = machine.run("ip", *command)
        assert done.returncode == 0, done.stderr


def test_two_machines_find_each_other_pair_and_converge_without_an_address(lan: Lan) -> None:
    """Nobody knows the address of their phone."""
    lan.laptop.up(listen=ANYWHERE)
    lan.laptop.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')

    lan.pair()
    lan.phone.run("put", "memory", "facts", "cake", '{"text": "and cake"}')
    lan.phone.up(listen=ANYWHERE)
    lan.phone.run("sync", "--wait")

    assert lan.phone.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
    assert lan.laptop.run("get", "memory", "facts", "cake") == {"text": "and cake"}
    assert lan.address_of(lan.phone, "laptop").startswith(f"{lan.machines[0].address}:")


def test_a_device_that_comes_back_with_another_address_is_found_again(lan: Lan) -> None:
    """Every evening the router gives out other addresses; yesterday's must not be the only one."""
    lan.laptop.up(listen=ANYWHERE)
    lan.pair()
    lan.laptop.down()
    move(lan.machines[0], "10.77.0.77")
    lan.phone.run("put", "memory", "facts", "late", '{"text": "written meanwhile"}')
    lan.laptop.up(listen=ANYWHERE)

    lan.phone.up(listen=ANYWHERE)
    lan.phone.run("sync", "--wait")

    assert lan.laptop.run("get", "memory", "facts", "late") == {"text": "written meanwhile"}
    assert "10.77.0.77" in lan.address_of(lan.phone, "laptop")


def test_an_address_that_changes_under_a_running_node_is_found_again(lan: Lan) -> None:
    """A laptop is carried from one network to the next with its lid open."""
    lan.laptop.up(listen=ANYWHERE)
    lan.pair()
    lan.phone.up(listen=ANYWHERE)
    lan.phone.run("sync", "--wait")

    move(lan.machines[0], "10.77.0.99")
    lan.phone.run("put", "memory", "facts", "late", '{"text": "written after the move"}')
    # The old connection has to be found dead first: it hears no answer to its pings.
    lan.phone.run("sync", "--wait", "--timeout", "90")

    assert lan.laptop.run("get", "memory", "facts", "late") == {"text": "written after the move"}
    assert "10.77.0.99" in lan.address_of(lan.phone, "laptop")


def test_without_multicast_join_says_in_one_line_what_to_do_and_the_address_works(
    lan: Lan,
) -> None:
    """Guest networks block multicast; a person must not be left with a spinner."""
    for machine in lan.machines:
        block_multicast(machine)
    lan.laptop.up(listen=ANYWHERE)
    window = lan.laptop.start("pair", "--yes", "--json")
    assert window.stdout is not None
    shown = json.loads(window.stdout.readline())

    alone = lan.phone.attempt("join", shown["code"], "--yes", "--timeout", "3")
    told = [line for line in alone.stderr.splitlines() if line.startswith("covey:")]
    joined = lan.phone.attempt(
        "join", shown["code"], "--yes", "--json", "--address", shown["addresses"][0]
    )
    window.communicate(timeout=COMMAND_SECONDS_MAX)

    assert alone.returncode == 4
    assert len(told) == 1 and "--address" in told[0]
    assert joined.returncode == 0, joined.stderr
    lan.phone.up(listen=ANYWHERE)
    lan.laptop.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
    lan.phone.run("sync", "--wait")
    assert lan.phone.run("get", "memory", "facts", "tea") == {"text": "likes tea"}


def test_a_pulled_cable_is_survived(lan: Lan) -> None:
    """What was written while the network was gone arrives when it is back."""
    lan.laptop.up(listen=ANYWHERE)
    lan.pair()
    lan.machines[1].unplug()
    lan.phone.up(listen=ANYWHERE)
    lan.phone.run("put", "memory", "facts", "dark", '{"text": "written in the tunnel"}')
    nobody = lan.phone.attempt("sync", "--wait", "--timeout", "2", "--json")

    lan.machines[1].plug()
    lan.phone.run("sync", "--wait", "--timeout", "60")

    assert nobody.returncode == 4
    assert lan.laptop.run("get", "memory", "facts", "dark") == {"text": "written in the tunnel"}
