"""Interfaces: the network interfaces of this machine and their addresses, right now.

Read from the system each time, because they change under us: a cable, another Wi-Fi, a VPN. From
one reading follow the addresses we speak multicast from, those we announce to others, and
whether an address that somebody announced lies in a network we are part of.

`host` is what the node listens on: `::` for all addresses, `0.0.0.0` for all of IPv4, or one
address, to which then everything here is limited. Loopback is announced only by whoever has
nothing else, since every other machine would find itself there.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ifaddr

ANNOUNCED_MAX = 16

IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that has an address. `index` is the scope of its link-local addresses."""

    name: str
    index: int
    addresses: tuple[IPInterface, ...]

    @property
    def is_loopback(self) -> bool:
        return all(address.ip.is_loopback for address in self.addresses)


def read_interfaces() -> tuple[Interface, ...]:
    """Ask the system, which takes well under a millisecond. Raises: OSError.

    An IPv6 address that cannot be used yet, which is so for two seconds after a cable is
    plugged in, counts as absent.
    """
    found = []
    for adapter in ifaddr.get_adapters():
        index = adapter.index or 0
        addresses = [
            ipaddress.ip_interface((ip.ip if isinstance(ip.ip, str) else ip.ip[0], _prefix(ip)))
            for ip in adapter.ips
            if isinstance(ip.ip, str) or _is_ready(ip.ip[0], index)
        ]
        if addresses:
            found.append(Interface(adapter.name, index, tuple(addresses)))
    return tuple(found)


def fingerprint(interfaces: Iterable[Interface]) -> frozenset[tuple[str, str]]:
    """What must be equal for the network to be the same: interfaces and their addresses.

    The host ends of container networks come and go without changing where anybody can be reached.
    """
    return frozenset(
        (interface.name, str(address))
        for interface in interfaces
        if not interface.name.startswith(("veth", "docker", "br-"))
        for address in interface.addresses
    )


def multicast_sources(interfaces: Iterable[Interface], host: str) -> list[str]:
    """The addresses to send and receive mDNS on: every IPv4 one, and one of IPv6 an interface.

    Link-local where there is one: only then do receivers learn the scope. Loopback speaks IPv4
    only, as the kernel has no route for IPv6 multicast there.
    """
    sources: list[str] = []
    for interface in interfaces:
        usable = [a.ip for a in interface.addresses if _serves(host, a.ip)]
        sources += [str(ip) for ip in usable if ip.version == 4]
        over_ipv6 = [ip for ip in usable if ip.version == 6 and not ip.is_loopback]
        over_ipv6.sort(key=lambda ip: not ip.is_link_local)
        sources += [str(ip) for ip in over_ipv6[:1]]
    return sources


def announced_addresses(interfaces: Iterable[Interface], host: str) -> list[str]:
    """The addresses others may reach us at, IPv4 first, at most 16."""
    ours = [a.ip for each in interfaces for a in each.addresses if _serves(host, a.ip)]
    reachable = [ip for ip in ours if not ip.is_loopback] or ours
    reachable.sort(key=lambda ip: (ip.version, ip.is_link_local))
    return [str(ip) for ip in reachable[:ANNOUNCED_MAX]]


def nearest_first(addresses: Iterable[str], interfaces: Sequence[Interface]) -> list[str]:
    """Order what somebody announced: our own networks first, then IPv4, then the rest.

    A link-local address without a scope gets one for each interface it may be on, two at most:
    without, it leads nowhere. Drops what is no address of a machine, and loopback unless there
    is nothing else.
    """
    networks = [a.network for each in interfaces for a in each.addresses]
    scopes = [
        each.index
        for each in interfaces
        if not each.is_loopback and any(a.version == 6 for a in each.addresses)
    ]
    ranked: list[tuple[tuple[bool, int, bool, str], str]] = []
    for text in dict.fromkeys(addresses):
        literal, _, scope = text.partition("%")
        try:
            ip = ipaddress.ip_address(literal)
        except ValueError:
            continue
        if ip.is_multicast or ip.is_unspecified or ip == ipaddress.IPv4Address("255.255.255.255"):
            continue
        far = not any(ip in network for network in networks)
        rank = (far, ip.version, ip.is_link_local, str(ip))
        if ip.version == 6 and ip.is_link_local and not scope:
            ranked += [(rank, f"{ip}%{index}") for index in scopes[:2]]
        else:
            ranked.append((rank, f"{ip}%{scope}" if scope else str(ip)))
    texts = [text for _, text in sorted(ranked)]
    return [text for text in texts if not _is_loopback(text)] or texts


def _is_loopback(text: str) -> bool:
    return ipaddress.ip_address(text.partition("%")[0]).is_loopback


def _serves(host: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a listener on `host` can be reached at `ip`."""
    if host == "::":
        return True
    return ip.version == 4 if host == "0.0.0.0" else host.partition("%")[0] == str(ip)


def _prefix(ip: ifaddr.IP) -> int:
    # Point-to-point links can report no mask; then the address is its own network.
    longest = 32 if ip.is_IPv4 else 128
    return ip.network_prefix if 0 <= ip.network_prefix <= longest else longest


def _is_ready(ipv6: str, index: int) -> bool:
    """Whether the system lets us bind the address: it does not while it looks for a duplicate."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            scope = index if ipaddress.IPv6Address(ipv6).is_link_local else 0
            probe.bind((ipv6, 0, 0, scope))
    except OSError:
        return False
    return True
