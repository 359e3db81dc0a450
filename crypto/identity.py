"""Identity: the three key pairs of a device, its certificate, and the ids and names people see.

A device is its 32-byte public `sig` key. The shown id is a hash of it with two check characters,
made to be read aloud; the short id is its beginning and only ever a label. The three pairs (`sig`
signs, `dh` is the Noise static key, `seal` receives keys) are drawn separately and never converted
into one another.

A certificate says which keys belong together in one mesh. `read_certificate` verifies it over the
bytes received, and refuses public keys that cannot be used: one such key would otherwise make every
later grant to the whole mesh fail. It does not say that the device is a member.

Names of devices and meshes are user text; `check_name` keeps out what a terminal would obey or an
eye would miss.

Spec: docs/protocol.md, section 1; RFC 8032, RFC 7748. Times are milliseconds since 1970; sizes are
bytes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumRuntimeError

from .errors import FormatError
from .hashing import digest
from .secret import Secret

LABEL_DEVICE_ID = b"cvy-device-id-v1"
LABEL_ID_CHECK = b"cvy-id-check--v1"
LABEL_CERTIFICATE = b"cvy-cert-v1\0"

KEY_BYTES = 32
SIGNATURE_BYTES = 64
DEVICE_KEYS_BYTES = 96
FORMER_SEALS_MAX = 31
CERTIFICATE_BYTES = 188
CERTIFICATE_MAGIC = b"CVC1"
_SIGNED_BYTES = 124

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SHOWN_ID_CHARACTERS = 34  # 32 of the id, 2 of the check; hyphens not counted
_ID_DIGEST_BYTES = 20
_READ_AS = str.maketrans("ILO", "110")
_CURVE25519_PRIME = 2**255 - 19
_ANY_SCALAR = b"\1" * 32  # X25519 makes a multiple of 8 of it, so every small order shows as zero

NAME_CHARACTERS_MAX = 40
# Listed by hand: asking `unicodedata` would make the answer depend on the version of Python, and
# two nodes must not differ about a name. Default_Ignorable_Code_Point of Unicode 15, and controls.
_REFUSED_IN_NAMES = (
    ("a control character", ((0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029), (0xFFF9, 0xFFFB))),
    ("a writing-direction mark", ((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E))),
    ("a writing-direction mark", ((0x2066, 0x2069),)),
    ("half of a surrogate pair", ((0xD800, 0xDFFF),)),
    (
        "an invisible character",
        (
            *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5)),
            *((0x180B, 0x180F), (0x200B, 0x200D), (0x2060, 0x2065), (0x206A, 0x206F)),
            *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0)),
            *((0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
        ),
    ),
)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class DeviceKeys:
    """The private and public keys of one device. Shows no secret, and cannot be pickled."""

    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes
    _sig: Secret  # libsodium's 64 bytes, seed and public key: nothing is derived per signature
    _dh: Secret
    _seal: Secret
    _former_seals: tuple[Secret, ...] = ()

    @classmethod
    def generate(cls, draw: Callable[[int], bytes]) -> DeviceKeys:
        """Make the keys of a new device. `draw(n)` returns n bytes fit for keys."""
        return cls.decode(draw(KEY_BYTES) + draw(KEY_BYTES) + draw(KEY_BYTES))

    @classmethod
    def decode(cls, data: bytes) -> DeviceKeys:
        """Rebuild the keys from what `encode` gave.

        Raises: FormatError if that is not 96 bytes, and 32 for each former `seal` key.
        """
        former = [
            data[at : at + KEY_BYTES] for at in range(DEVICE_KEYS_BYTES, len(data), KEY_BYTES)
        ]
        if len(data) < DEVICE_KEYS_BYTES or len(data) % KEY_BYTES or len(former) > FORMER_SEALS_MAX:
            raise FormatError(
                f"device keys: {len(data)} bytes, must be {DEVICE_KEYS_BYTES}, and {KEY_BYTES} for"
                f" each of at most {FORMER_SEALS_MAX} former keys"
            )
        sig_pk, sig = crypto_sign_seed_keypair(data[:32])
        dh, seal = data[32:64], data[64:96]
        return cls(
            sig_pk=sig_pk,
            dh_pk=crypto_scalarmult_base(dh),
            seal_pk=crypto_scalarmult_base(seal),
            _sig=Secret(sig),
            _dh=Secret(dh),
            _seal=Secret(seal),
            _former_seals=tuple(map(Secret, former)),
        )

    def encode(self) -> Secret:
        """Return the 96 secret bytes: `sig` seed, `dh` and `seal` private keys; then the `seal`
        keys before this one, newest first, 32 each.
        """
        seals = (self._seal, *self._former_seals)
        secrets = (self._sig.reveal()[:32], self._dh.reveal(), *(seal.reveal() for seal in seals))
        return Secret(b"".join(secrets))

    def renewed(self, seal: Secret) -> DeviceKeys:
        """Return these keys with another `seal` key, 32 bytes. What is sealed to one of the last 32
        still opens: whoever has not heard of the new one goes on using it.
        """
        kept = (self._seal, *self._former_seals)[:FORMER_SEALS_MAX]
        return replace(
            self,
            seal_pk=crypto_scalarmult_base(seal.reveal()),
            _seal=seal,
            _former_seals=kept,
        )

    def receiving_with(self, seal_pk: bytes) -> DeviceKeys | None:
        """Return these keys with the `seal` key of this public half as the present one; None if it
        is none of them.
        """
        seals = (self._seal, *self._former_seals)
        for at, seal in enumerate(seals):
            if crypto_scalarmult_base(seal.reveal()) == seal_pk:
                others = seals[:at] + seals[at + 1 :]
                return replace(self, seal_pk=seal_pk, _seal=seal, _former_seals=others)
        return None

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`, which starts with its label."""
        return crypto_sign(message, self._sig.reveal())[:SIGNATURE_BYTES]

    def dh_secret(self) -> Secret:
        """Return the X25519 private key of the Noise handshake, 32 bytes."""
        return self._dh

    def seal_secret(self) -> Secret:
        """Return the X25519 private key that opens sealed keys, 32 bytes."""
        return self._seal

    def seal_secrets(self) -> tuple[Secret, ...]:
        """Return every private key that opens what is sealed to this device, newest first."""
        return (self._seal, *self._former_seals)

    def __repr__(self) -> str:
        return f"<DeviceKeys of {short_id(self.sig_pk)}>"


