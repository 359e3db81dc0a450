"""Ways to unlock a home come and go; none is lost, and one that was removed is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import pytest

from covey.crypto.recovery import RecoveryKeys, words_of
from covey.crypto.secret import Secret
from covey.crypto.vault import (
    COST_FLOOR,
    FileKey,
    LockKey,
    PassphraseKey,
    SlotKind,
    SlotLimitError,
    WrongKeyError,
    create_vault,
    open_vault,
)
from covey.node import vault_care
from covey.node.unlock import KeyFile, PaperWords, Passphrase, Unlock
from covey.node.vault_care import (
    HomeVault,
    SameWayError,
    SlotChoiceError,
    slot_rows,
    vault_of,
)
from covey.storage.errors import HomeBusyError, NotInitialisedError, StoreFullError
from covey.storage.home import Home
from covey.storage.vault_file import copy_path, write_vault

SEED = Secret(b"s" * 32)
PAPER = RecoveryKeys.from_seed(SEED)
WORDS = " ".join(words_of(SEED))
OLD, NEW = Passphrase("old"), Passphrase("new")


def draw(size: int) -> bytes:
    draw.count += 1  # type: ignore[attr-defined]
    return blake2b(f"{draw.count}".encode(), digest_size=size).digest()  # type: ignore[attr-defined]


draw.count = 0  # type: ignore[attr-defined]


def phrase(passphrase: Passphrase) -> PassphraseKey:
    return PassphraseKey(Secret(passphrase.text.encode()))


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    path = tmp_path / "first.key"
    path.write_bytes(b"f" * 32)
    path.chmod(0o600)
    return KeyFile(path)


@pytest.fixture
def home(tmp_path: Path, key_file: KeyFile) -> Home:
    """A home whose vault has a passphrase and a key file."""
    made = Home(tmp_path / "home")
    made.create()
    keys: list[LockKey] = [phrase(OLD), FileKey(Secret(b"f" * 32))]
    write_vault(made.vault, create_vault(b"i" * 16, keys, draw, COST_FLOOR)[0])
    return made


@contextmanager
def opened(home: Home, unlock: Unlock) -> Iterator[HomeVault]:
    with vault_of(home.path, draw, cost=COST_FLOOR) as care:
        care.open(unlock)
        yield care


def kinds(home: Home) -> list[str]:
    return [row["kind"] for row in slot_rows(home.path)]


def opens(home: Home, unlock: Unlock) -> int:
    with opened(home, unlock) as care:
        return care.opened_by


def headers(home: Home) -> list[bytes]:
    return [path.read_bytes() for path in (home.vault, copy_path(home.vault))]


def test_the_list_tells_kinds_and_costs_and_needs_no_key(home: Home) -> None:
    """A person must be able to look which way there is before they have one."""
    assert slot_rows(home.path) == [
        {"slot": 1, "kind": "passphrase", "passes": 3, "memory_mib": 64},
        {"slot": 2, "kind": "key-file", "passes": None, "memory_mib": None},
    ]
    assert not (home.path / "node.lock").exists()


def test_an_added_way_opens_and_the_others_still_do(
    home: Home, key_file: KeyFile, tmp_path: Path
) -> None:
    """A second key file for a second person."""
    second = KeyFile(tmp_path / "second.key")
    with opened(home, key_file) as care:
        assert care.opened_by == 2
        assert care.add(second) == 3
        assert care.rows == slot_rows(home.path)

    assert [opens(home, way) for way in (OLD, key_file, second)] == [1, 2, 3]
    assert headers(home)[0] == headers(home)[1]


def test_a_changed_passphrase_opens_and_the_old_one_is_nowhere_left(home: Home) -> None:
    """The copy beside the file holds the same header: a removed slot in it would still open."""
    with opened(home, OLD) as care:
        assert care.replace_passphrase(NEW) == 2

    assert kinds(home) == ["key-file", "passphrase"]
    assert opens(home, NEW) == 2
    for header in headers(home):
        with pytest.raises(WrongKeyError):
            open_vault(header, phrase(OLD))


def test_the_new_passphrase_is_on_the_disk_before_the_old_one_goes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may fail at any moment of it: one way too many is left, never none."""

    def full(*_: object) -> None:
        raise StoreFullError(home.vault)

    with opened(home, OLD) as care:
        monkeypatch.setattr(HomeVault, "remove", full)
        with pytest.raises(StoreFullError):
            care.replace_passphrase(NEW)

    assert opens(home, OLD) == 1
    assert opens(home, NEW) == 3


