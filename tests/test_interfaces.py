"""Interfaces: which addresses we speak from, announce and try, and in which order."""

import ipaddress

from covey.node.interfaces import (
    ANNOUNCED_MAX,
    Interface,
    announced_addresses,
    fingerprint,
    multicast_sources,
    nearest_first,
    read_interfaces,
)


def interface(name: str, index: int, *addresses: str) -> Interface:
    return Interface(name, index, tuple(ipaddress.ip_interface(each) for each in addresses))


LO = interface("lo", 1, "127.0.0.1/8", "::1/128")
WIFI = interface("wlan0", 2, "192.168.1.5/24", "2001:db8::5/64", "fe80::5/64")
CABLE = interface("eth0", 3, "10.0.0.5/8", "fe80::6/64")


def test_multicast_is_spoken_on_every_interface() -> None:
    """The other device may be on any of them; link-local IPv6 tells receivers the scope."""
    assert multicast_sources([LO, WIFI, CABLE], "::") == [
        "127.0.0.1",
        "192.168.1.5",
        "fe80::5",
        "10.0.0.5",
        "fe80::6",
    ]


def test_all_addresses_but_loopback_are_announced() -> None:
    """Another machine would find itself at our loopback address."""
    assert announced_addresses([LO, WIFI], "::") == ["192.168.1.5", "2001:db8::5", "fe80::5"]


def test_a_machine_that_has_only_loopback_announces_that() -> None:
    """Two nodes on an unplugged machine must find each other."""
    assert announced_addresses([LO], "::") == ["127.0.0.1", "::1"]


def test_a_node_that_listens_on_one_address_announces_no_other() -> None:
    """What is announced must answer."""
    assert announced_addresses([LO, WIFI, CABLE], "10.0.0.5") == ["10.0.0.5"]
    assert announced_addresses([LO, WIFI], "0.0.0.0") == ["192.168.1.5"]
    assert announced_addresses([LO, WIFI], "127.0.0.1") == ["127.0.0.1"]
    assert multicast_sources([LO, WIFI], "127.0.0.1") == ["127.0.0.1"]


def test_a_machine_with_very_many_addresses_announces_a_few() -> None:
    """The packet must stay small."""
    crowded = interface("eth0", 2, *(f"10.0.0.{n}/8" for n in range(1, 100)))

    assert len(announced_addresses([crowded], "::")) == ANNOUNCED_MAX


def test_addresses_in_our_own_networks_come_first() -> None:
    """Container bridges and VPNs are announced too, and lead nowhere from here."""
    announced = ["172.17.0.1", "2001:db8::9", "192.168.1.9"]

    assert nearest_first(announced, [LO, WIFI]) == ["192.168.1.9", "2001:db8::9", "172.17.0.1"]


def test_a_link_local_address_without_a_scope_gets_ours() -> None:
    """It arrived over IPv4, where the scope is not told; without it nothing can be dialled."""
    assert nearest_first(["fe80::9"], [LO, WIFI]) == ["fe80::9%2"]
    assert nearest_first(["fe80::9"], [LO, WIFI, CABLE]) == ["fe80::9%2", "fe80::9%3"]
    assert nearest_first(["fe80::9%3"], [LO, WIFI, CABLE]) == ["fe80::9%3"]


def test_what_is_no_address_of_a_machine_is_dropped() -> None:
    """Anybody can announce anything."""
    nonsense = ["224.0.0.1", "0.0.0.0", "::", "255.255.255.255", "ff02::1", "nonsense", ""]

    assert nearest_first([*nonsense, "192.0.2.1"], [LO, WIFI]) == ["192.0.2.1"]


def test_loopback_is_tried_only_if_nothing_else_is_announced() -> None:
    """It is our own machine that would be called there."""
    assert nearest_first(["127.0.0.1", "192.0.2.1"], [LO, WIFI]) == ["192.0.2.1"]
    assert nearest_first(["127.0.0.1"], [LO]) == ["127.0.0.1"]


def test_the_order_does_not_depend_on_the_order_of_arrival() -> None:
    """Or the same announcement over two families would be news each time."""
    forth = ["192.168.1.9", "fe80::9%2", "2001:db8::9"]

    assert nearest_first(forth, [LO, WIFI]) == nearest_first(reversed(forth), [LO, WIFI])


def test_container_networks_do_not_change_where_we_are() -> None:
    """They come and go by the minute, and every change ends all waiting."""
    veth = interface("veth1234", 9, "fe80::9/64")

    assert fingerprint([LO, WIFI]) == fingerprint([LO, WIFI, veth])
    assert fingerprint([LO, WIFI]) != fingerprint([LO, WIFI, CABLE])


def test_this_machine_has_a_loopback_interface() -> None:
    """The one fact about real interfaces that holds everywhere."""
    assert any(each.is_loopback for each in read_interfaces())
