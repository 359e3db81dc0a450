"""Real multicast DNS: two processes find each other, over whatever this machine has."""

import asyncio
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from covey.node.interfaces import read_interfaces
from covey.node.mdns import DiscoveryUnavailable, MulticastDiscovery
from covey.node.ports import SERVICE_MEMBER, Address, Sighting

from . import netns

ROOT = Path(__file__).resolve().parent.parent
GIVE_UP_S = 30
LABELS = (secrets.token_hex(4), secrets.token_hex(4))

NODE = """
import asyncio, json, sys
from covey.node.mdns import MulticastDiscovery
from covey.node.ports import SERVICE_MEMBER

async def main(ours, theirs, port):
    discovery = MulticastDiscovery()
    updated = asyncio.Event()

    def seen(sighting):
        addresses = [[a.host, a.port] for a in sighting.addresses]
        properties = dict(sighting.properties)
        print(json.dumps([sighting.instance, addresses, properties]), flush=True)
        if sighting.instance == theirs and properties["h"] == "second":
            updated.set()

    await discovery.browse(SERVICE_MEMBER, seen)
    announcement = await discovery.announce(SERVICE_MEMBER, ours, port, {"v": "1", "h": "first"})
    await asyncio.to_thread(sys.stdin.readline)
    await announcement.update({"v": "1", "h": "second"})
    await updated.wait()
    await asyncio.to_thread(sys.stdin.readline)
    await discovery.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@cache
def multicast_missing() -> str | None:
    """None if a multicast datagram sent on loopback comes back, else the reason to skip."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            receiver.bind(("", 0))
            group = socket.inet_aton("239.255.77.77") + socket.inet_aton("127.0.0.1")
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            receiver.settimeout(2)
            sender.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            sender.sendto(b"here", ("239.255.77.77", receiver.getsockname()[1]))
            receiver.recv(16)
        except OSError as error:
            return f"no multicast on this machine: {error}"
    return None


@pytest.fixture
def _multicast() -> None:
    if (missing := multicast_missing()) is not None:
        pytest.skip(missing)


class Node:
    """A process that announces itself and prints what it sees, one line each."""

    def __init__(self, ours: str, theirs: str, port: int, prefix: list[str]) -> None:
        self.ours, self.other = ours, theirs
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "error", "-c", NODE, ours, theirs, str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sees(self, hint: str) -> list[Any]:
        """The addresses of the other one, once it is seen with that hint."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            instance, addresses, properties = json.loads(line)
            assert instance != self.ours, "a node must not see itself"
            # Other nodes of this machine may be about.
            if instance == self.other and properties == {"v": "1", "h": hint}:
                return list(addresses)
        raise AssertionError(f"ended early: {self.process.communicate()[1]}")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    started: list[Node] = []
    yield started
    for node in started:
        node.process.kill()
        node.process.communicate()


def meet(nodes: list[Node], prefixes: tuple[list[str], list[str]]) -> tuple[list[Any], list[Any]]:
    """Two nodes find each other, see an update, and end without complaint."""
    nodes.append(Node(LABELS[0], LABELS[1], 7001, prefixes[0]))
    nodes.append(Node(LABELS[1], LABELS[0], 7002, prefixes[1]))
    found = [node.sees("first") for node in nodes]
    for node in nodes:
        node.go_on()
    for node in nodes:
        node.sees("second")
    for node in nodes:
        node.go_on()
    for node in nodes:
        _, errors = node.process.communicate(timeout=GIVE_UP_S)
        assert (node.process.returncode, errors) == (0, "")
    return found[0], found[1]


@pytest.mark.usefixtures("_multicast")
def test_two_processes_of_one_machine_find_each_other(nodes: list[Node]) -> None:
    """The first thing anybody tries."""
    by_a, by_b = meet(nodes, ([], []))

    assert {port for _, port in by_a} == {7002}
    assert {port for _, port in by_b} == {7001}


@pytest.mark.usefixtures("_multicast")
def test_two_machines_on_one_network_find_each_other(nodes: list[Node]) -> None:
    """With the address on the network they share, and never a host name."""
    if (missing := netns.available()) is not None:
        pytest.skip(missing)
    with netns.namespaces(2) as (a, b):
        by_a, by_b = meet(nodes, (a.command(), b.command()))

    assert by_a[0] == [b.address, 7002]
    assert by_b[0] == [a.address, 7001]


@pytest.mark.usefixtures("_multicast")
def test_a_machine_with_nothing_but_loopback_is_enough(nodes: list[Node]) -> None:
    """On a train without Wi-Fi two nodes of one machine must still meet."""
    if (missing := netns.available()) is not None:
        pytest.skip(missing)
    with netns.namespaces(1) as (machine,):
        machine.run("ip", "link", "del", "eth0")
        by_a, by_b = meet(nodes, (machine.command(), machine.command()))

    assert by_a[0] == ["127.0.0.1", 7002]
    assert by_b[0] == ["127.0.0.1", 7001]


@pytest.mark.usefixtures("_multicast")
def test_without_any_network_the_reason_and_the_cure_are_told(tmp_path: Path) -> None:
    """The node goes on; the person learns that an address will do."""
    if (missing := netns.available()) is not None:
        pytest.skip(missing)
    program = """
import asyncio
from covey.node.mdns import DiscoveryUnavailable, MulticastDiscovery
async def main():
    discovery = MulticastDiscovery()
    try:
        await discovery.browse("_covey._tcp.local.", print)
    except DiscoveryUnavailable as unavailable:
        print(unavailable)
    await discovery.close()
asyncio.run(main())
"""
    with netns.namespaces(1) as (machine,):
        machine.run("ip", "link", "del", "eth0")
        machine.run("ip", "link", "set", "lo", "down")
        machine.run("ip", "addr", "flush", "dev", "lo")
        done = machine.run(sys.executable, "-W", "error", "-c", program)

    assert done.stdout == (
        "local discovery does not work (no network interface has an address): give the other"
        " device's HOST:PORT with --address, or start with --no-mdns\n"
    )
    assert done.stderr == ""


@pytest.mark.usefixtures("_multicast")
async def test_closing_leaves_nothing_running() -> None:
    """A stopped node must be gone from the network and from the event loop."""
    discovery = MulticastDiscovery()
    seen: list[Sighting] = []
    browsing = await discovery.browse(SERVICE_MEMBER, seen.append)
    announcement = await discovery.announce(SERVICE_MEMBER, "cccc3333", 7003, {"v": "1"})
    await discovery.refresh()
    await announcement.close()
    await browsing.close()
    await discovery.close()
    await discovery.close()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert all(sighting.instance != "cccc3333" for sighting in seen)


async def test_a_machine_that_refuses_multicast_sockets_is_no_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sandboxes and phones do; everything but local discovery must work there."""
    import zeroconf.asyncio

    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(zeroconf.asyncio, "AsyncZeroconf", refuse)
    discovery = MulticastDiscovery()

    with pytest.raises(DiscoveryUnavailable, match="Operation not permitted"):
        await discovery.announce(SERVICE_MEMBER, "cccc3333", 7003, {"v": "1"})
    await discovery.close()


def test_interfaces_have_addresses_that_can_be_dialled() -> None:
    """What is announced is made from these."""
    hosts = [str(ip.ip) for each in read_interfaces() for ip in each.addresses]

    assert all(str(Address(host, 1)).endswith(":1") for host in hosts)
