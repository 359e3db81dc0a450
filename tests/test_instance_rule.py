"""The instance rule: a restart keeps the instance, a copy or an older store never does."""

import os
import shutil
from pathlib import Path

import pytest

from covey.storage import store_file
from covey.storage.database import open_database
from covey.storage.errors import StoreFullError
from covey.storage.file_identity import identify
from covey.storage.files import Files
from covey.storage.home import Home
from covey.storage.instance_rule import (
    INSTANCE_BYTES,
    holds_own_branch,
    renew_instance,
    take_branch_out,
)
from covey.storage.store_file import OpenStore, create_store, open_store

from .store_rows import KEY, setting, value_of


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    made.reserve.release()
    await (await create_store(made, KEY, 0, os.urandom)).database.close()
    return made


async def start(home: Home) -> OpenStore:
    """One run of a node that writes something and ends."""
    opened = await open_store(home, KEY, 0, os.urandom)
    await opened.database.write(setting("a"))
    await opened.database.close()
    return opened


async def test_a_hundred_plain_restarts_keep_the_instance(home: Home) -> None:
    """One `covey put` must not cost an instance: every one is a log that all peers keep."""
    instances = {(await start(home)).instance for _ in range(100)}

    assert len(instances) == 1
    assert len(instances.pop()) == INSTANCE_BYTES


async def test_a_copied_home_gets_an_instance_of_its_own(home: Home, tmp_path: Path) -> None:
    """Two stores that write under one instance fork its log."""
    original = await start(home)
    shutil.copytree(home.path, tmp_path / "copy")

    copied = await start(Home(tmp_path / "copy"))

    assert not copied.kept
    assert copied.instance != original.instance
    assert (await start(home)).instance == original.instance
    assert (await start(Home(tmp_path / "copy"))).instance == copied.instance


async def test_a_home_that_was_moved_keeps_its_instance(home: Home, tmp_path: Path) -> None:
    """A folder with a new name is still the same store."""
    original = await start(home)
    home.path.rename(tmp_path / "moved")

    assert (await start(Home(tmp_path / "moved"))).instance == original.instance


async def test_an_older_store_put_back_into_the_same_file_is_noticed(
    home: Home, tmp_path: Path
) -> None:
    """A backup tool may write into the file that is there; only the token tells then."""
    original = await start(home)
    shutil.copyfile(home.store, tmp_path / "backup")
    await start(home)
    identity = identify(home.store)
    shutil.copyfile(tmp_path / "backup", home.store)
    assert identify(home.store) == identity

    restored = await start(home)

    assert not restored.kept
    assert restored.instance != original.instance
    assert (await start(home)).kept


async def test_an_older_store_and_its_token_in_new_files_are_noticed(
    home: Home, tmp_path: Path
) -> None:
    """A whole backup agrees with itself; the files' identity tells that they are not the ones."""
    await start(home)
    shutil.copytree(home.path, tmp_path / "backup")
    await start(home)
    shutil.rmtree(home.path)
    shutil.copytree(tmp_path / "backup", home.path)

    assert not (await start(home)).kept


async def test_a_lost_token_costs_the_instance(home: Home) -> None:
    """Without it nobody can say whether the store is the newest."""
    home.token.unlink()

    assert not (await start(home)).kept


@pytest.mark.parametrize("token", [b"", b"short", b"x" * 16, b"x" * 40])
async def test_a_foreign_token_costs_the_instance(home: Home, token: bytes) -> None:
    """An empty or overlong file must not pass for one that agrees."""
    home.token.write_bytes(token)

    assert not (await start(home)).kept


async def test_crashes_between_the_two_writes_of_the_token_cost_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that dies in the wrong millisecond, even three times, keeps its log."""
    original = await start(home)

    def crash(path: Path, token: bytes, files: Files) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(store_file, "write_token", crash)
        for _ in range(3):
            with pytest.raises(SystemExit):
                await open_store(home, KEY, 0, os.urandom)

    assert (await start(home)).instance == original.instance
    assert (await start(home)).instance == original.instance


async def test_a_start_that_fails_in_the_store_costs_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may only hold a token that the store knows: the store is written first."""
    original = await start(home)

    def full_disk(*_: object) -> None:
        raise StoreFullError(home.store)

    with monkeypatch.context() as patch:
        patch.setattr(store_file, "claim_instance", full_disk)
        with pytest.raises(StoreFullError):
            await open_store(home, KEY, 0, os.urandom)

    assert (await start(home)).instance == original.instance