def test_a_way_that_could_not_be_written_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while a passphrase is changed."""
    before = headers(home)
    with opened(home, OLD) as care:

        def full(*_: object) -> None:
            raise StoreFullError(home.vault)

        monkeypatch.setattr(vault_care, "write_vault", full)
        with pytest.raises(StoreFullError):
            care.replace_passphrase(NEW)
        assert care.kinds == (SlotKind.PASSPHRASE, SlotKind.KEY_FILE)

    assert headers(home) == before


def test_which_passphrase_is_replaced_is_never_guessed(home: Home, key_file: KeyFile) -> None:
    """Two people have one each; the wrong one would be locked out."""
    other = Passphrase("other")
    with opened(home, key_file) as care:
        care.add(other)
        with pytest.raises(SlotChoiceError, match=r"--slot \(1, 3\)"):
            care.replace_passphrase(NEW)
        with pytest.raises(SlotChoiceError, match="holds no passphrase"):
            care.replace_passphrase(NEW, 2)
        care.replace_passphrase(NEW, 3)

    assert opens(home, OLD) == 1
    assert opens(home, NEW) == 3
    with opened(home, NEW) as care:
        care.replace_passphrase(Passphrase("newest"))
    assert opens(home, OLD) == 1


def test_a_home_without_a_passphrase_has_none_to_replace(home: Home, key_file: KeyFile) -> None:
    """`vault add` is what was meant."""
    with opened(home, key_file) as care:
        care.remove(1)
        with pytest.raises(SlotChoiceError, match="vault add"):
            care.replace_passphrase(NEW)


def test_a_removed_way_opens_nothing_on_this_disk(home: Home, key_file: KeyFile) -> None:
    """A key file that was copied by somebody must become worthless here."""
    with opened(home, OLD) as care:
        care.remove(2)

    assert kinds(home) == ["passphrase"]
    for header in headers(home):
        with pytest.raises(Exception, match="no key file slot"):
            open_vault(header, FileKey(Secret(b"f" * 32)))


def test_the_last_way_stays(home: Home) -> None:
    """Nobody could ever open the home again."""
    with opened(home, OLD) as care:
        care.remove(2)
        with pytest.raises(SlotLimitError) as refused:
            care.remove(1)

    assert refused.value.exit_code == 3
    assert kinds(home) == ["passphrase"]


@pytest.mark.parametrize("number", [-1, 0, 3, 99])
def test_a_slot_that_is_not_there_is_told(home: Home, number: int) -> None:
    """A number from yesterday's list."""
    with opened(home, OLD) as care, pytest.raises(SlotChoiceError, match="shows 1 to 2"):
        care.remove(number)


def test_one_key_is_not_added_twice(home: Home, key_file: KeyFile) -> None:
    """Removing one of the two would then seem to lock it out, and would not."""
    with opened(home, OLD) as care:
        care.add_paper(PAPER.seal_pk)
        for way in (key_file, PaperWords(WORDS)):
            with pytest.raises(SameWayError):
                care.add(way)
        assert care.paper_slots(PAPER.seal_pk) == (3,)

    assert kinds(home) == ["passphrase", "key-file", "paper-key"]


def test_a_home_with_every_way_lost_but_the_paper_key_is_opened_and_gets_a_new_one(
    home: Home,
) -> None:
    """What the paper key is for."""
    with opened(home, OLD) as care:
        care.add_paper(PAPER.seal_pk)
        care.remove(2)
        care.remove(1)
    assert kinds(home) == ["paper-key"]

    with opened(home, PaperWords(WORDS)) as care:
        assert (care.opened_by, care.add(NEW)) == (1, 2)

    assert opens(home, NEW) == 2


def test_a_damaged_vault_file_is_mended_by_the_next_change(home: Home) -> None:
    """Both files are written, whichever was read."""
    home.vault.write_bytes(b"")
    with opened(home, OLD) as care:
        care.replace_passphrase(NEW)

    assert headers(home)[0] == headers(home)[1]
    assert opens(home, NEW) == 2


def test_a_home_that_is_in_use_is_left_alone(home: Home) -> None:
    """A running node would go on with a vault that it does not know."""
    with (
        home.lock(),
        pytest.raises(HomeBusyError) as refused,
        vault_of(home.path, draw),
    ):
        raise AssertionError("must not be entered")

    assert refused.value.exit_code == 7


def test_where_no_home_is_nothing_is_made(tmp_path: Path) -> None:
    """A mistyped --home must not leave a lock file behind."""
    with pytest.raises(NotInitialisedError), vault_of(tmp_path, draw):
        raise AssertionError("must not be entered")

    assert list(tmp_path.iterdir()) == []
