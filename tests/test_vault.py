"""Vault: every way of unlocking gives the same key, and nothing but a whole header opens."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import nacl.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto import vault, vault_slots
from covey.crypto.recovery import RecoveryKeys
from covey.crypto.secret import Secret
from covey.crypto.vault import (
    COST_DEFAULT,
    COST_FLOOR,
    HEADER_BYTES_MAX,
    SLOTS_MAX,
    Argon2Cost,
    FileKey,
    KeyringKey,
    LockKey,
    NoSuchSlotError,
    PaperKey,
    PaperLock,
    PassphraseKey,
    SlotKind,
    SlotLimitError,
    UnlockKey,
    VaultDamagedError,
    VaultMemoryError,
    WrongKeyError,
    add_slot,
    create_vault,
    open_slot,
    open_vault,
    remove_slot,
    slots,
    vault_id,
)

VECTOR = json.loads((Path(__file__).parent / "vectors" / "covey_vault.json").read_text())

ID = b"sixteen byte id."
FILE = FileKey(Secret(b"f" * 32))
OTHER_FILE = FileKey(Secret(b"o" * 32))
RING = KeyringKey(Secret(b"r" * 32))
PAPER = RecoveryKeys.from_seed(Secret(b"p" * 32))
OTHER_PAPER = RecoveryKeys.from_seed(Secret(b"q" * 32))


def phrase(text: str) -> PassphraseKey:
    return PassphraseKey(Secret(text.encode()))


def entropy(seed: str = "seed") -> Callable[[int], bytes]:
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return blake2b(f"{seed} {count}".encode(), digest_size=size).digest()

    return draw


def made(*keys: LockKey) -> tuple[bytes, Secret]:
    header, vault_key = create_vault(ID, keys, entropy(), COST_FLOOR)
    return header, vault_key


def with_checksum(body: bytes) -> bytes:
    """What somebody who edits the file on purpose would write."""
    return body + zlib.crc32(body).to_bytes(4, "big")


def test_every_slot_opens_to_the_one_vault_key() -> None:
    """Whichever way a person unlocks, the same store opens."""
    keys = (phrase("correct horse"), FILE, RING)
    header, vault_key = made(*keys)

    assert [open_vault(header, key) for key in keys] == [vault_key] * 3
    assert len(vault_key.reveal()) == 32
    assert [slot.kind for slot in slots(header)] == [
        SlotKind.PASSPHRASE,
        SlotKind.KEY_FILE,
        SlotKind.KEYRING,
    ]
    assert vault_id(header) == ID


def test_a_wrong_passphrase_is_told_as_such() -> None:
    """The commonest error of all: the person should simply type again."""
    header, _ = made(phrase("correct horse"))
    with pytest.raises(WrongKeyError, match="passphrase is wrong") as refused:
        open_vault(header, phrase("correct house"))

    assert refused.value.exit_code == 5
    assert "house" not in str(refused.value)


@pytest.mark.parametrize("wrong", [OTHER_FILE, KeyringKey(Secret(b"o" * 32))])
def test_a_wrong_key_is_told_as_such(wrong: UnlockKey) -> None:
    """A key file of another vault is not a damaged vault."""
    header, _ = made(FILE, RING)

    with pytest.raises(WrongKeyError, match="use another"):
        open_vault(header, wrong)


def test_the_key_of_one_kind_does_not_open_the_slot_of_another() -> None:
    """What was put into the keyring must not become a way in by a file with the same bytes."""
    header, _ = made(FILE, RING)

    with pytest.raises(WrongKeyError):
        open_vault(header, KeyringKey(FILE.key))


def test_a_kind_without_a_slot_says_which_kinds_there_are() -> None:
    """Asking for the passphrase again and again would never help."""
    header, _ = made(FILE, RING)
    with pytest.raises(NoSuchSlotError, match=r"no passphrase slot.*key file, keyring") as refused:
        open_vault(header, phrase("any"))

    assert refused.value.exit_code == 5


def test_one_passphrase_in_two_spellings_is_one_passphrase() -> None:
    """An accented letter typed on a Mac is two code points, on Linux one."""
    header, vault_key = made(phrase("caf\u00e9"))

    assert open_vault(header, phrase("cafe\u0301")) == vault_key


def test_slots_of_one_kind_are_tried_in_turn() -> None:
    """Two people may each have a key file of their own."""
    header, vault_key = made(FILE, OTHER_FILE)

    assert open_vault(header, OTHER_FILE) == vault_key


def test_an_added_slot_opens_and_the_old_ones_still_do() -> None:
    """Changing a passphrase is: add, write, remove, write. Nothing is re-encrypted."""
    header, vault_key = made(FILE)
    after = add_slot(header, vault_key, phrase("new"), entropy("later"), COST_FLOOR)

    assert open_vault(after, phrase("new")) == vault_key
    assert open_vault(after, FILE) == open_vault(header, FILE) == vault_key
    assert vault_id(after) == ID


def test_a_removed_slot_opens_no_more() -> None:
    """A lost key file must become worthless for this header."""
    header, vault_key = made(FILE, OTHER_FILE, RING)
    after = remove_slot(header, vault_key, 1)

    assert open_vault(after, FILE) == open_vault(after, RING) == vault_key
    with pytest.raises(WrongKeyError):
        open_vault(after, OTHER_FILE)


def test_the_last_slot_cannot_be_removed() -> None:
    """Nobody could ever open the home again."""
    header, vault_key = made(FILE)
    with pytest.raises(SlotLimitError) as refused:
        remove_slot(header, vault_key, 0)

    assert refused.value.exit_code == 3


def test_a_vault_has_at_most_sixteen_slots() -> None:
    """The header is bounded, so that reading it is."""
    header, vault_key = made(*[FILE] * SLOTS_MAX)
    assert len(header) == HEADER_BYTES_MAX == 1529

    with pytest.raises(SlotLimitError):
        add_slot(header, vault_key, RING, entropy())
    with pytest.raises(SlotLimitError):
        made(*[FILE] * (SLOTS_MAX + 1))
    with pytest.raises(SlotLimitError):
        made()


def test_a_change_needs_the_vault_key() -> None:
    """Otherwise a slot of a stranger could be authenticated by us."""
    header, _ = made(FILE, RING)

    with pytest.raises(VaultDamagedError):
        add_slot(header, Secret(bytes(32)), OTHER_FILE, entropy())
    with pytest.raises(VaultDamagedError):
        remove_slot(header, Secret(bytes(32)), 0)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), kind=st.sampled_from(["flip", "cut", "append"]))
def test_an_accident_is_damage_and_not_a_wrong_passphrase(at: int, kind: str) -> None:
    """Told that the passphrase is wrong, a person would try for hours and then give up."""
    header, _ = made(FILE, RING)
    match kind:
        case "cut":
            changed = header[: at % len(header)]
        case "append":
            changed = header + bytes([at & 255])
        case _:
            flipped = bytearray(header)
            flipped[at // 8 % len(header)] ^= 1 << at % 8
            changed = bytes(flipped)

    with pytest.raises(VaultDamagedError) as refused:
        open_vault(changed, FILE)
    assert refused.value.exit_code == 6


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), count=st.integers(0, 20))
def test_random_bytes_are_damage(data: bytes, count: int) -> None:
    """A foreign file in the place of the vault must not end in a traceback."""
    for header in (data, with_checksum(b"CVV1" + ID + bytes([count]) + data)):
        try:
            slots(header)
        except VaultDamagedError as refused:
            assert str(refused).isprintable()


@pytest.mark.parametrize("at", range(0, 113))
def test_a_change_on_purpose_does_not_open(at: int) -> None:
    """Whoever edits the file also sets the checksum; no byte of head or slot may be his."""
    header, _ = made(FILE)
    changed = bytearray(header[:-4])
    changed[at] ^= 1

    with pytest.raises((VaultDamagedError, WrongKeyError, NoSuchSlotError)):
        open_vault(with_checksum(bytes(changed)), FILE)


def test_slots_cannot_be_swapped_taken_out_or_doubled() -> None:
    """A thief with write access could bring back a removed slot, or take away the others."""
    header, _ = made(FILE, RING)
    head, first, second, tag = header[:20], header[21:113], header[113:205], header[205:-4]
    edits = [
        head + b"\2" + second + first + tag,
        head + b"\1" + first + tag,
        head + b"\3" + first + second + first + tag,
        head + b"\2" + first + first + tag,
    ]

    for edited in edits:
        with pytest.raises(VaultDamagedError, match="someone who could not open it"):
            open_vault(with_checksum(edited), FILE)


def test_a_slot_of_another_vault_does_not_open() -> None:
    """The vault id is bound into each slot."""
    header, _ = made(FILE)
    moved = header[:4] + b"another vault id" + header[20:-4]

    with pytest.raises(WrongKeyError):
        open_vault(with_checksum(moved), FILE)


def costed(passes: int, memory_mib: int) -> bytes:
    header, _ = made(phrase("any"))
    slot = header[21:22] + bytes([passes]) + memory_mib.to_bytes(2, "big") + header[25:-4]
    return with_checksum(header[:21] + slot)


@pytest.mark.parametrize(
    ("passes", "memory_mib"), [(2, 64), (3, 63), (11, 64), (3, 1025), (255, 65535), (0, 0)]
)
def test_costs_outside_the_bounds_are_refused_before_anything_is_computed(
    passes: int, memory_mib: int
) -> None:
    """The numbers come from a file that somebody else may have written: 64 GiB would be asked."""
    with pytest.raises(VaultDamagedError, match="3 to 10 and 64 to 1024 MiB"):
        open_vault(costed(passes, memory_mib), phrase("any"))


def test_only_passphrase_slots_have_a_cost() -> None:
    """A second spelling of one slot is refused."""
    header, _ = made(FILE)

    with pytest.raises(VaultDamagedError, match="has a cost"):
        slots(with_checksum(header[:22] + b"\3" + header[23:-4]))


@pytest.mark.parametrize("kind", [0, 5, 255])
def test_an_unknown_kind_of_slot_is_refused(kind: int) -> None:
    """It cannot be carried over safely when slots are added or removed."""
    header, _ = made(FILE)

    with pytest.raises(VaultDamagedError, match="no kind of slot"):
        slots(with_checksum(header[:21] + bytes([kind]) + header[22:-4]))


def test_the_paper_key_opens_a_slot_that_was_made_without_it() -> None:
    """Any device can make the slot; the words stay in the drawer until the worst day."""
    header, vault_key = made(FILE)
    after = add_slot(header, vault_key, PaperLock(PAPER.seal_pk), entropy("later"))

    assert open_slot(after, PaperKey(PAPER)) == (1, vault_key)
    assert open_vault(after, FILE) == vault_key
    assert [slot.is_for_paper(PAPER.seal_pk) for slot in slots(after)] == [False, True]
    assert vault_id(after) == ID


def test_a_vault_may_have_slots_for_several_paper_keys() -> None:
    """While one paper key takes the place of another, both must work."""
    header, vault_key = made(PaperLock(PAPER.seal_pk), FILE, PaperLock(OTHER_PAPER.seal_pk))

    assert open_slot(header, PaperKey(PAPER)) == (0, vault_key)
    assert open_slot(header, PaperKey(OTHER_PAPER)) == (2, vault_key)
    assert [slot.is_for_paper(OTHER_PAPER.seal_pk) for slot in slots(header)] == [0, 0, 1]


def test_a_vault_of_which_only_the_paper_key_is_left_opens() -> None:
    """Passphrase forgotten, key file gone: the paper is what it was made for."""
    header, vault_key = made(FILE, PaperLock(PAPER.seal_pk))
    left = remove_slot(header, vault_key, 0)

    assert open_vault(left, PaperKey(PAPER)) == vault_key
    with pytest.raises(NoSuchSlotError, match="unlocked by: paper key"):
        open_vault(left, FILE)
    with pytest.raises(SlotLimitError):
        remove_slot(left, vault_key, 0)


def test_the_words_of_another_paper_key_are_told_as_such() -> None:
    """Somebody has two of them in the drawer."""
    header, _ = made(FILE, PaperLock(PAPER.seal_pk))

    with pytest.raises(WrongKeyError, match="another paper key"):
        open_vault(header, PaperKey(OTHER_PAPER))
    with pytest.raises(NoSuchSlotError, match="no paper key slot"):
        open_vault(made(FILE)[0], PaperKey(PAPER))


@pytest.mark.parametrize("at", range(0, 113))
def test_a_slot_for_the_paper_key_does_not_open_if_it_was_changed_on_purpose(at: int) -> None:
    """Whoever edits the file also sets the checksum; no byte of the slot may be his."""
    header, _ = made(PaperLock(PAPER.seal_pk))
    changed = bytearray(header[:-4])
    changed[at] ^= 1

    with pytest.raises((VaultDamagedError, WrongKeyError, NoSuchSlotError)):
        open_vault(with_checksum(bytes(changed)), PaperKey(PAPER))


def test_a_slot_for_the_paper_key_of_another_vault_does_not_open() -> None:
    """The vault id is bound into the sealed box."""
    header, _ = made(PaperLock(PAPER.seal_pk))
    moved = header[:4] + b"another vault id" + header[20:-4]

    with pytest.raises(WrongKeyError):
        open_vault(with_checksum(moved), PaperKey(PAPER))


def test_the_frozen_header_still_opens_with_the_frozen_paper_key() -> None:
    """What is on paper cannot be updated."""
    frozen = json.loads((Path(__file__).parent / "vectors" / "covey_paper.json").read_text())
    keys = RecoveryKeys.from_seed(Secret(bytes.fromhex(frozen["paper"]["seed"])))
    header = bytes.fromhex(frozen["paper"]["header"])

    assert open_slot(header, PaperKey(keys))[0] == 0
    assert open_vault(header, PaperKey(keys)).reveal().hex() == frozen["paper"]["vault_key"]


def test_the_default_cost_is_dear_and_a_cheaper_one_is_a_defect() -> None:
    """Argon2id is all that stands between a stolen home and a short passphrase."""
    assert Argon2Cost(3, 256) == COST_DEFAULT
    with pytest.raises(AssertionError):
        create_vault(ID, [phrase("any")], entropy(), Argon2Cost(1, 8))


def test_too_little_memory_is_not_a_wrong_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small machine Argon2id may not get what it needs; trying again later helps."""
    header, _ = made(phrase("any"))

    def refuse(*_: object) -> bytes:
        raise nacl.exceptions.RuntimeError("Unexpected failure in key derivation")

    monkeypatch.setattr(vault_slots, "crypto_pwhash_alg", refuse)
    with pytest.raises(VaultMemoryError, match="64 MiB"):
        open_vault(header, phrase("any"))


