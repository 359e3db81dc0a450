"""Ticket: what the picture beside a pairing code says, and the same as text to paste.

`covey1:` and base32 of the mesh, the public key that the pairing window uses in its handshakes, a
16-byte token, and where the window may be reached. Whoever holds the text may join once, so it is a
secret: it is shown on a screen, read by a camera or pasted at a prompt, and stands in no argument
of a command. It is worth nothing after its first use, or after five minutes.

A text that was read wrong is told from a wrong one by its last bytes. One ticket has one text; when
reading, case and white space are ignored, since terminals break lines and pictures hold capitals.

Spec: docs/protocol.md, section 6. Sizes are bytes.
"""

from base64 import b32decode, b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..crypto.errors import FormatError
from ..crypto.pairing import QR_CHECK_BYTES, TOKEN_BYTES, qr_check
from ..crypto.secret import Secret
from .ports import Address

PREFIX = "covey1:"
MESH_BYTES = 16
STATIC_BYTES = 32
ADDRESSES_MAX = 4
CHARACTERS_MAX = 512
"""As pasted, white space counted; the longest ticket has 239."""
_FIXED_BYTES = MESH_BYTES + STATIC_BYTES + TOKEN_BYTES + 1
_PORT_BYTES = 2
_ADDRESS_BYTES = {4: 4, 6: 16}


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """`static` is public, `token` is not. Addresses are IP literals without a scope."""

    mesh: bytes
    static: bytes
    token: Secret
    addresses: tuple[Address, ...]

    def text(self) -> str:
        """The text to paste. The picture holds the same in capitals."""
        content = b"".join(
            (
                self.mesh,
                self.static,
                self.token.reveal(),
                bytes((len(self.addresses),)),
                *(_encoded(address) for address in self.addresses),
            )
        )
        letters = b32encode(content + qr_check(content)).decode().rstrip("=")
        return PREFIX + letters


def is_ticket(text: str) -> bool:
    """Whether somebody means this to be a ticket, be it valid or not."""
    return text.strip()[: len(PREFIX)].lower() == PREFIX


def read_ticket(text: str) -> Ticket:
    """Read what was scanned or pasted. Raises FormatError, in whose words nothing of it occurs."""
    if len(text) > CHARACTERS_MAX:
        raise FormatError(f"pairing text: {len(text)} characters, at most {CHARACTERS_MAX}")
    plain = "".join(text.split())
    if not is_ticket(plain) or not plain.isascii():
        raise FormatError(f"pairing text: it does not start with {PREFIX} or is not all of it")
    letters = plain[len(PREFIX) :].upper()
    try:
        data = b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        data = b""
    content, check = data[:-QR_CHECK_BYTES], data[-QR_CHECK_BYTES:]
    if len(content) < _FIXED_BYTES or qr_check(content) != check:
        raise FormatError("pairing text: it was cut or mistyped: copy all of it")
    static_at, token_at = MESH_BYTES, MESH_BYTES + STATIC_BYTES
    ticket = Ticket(
        content[:static_at],
        content[static_at:token_at],
        Secret(content[token_at : token_at + TOKEN_BYTES]),
        _addresses(content[_FIXED_BYTES - 1 :]),
    )
    if ticket.text()[len(PREFIX) :] != letters:
        raise FormatError("pairing text: a second spelling of another one")
    return ticket


def for_ticket(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Those of our addresses that mean the same on another machine, at most 4, best first."""
    fit = []
    for address in dict.fromkeys(addresses):
        try:
            ip = ip_address(address.host)
        except ValueError:
            continue  # A name, which others may not know.
        if "%" not in address.host and not (
            ip.is_unspecified or ip.is_multicast or (ip.version == 6 and ip.is_link_local)
        ):
            fit.append(Address(str(ip), address.port))
    return tuple(fit[:ADDRESSES_MAX])


def _encoded(address: Address) -> bytes:
    ip = ip_address(address.host)
    return bytes((ip.version,)) + ip.packed + address.port.to_bytes(_PORT_BYTES, "big")


def _addresses(data: bytes) -> tuple[Address, ...]:
    """A count, and so many addresses: family, IP, port. Raises FormatError."""
    found, at = [], 1
    for _ in range(data[0]):
        size = _ADDRESS_BYTES.get(data[at] if at < len(data) else 0, 0)
        end = at + 1 + size + _PORT_BYTES
        if not size or end > len(data):
            raise FormatError("pairing text: an address in it is none")
        packed = data[at + 1 : at + 1 + size]
        ip = IPv4Address(packed) if size == 4 else IPv6Address(packed)
        found.append(Address(str(ip), int.from_bytes(data[end - _PORT_BYTES : end], "big")))
        at = end
    usable = len(found) <= ADDRESSES_MAX and len({*found}) == len(found)
    if at != len(data) or not usable or not all(address.port for address in found):
        raise FormatError(
            "pairing text: its addresses are too many, or one is twice or has no port"
        )
    return tuple(found)
