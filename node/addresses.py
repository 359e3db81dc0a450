"""Addresses as people type them."""

from ipaddress import ip_address

from .. import CoveyError
from .ports import Address


class BadAddressError(CoveyError):
    """A typed address is not HOST:PORT. Nothing was tried."""

    exit_code = 2


def parse_address(text: str) -> Address:
    """`HOST:PORT` or `[IPv6]:PORT`. Raises BadAddressError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadAddressError(f"{text!r} is no address: HOST:PORT was expected")
    return Address(host, int(port))


def is_unspecified(address: Address) -> bool:
    """Whether this is what one listens on to be found at every address, or a name of whatever."""
    try:
        return ip_address(address.host.partition("%")[0]).is_unspecified
    except ValueError:
        return True