def test_two_vaults_with_one_key_file_share_nothing() -> None:
    """Equal bytes in two headers would tell that they belong together."""
    first, first_key = create_vault(ID, [FILE], entropy("one"))
    second, second_key = create_vault(ID, [FILE], entropy("two"))

    assert first_key != second_key
    assert first[25:] != second[25:]
    assert slots(first)[0].wrapped != slots(second)[0].wrapped


def test_subkeys_differ_by_use_and_are_not_the_vault_key() -> None:
    """One leaked subkey must not open the rest."""
    _, vault_key = made(FILE)
    subkeys = [
        derive(vault_key).reveal()
        for derive in (
            vault.store_key,
            vault.blob_key,
            vault.snapshot_key,
            vault.local_api_key,
            vault.backup_key,
            vault.cache_key,
        )
    ]

    assert len({*subkeys, vault_key.reveal()}) == 7
    assert {len(key) for key in subkeys} == {32}


def test_no_representation_shows_a_key() -> None:
    """They end up in logs and tracebacks."""
    header, vault_key = made(FILE)
    shown = repr((FILE, RING, phrase("open sesame"), vault_key, slots(header)))

    assert "sesame" not in shown and "ffff" not in shown and "rrrr" not in shown


def test_the_frozen_headers_still_open() -> None:
    """A home made today must open with every later version."""
    field = {name: bytes.fromhex(text) for name, text in VECTOR["hex"].items()}
    header = field["header"]
    keys = (
        PassphraseKey(Secret(VECTOR["passphrase"].encode())),
        FileKey(Secret(field["key_file"])),
        KeyringKey(Secret(field["keyring"])),
    )
    opened = [open_vault(header, key).reveal() for key in keys]

    assert opened == [field["vault_key"]] * 3
    assert vault_id(header) == field["vault_id"]
    vault_key = Secret(field["vault_key"])
    assert vault.store_key(vault_key).reveal() == field["store_key"]
    assert vault.blob_key(vault_key).reveal() == field["blob_key"]
    assert vault.snapshot_key(vault_key).reveal() == field["snapshot_key"]
    assert vault.local_api_key(vault_key).reveal() == field["local_api_key"]