async def test_a_crash_right_after_a_new_instance_does_not_bring_the_old_one_back(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy was noticed once; a second start must not forget it."""
    original = await start(home)
    copy = Home(shutil.copytree(home.path, tmp_path / "copy"))

    def crash(path: Path, token: bytes, files: Files) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(store_file, "write_token", crash)
        with pytest.raises(SystemExit):
            await open_store(copy, KEY, 0, os.urandom)

    assert (await start(copy)).instance != original.instance


async def test_an_instance_renewed_while_running_is_the_one_of_the_next_start(home: Home) -> None:
    """After a fork was proved, nothing more may be written under the old one."""
    opened = await open_store(home, KEY, 0, os.urandom)
    await opened.database.write(lambda conn: renew_instance(conn, b"n" * 16))
    await opened.database.close()

    assert (await start(home)).instance == b"n" * 16


SCOPE, OTHER_SCOPE = b"s" * 16, b"o" * 16


async def branches(home: Home, *instances: bytes) -> list[tuple[bool, bool]]:
    """Whether the store has branches of its own under these instances, in two scopes."""
    async with await open_database(home.store, KEY, 0, True) as database:
        return await database.read(
            lambda conn: [
                (holds_own_branch(conn, SCOPE, each), holds_own_branch(conn, OTHER_SCOPE, each))
                for each in instances
            ]
        )


async def test_a_store_remembers_under_which_instances_it_wrote(home: Home, tmp_path: Path) -> None:
    """A log may turn out to be forked when the store has long left its instance."""
    first = (await start(home)).instance
    shutil.copytree(home.path, tmp_path / "copy")
    second = (await start(Home(tmp_path / "copy"))).instance
    opened = await open_store(Home(tmp_path / "copy"), KEY, 0, os.urandom)
    await opened.database.write(lambda conn: renew_instance(conn, b"n" * 16))
    await opened.database.close()

    assert await branches(home, first, second, b"n" * 16) == [(True, True), *[(False, False)] * 2]
    assert await branches(Home(tmp_path / "copy"), first, second, b"n" * 16) == [(True, True)] * 3


async def test_a_branch_that_was_taken_out_is_not_taken_out_again(home: Home) -> None:
    """What the store holds of that log from then on is what its peers hold."""
    first = (await start(home)).instance
    async with await open_database(home.store, KEY, 0, True) as database:
        await database.write(lambda conn: renew_instance(conn, b"n" * 16))
        await database.write(lambda conn: take_branch_out(conn, SCOPE, first))

    assert await branches(home, first, b"n" * 16) == [(False, True), (True, True)]


async def test_the_rule_adds_nothing_that_a_plain_open_cannot_read(home: Home) -> None:
    """Tools that open the store without starting a node must not disturb the rule."""
    original = await start(home)
    async with await open_database(home.store, KEY, 0, True) as database:
        assert await database.read(value_of("a")) == b"1"

    assert (await start(home)).instance == original.instance


def test_a_file_that_took_the_number_of_a_removed_one_is_told_apart(tmp_path: Path) -> None:
    """ext4 gives the next file the inode that has just become free."""
    path = tmp_path / "file"
    path.touch()
    first = identify(path)
    path.unlink()
    path.touch()
    if first.birth_ns == 0:
        pytest.skip("this file system does not tell when a file was born")

    assert identify(path) != first


def test_writing_into_a_file_does_not_change_its_identity(tmp_path: Path) -> None:
    """A store changes all the time and stays the same file."""
    path = tmp_path / "file"
    path.touch()
    first = identify(path)
    path.write_bytes(b"x" * 100)
    os.chmod(path, 0o600)
    path.rename(tmp_path / "other")

    assert identify(tmp_path / "other") == first
