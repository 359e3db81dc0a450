"""Membership operations: their encoding, and what a well-formed one of each kind looks like.

`decode_operation` reads any kind, known or not: what a newer version writes is kept and passed on.
`is_well_formed` then says whether the details of a known kind have the form that section 4 gives
them. That is a rule of the fold and not of the decoder: an operation with bad details stays in
everybody's history and counts for nobody.

Says nothing about who may do what, and reads no certificate: that is entitlement.py. Which words
a level, a role or a use may be is said there as well.

Spec: docs/protocol.md, sections 4 and 9. Ids and public keys are 32 bytes, tags and instances 16.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from .errors import DecodeError
from .packing import pack, unpack
from .session_limits import (
    CAPABILITIES_MAX,
    CERTIFICATE_BYTES,
    CONTROL_SCOPE,
    CUT_ROWS_MAX,
    DATABASE_BYTES_MAX,
    DEVICES_MAX,
    EPOCH_MAX,
    ID_BYTES,
    NAME_CHARACTERS_MAX,
    OPERATION_BYTES_MAX,
    OPERATION_TOKENS_MAX,
    PARENTS_MAX,
    SEALED_BYTES,
    SEQ_MAX,
    SETTING_BYTES_MAX,
    SETTING_KEY_BYTES_MAX,
    SETTINGS_MAX,
    TAG_BYTES,
    WORD_BYTES_MAX,
)

GENESIS = "genesis"
ENROLL = "enroll"
SET_LEVEL = "set-level"
SET_ROLE = "set-role"
RENAME = "rename"
DESCRIBE = "describe"
GRANT = "grant"
REVOKE = "revoke"
ADOPT = "adopt"
RECOVERY_REPLACE = "recovery-replace"
REQUEST = "request"
REKEY = "rekey"
POLICY = "policy"

_HLC_MAX = 2**64 - 1
_MS_MAX = 2**48 - 1
_SALT_BYTES = 16
_PRIVACY_MAX = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """One membership operation. `parents` are the heads its author knew, ascending."""

    kind: str
    parents: tuple[bytes, ...]
    hlc: int
    details: Mapping[str, Any]


class CertificateView(Protocol):
    """What is asked of a verified certificate."""

    @property
    def mesh(self) -> bytes: ...

    @property
    def sig_pk(self) -> bytes: ...

    @property
    def dh_pk(self) -> bytes: ...

    @property
    def seal_pk(self) -> bytes: ...


ReadCertificate = Callable[[bytes], CertificateView]
"""Reads and verifies the 188 bytes of a certificate. Raises a CoveyError if it is none."""
MeshId = Callable[[bytes], bytes]
"""The mesh id that the body of a genesis operation defines."""


def encode_operation(operation: Operation) -> bytes:
    """The body of its entry: canonical msgpack."""
    parents = list(operation.parents)
    return pack([operation.kind, parents, operation.hlc, dict(operation.details)])


def decode_operation(body: bytes) -> Operation:
    """The operation in a body, whatever its kind.

    Raises: DecodeError if it is not canonical msgpack of `[kind, parents, hlc, details]`, beyond
    128 KiB, or if the parents are not at most 64 ids in ascending order.
    """
    fields = unpack(body, bytes_max=OPERATION_BYTES_MAX, tokens_max=OPERATION_TOKENS_MAX)
    if type(fields) is not list or len(fields) != 4:
        raise DecodeError("operation: not an array of four")
    kind, parents, hlc, details = fields
    if not _is_word(kind) or not _is_number(hlc, 0, _HLC_MAX) or type(details) is not dict:
        raise DecodeError("operation: kind, time or details are not what they must be")
    if type(parents) is not list or len(parents) > PARENTS_MAX or not all(map(_is_id, parents)):
        raise DecodeError(f"operation: parents are not at most {PARENTS_MAX} ids")
    if not all(one < other for one, other in pairwise(parents)):
        raise DecodeError("operation: parents are out of order, or one comes twice")
    return Operation(kind, tuple(parents), hlc, details)


def is_known(kind: str) -> bool:
    """Whether this version applies operations of this kind."""
    return kind in _FORMS


def is_well_formed(operation: Operation) -> bool:
    """Whether an operation of a known kind has all its details, each of the right form.

    A field more is no fault: a later version may have put it there.
    """
    details = operation.details
    for key, check in _FORMS[operation.kind].items():
        if key not in details or not check(details[key]):
            return False
    optional = _OPTIONAL.get(operation.kind, {})
    return all(check(details[key]) for key, check in optional.items() if key in details)


def _is_id(value: object) -> bool:
    return type(value) is bytes and len(value) == ID_BYTES


def _is_word(value: object) -> bool:
    return type(value) is str and 1 <= len(value.encode()) <= WORD_BYTES_MAX


def _is_name(value: object) -> bool:
    return type(value) is str and 1 <= len(value) <= NAME_CHARACTERS_MAX


def _is_number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_bytes(size: int) -> Callable[[object], bool]:
    return lambda value: type(value) is bytes and len(value) == size


def _is_sealed(value: object) -> bool:
    """`[recipient, box]` rows, ascending by recipient, none twice."""
    if type(value) is not list or not 1 <= len(value) <= DEVICES_MAX:
        return False
    last = b""
    for row in value:
        if type(row) is not list or len(row) != 2:
            return False
        recipient, box = row
        if type(recipient) is not bytes or len(recipient) != ID_BYTES or recipient <= last:
            return False
        if type(box) is not bytes or len(box) != SEALED_BYTES:
            return False
        last = recipient
    return True


def _is_moment(value: object) -> bool:
    """Milliseconds since 1970, as many as a stamp can say."""
    return _is_number(value, 0, _MS_MAX)


def _is_recovery(value: object) -> bool:
    """`[sig, seal]`, the public keys of a recovery key."""
    return type(value) is list and len(value) == 2 and all(map(_is_id, value))


def _is_cut(value: object) -> bool:
    """`[scope, instance, seq, entry id]` rows, ascending by scope and instance, none twice."""
    if type(value) is not list or len(value) > CUT_ROWS_MAX:
        return False
    last = (b"", b"")
    for row in value:
        if type(row) is not list or len(row) != 4:
            return False
        scope, instance, seq, entry = row
        if not (_is_tag(scope) and _is_tag(instance) and _is_id(entry)):
            return False
        if not _is_number(seq, 1, SEQ_MAX) or (scope, instance) <= last:
            return False
        last = (scope, instance)
    return True


def _is_capabilities(value: object) -> bool:
    """Words in ascending order, none twice."""
    if type(value) is not list or len(value) > CAPABILITIES_MAX:
        return False
    return all(map(_is_word, value)) and all(one < other for one, other in pairwise(value))


def _is_database(value: object) -> bool:
    return type(value) is str and len(value.encode()) <= DATABASE_BYTES_MAX


def _is_settings(value: object) -> bool:
    """Keys to texts, numbers, yes or no, or nil for what is to be said no more.

    Which keys and values there are is policy.py's: those of later versions are no fault.
    """
    if type(value) is not dict or not 1 <= len(value) <= SETTINGS_MAX:
        return False
    return all(
        type(key) is str
        and 1 <= len(key.encode()) <= SETTING_KEY_BYTES_MAX
        and (
            said is None
            or type(said) in (bool, int)
            or (type(said) is str and len(said.encode()) <= SETTING_BYTES_MAX)
        )
        for key, said in value.items()
    )


_is_tag = _is_bytes(TAG_BYTES)
_is_certificate = _is_bytes(CERTIFICATE_BYTES)

_FORMS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    GENESIS: {
        "sig": _is_id,
        "dh": _is_id,
        "seal": _is_id,
        "name": _is_name,
        "type": _is_word,
        "salt": _is_bytes(_SALT_BYTES),
        "created": lambda value: _is_number(value, 0, _HLC_MAX),
    },
    ENROLL: {
        "cert": _is_certificate,
        "name": _is_name,
        "type": _is_word,
        "level": _is_word,
        "role": _is_word,
    },
    SET_LEVEL: {"device": _is_id, "level": _is_word},
    SET_ROLE: {"device": _is_id, "role": _is_word},
    RENAME: {"device": _is_id, "name": _is_name},
    DESCRIBE: {
        "device": _is_id,
        "relationship": lambda value: value == "" or _is_word(value),
        "use": lambda value: value == "" or _is_word(value),
        "capabilities": _is_capabilities,
    },
    GRANT: {
        "scope": _is_tag,
        "database": _is_database,
        "privacy": lambda value: _is_number(value, 0, _PRIVACY_MAX),
        "epoch": lambda value: _is_number(value, 1, EPOCH_MAX),
        "key_id": _is_id,
        "sealed": _is_sealed,
    },
    REVOKE: {"device": _is_id, "cut": _is_cut},
    ADOPT: {"device": _is_id, "cut": _is_cut},
    RECOVERY_REPLACE: {"recovery": _is_recovery},
    REQUEST: {"cert": _is_certificate, "name": _is_name, "type": _is_word, "level": _is_word},
    REKEY: {"cert": _is_certificate},
    POLICY: {
        "device": lambda value: value == b"" or _is_id(value),
        "database": _is_database,
        "set": _is_settings,
    },
}

_OPTIONAL: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    GENESIS: {"recovery": _is_recovery},
    ENROLL: {"expires": _is_moment},
    REQUEST: {"expires": _is_moment},
    SET_LEVEL: {"expires": _is_moment},
}


def is_control_grant(details: Mapping[str, Any]) -> bool:
    """Whether a well-formed grant is of the control key."""
    return bool(details["scope"] == CONTROL_SCOPE)