def verify(sig_pk: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` of `message` by `sig_pk` is valid. Never raises for bytes.

    libsodium refuses small-order keys, second spellings of points and scalars that are not
    reduced. Its binding does not check sizes and would read past the end, so we do.
    """
    if len(sig_pk) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, sig_pk)
    except BadSignatureError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a device says of itself in one mesh. Only `read_certificate` makes a verified one."""

    mesh: bytes
    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes
    created_ms: int


def make_certificate(keys: DeviceKeys, mesh: bytes, created_ms: int) -> bytes:
    """Return the 188-byte certificate of a device for one mesh (16 bytes)."""
    assert len(mesh) == 16 and 0 <= created_ms < 2**64
    public = keys.sig_pk + keys.dh_pk + keys.seal_pk
    signed = CERTIFICATE_MAGIC + mesh + public + created_ms.to_bytes(8, "big")
    return signed + keys.sign(LABEL_CERTIFICATE + signed)


@lru_cache(maxsize=1024)
def read_certificate(data: bytes) -> Certificate:
    """Read and verify a certificate that comes from outside; one that was verified is remembered.

    Raises: FormatError for another size or magic, a public key that `check_public_keys`
    refuses, or a signature that does not verify.
    """
    if len(data) != CERTIFICATE_BYTES:
        raise FormatError(f"certificate: {len(data)} bytes, must be {CERTIFICATE_BYTES}")
    if data[:4] != CERTIFICATE_MAGIC:
        raise FormatError(f"certificate: starts with {data[:4].hex()}, not 43564331 (CVC1)")
    sig_pk, dh_pk, seal_pk = data[20:52], data[52:84], data[84:116]
    check_public_keys(sig_pk, dh_pk, seal_pk)
    if not verify(sig_pk, LABEL_CERTIFICATE + data[:_SIGNED_BYTES], data[_SIGNED_BYTES:]):
        raise FormatError("certificate: the signature is not by its own key")
    created_ms = int.from_bytes(data[116:124], "big")
    return Certificate(data[4:20], sig_pk, dh_pk, seal_pk, created_ms)


def check_public_keys(sig_pk: bytes, dh_pk: bytes, seal_pk: bytes) -> None:
    """Refuse public keys that no honest device has, before anything is sealed to them.

    The `sig` key must be a point of the prime-order group. The X25519 keys must be written in
    their one canonical form and must not be of small order: with such a key every exchange gives
    zero, and libsodium refuses to seal to it.

    Raises: FormatError, naming the key.
    """
    if len(sig_pk) != KEY_BYTES or not crypto_core_ed25519_is_valid_point(sig_pk):
        raise FormatError("device: the sig key is not a point of prime order")
    for name, public in (("dh", dh_pk), ("seal", seal_pk)):
        if len(public) != KEY_BYTES or int.from_bytes(public, "little") >= _CURVE25519_PRIME:
            raise FormatError(f"device: the {name} key is not in its canonical form")
        try:
            crypto_scalarmult(_ANY_SCALAR, public)
        except SodiumRuntimeError:
            raise FormatError(f"device: the {name} key is of small order") from None


def shown_id(sig_pk: bytes) -> str:
    """Return the id people compare: 34 Crockford characters in groups, `K7QF-3M2X-…-C4`."""
    assert len(sig_pk) == KEY_BYTES
    id_digest = blake2b(sig_pk, digest_size=_ID_DIGEST_BYTES, person=LABEL_DEVICE_ID).digest()
    letters = _base32(int.from_bytes(id_digest, "big"), 32)
    return _grouped(letters + _check_characters(id_digest))


def short_id(sig_pk: bytes) -> str:
    """Return the first 8 characters, `K7QF-3M2X`: a label for lists, never a look-up key."""
    return shown_id(sig_pk)[:9]


def parse_shown_id(text: str) -> str:
    """Return the canonical form of a shown id that a person typed.

    Case and hyphens are ignored, I and L read as 1, O as 0. A wrong character among the two
    check characters is always noticed; one among the other 32 in 1023 of 1024 cases.

    Raises: FormatError saying what is wrong.
    """
    # Not upper() on anything but ASCII: it turns a dotless i into an I.
    plain = "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in text if c != "-")
    plain = plain.translate(_READ_AS)
    for character in plain:
        if character not in CROCKFORD:
            raise FormatError(f"device id: {character!a} is not used in device ids")
    if len(plain) != SHOWN_ID_CHARACTERS:
        raise FormatError(
            f"device id: {len(plain)} letters and digits, must be {SHOWN_ID_CHARACTERS}"
        )
    value = 0
    for character in plain[:32]:
        value = value << 5 | CROCKFORD.index(character)
    if plain[32:] != _check_characters(value.to_bytes(_ID_DIGEST_BYTES, "big")):
        raise FormatError("device id: its last two characters do not fit the rest: mistyped?")
    return _grouped(plain)


def _check_characters(id_digest: bytes) -> str:
    """Return the two characters for the first 10 bits of the check hash."""
    return _base32(int.from_bytes(digest(LABEL_ID_CHECK, id_digest)[:2], "big") >> 6, 2)


def _base32(value: int, count: int) -> str:
    return "".join(CROCKFORD[value >> 5 * i & 31] for i in reversed(range(count)))


def _grouped(letters: str) -> str:
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def check_name(text: str) -> str:
    """Return the name of a device or a mesh in NFC, 1 to 40 characters.

    A name from a peer is good only if it comes back unchanged: peers send NFC.

    Raises: FormatError saying what is wrong, and naming the character by its number only.
    """
    name = unicodedata.normalize("NFC", text)
    for place, character in enumerate(name, start=1):
        if what := _refused_in_names(ord(character)):
            raise FormatError(f"name: character {place} is {what} (U+{ord(character):04X})")
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise FormatError(f"name: {len(name)} characters, must be 1 to {NAME_CHARACTERS_MAX}")
    if name != name.strip():
        raise FormatError("name: starts or ends with a space")
    return name


def _refused_in_names(code: int) -> str | None:
    """Return what kind of character this is if names may not contain it."""
    for what, ranges in _REFUSED_IN_NAMES:
        if any(first <= code <= last for first, last in ranges):
            return what
    return None
