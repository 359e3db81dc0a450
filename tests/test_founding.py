"""A mesh with a paper key from its first moment: nothing is senior to it, and it gets the keys."""

import os
from pathlib import Path

import pytest

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.grants import open_key
from covey.crypto.recovery import RecoveryKeys, words_of
from covey.crypto.secret import Secret
from covey.node.main import create_home, open_engine
from covey.node.unlock import KeyFile, KeyFileError, PaperWords

SEED = Secret(b"s" * 32)
PAPER = RecoveryKeys.from_seed(SEED)


async def test_the_paper_key_is_part_of_the_founding_and_holds_the_control_key(
    tmp_path: Path,
) -> None:
    """It must be able to read the membership before it can take anything back."""
    key = KeyFile(tmp_path / "key")
    made = await create_home(tmp_path / "home", "laptop", "laptop", key, PAPER.public)
    async with open_engine(tmp_path / "home", key) as engine:
        registry = engine.mesh.registry
        (recovery,) = registry.recovery
        (grant,) = registry.grants
        control = open_key(
            *(grant.sealed[PAPER.sig_pk], PAPER, engine.mesh.id, CONTROL_SCOPE, 1, grant.key_id)
        )
        ours = open_key(
            *(grant.sealed[engine.keys.sig_pk], engine.keys, engine.mesh.id),
            *(CONTROL_SCOPE, 1, grant.key_id),
        )

        assert made["paper_key"] is True
        assert (recovery.sig_pk, recovery.seal_pk) == PAPER.public
        assert recovery.set_by == registry.genesis
        assert registry.outranks(PAPER.sig_pk, engine.keys.sig_pk)
        assert control == ours
        assert registry.ignored == {}


async def test_a_mesh_without_a_paper_key_has_none(tmp_path: Path) -> None:
    """Who declined must not get one that nobody has the words of."""
    key = KeyFile(tmp_path / "key")
    made = await create_home(tmp_path / "home", "laptop", "laptop", key)
    async with open_engine(tmp_path / "home", key) as engine:
        assert made["paper_key"] is False
        assert engine.mesh.registry.recovery == ()


async def test_a_new_home_opens_with_its_paper_key(tmp_path: Path) -> None:
    """The slot is made with the public half, before anybody types the words."""
    key = KeyFile(tmp_path / "key")
    await create_home(tmp_path / "home", "laptop", "laptop", key, PAPER.public)
    os.unlink(key.path)
    async with open_engine(tmp_path / "home", PaperWords(" ".join(words_of(SEED)))) as engine:
        assert len(engine.mesh.registry.devices) == 1


async def test_a_home_that_cannot_be_opened_is_not_begun(tmp_path: Path) -> None:
    """Half a home takes as much room as a whole one, and looks like one."""
    with pytest.raises(KeyFileError, match="make it first"):
        await create_home(tmp_path / "home", "laptop", "laptop", KeyFile(tmp_path / "no" / "key"))

    assert list(tmp_path.iterdir()) == []


async def test_the_key_file_of_a_home_may_lie_in_it(tmp_path: Path) -> None:
    """It protects little there, but the folder comes into being with the home."""
    key = KeyFile(tmp_path / "home" / "key")
    await create_home(tmp_path / "home", "laptop", "laptop", key)
    async with open_engine(tmp_path / "home", key) as engine:
        assert len(engine.mesh.registry.devices) == 1
