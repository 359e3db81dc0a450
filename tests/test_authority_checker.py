"""What the checkers of names and authors take for granted: who was ever what, by all operations."""

from typing import Any

from covey.crypto.identity import DeviceKeys, make_certificate
from covey.simulations.checkers.authority import said
from covey.sync.operations import (
    ENROLL,
    GENESIS,
    RECOVERY_REPLACE,
    SET_LEVEL,
    SET_ROLE,
    Operation,
)
from covey.sync.registry import Ignored, Registry

MESH = bytes(16)
FOUNDER, MEMBER, PAPER = b"f" * 32, b"m" * 32, b"p" * 32
GENESIS_DETAILS = {
    "sig": FOUNDER, "dh": b"d" * 32, "seal": b"s" * 32, "name": "laptop", "type": "laptop",
    "salt": bytes(16), "created": 1,
}  # fmt: skip


def levels_and_admins(
    *written: tuple[str, dict[str, Any]], ignored: Ignored | None = None
) -> tuple[dict[bytes, list[str]], list[bytes]]:
    """What these operations say of anybody; `ignored` is why the last of them does not count."""
    operations = {
        bytes([number]) * 32: (FOUNDER, Operation(kind, (), number, details))
        for number, (kind, details) in enumerate(written)
    }
    last = next(reversed(operations))
    found = said(operations, Registry(ignored={last: ignored} if ignored else {}))
    return found.levels, list(found.admins)


def test_the_founder_is_a_full_admin() -> None:
    """No operation says so in as many words."""
    assert levels_and_admins((GENESIS, GENESIS_DETAILS)) == ({FOUNDER: ["full"]}, [FOUNDER])


def test_a_device_has_been_all_that_it_was_enrolled_and_made() -> None:
    """What it did as an admin of level full is as good after it was made a guest."""
    keys = DeviceKeys.decode(bytes(range(96)))
    enrolment = {
        "cert": make_certificate(keys, MESH, 1), "name": "phone", "type": "phone",
        "level": "full", "role": "admin",
    }  # fmt: skip

    levels, admins = levels_and_admins(
        (ENROLL, enrolment),
        (SET_ROLE, {"device": keys.sig_pk, "role": "member"}),
        (SET_LEVEL, {"device": keys.sig_pk, "level": "guest"}),
    )

    assert levels == {keys.sig_pk: ["full", "guest"]}
    assert admins == [keys.sig_pk]


def test_a_member_that_is_made_an_admin_has_been_one() -> None:
    """Roles are given by operations of their own, too."""
    made = (SET_ROLE, {"device": MEMBER, "role": "admin"})

    assert levels_and_admins(made) == ({}, [MEMBER])


def test_a_recovery_key_is_a_full_admin() -> None:
    """It is no device, and writes all the same."""
    replaced = (RECOVERY_REPLACE, {"recovery": [PAPER, b"s" * 32]})
    founded = (GENESIS, {**GENESIS_DETAILS, "recovery": [PAPER, b"s" * 32]})

    assert levels_and_admins(replaced) == ({PAPER: ["full"]}, [PAPER])
    assert levels_and_admins(founded)[1] == [FOUNDER, PAPER]


def test_what_was_never_entitled_says_nothing_and_what_was_voided_later_does() -> None:
    """Before it was voided, others acted on it in good faith."""
    made = (SET_LEVEL, {"device": MEMBER, "level": "full"})

    assert levels_and_admins(made, ignored=Ignored.NOT_ENTITLED) == ({}, [])
    assert levels_and_admins(made, ignored=Ignored.VOIDED) == ({MEMBER: ["full"]}, [])


def test_what_is_no_operation_is_passed_over() -> None:
    """Whoever is hostile writes anything, and some of it is never judged."""
    rubbish: list[tuple[str, dict[str, Any]]] = [
        (GENESIS, {}),
        (ENROLL, {"cert": b"", "level": "full"}),
        (ENROLL, {"cert": bytes(188), "name": "x", "type": "x", "level": "full", "role": "admin"}),
        ("hostile", {"device": MEMBER, "role": "admin", "level": "full"}),
    ]

    assert levels_and_admins(*rubbish) == ({}, [])
