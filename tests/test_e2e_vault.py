"""`covey vault` in real processes: what a person types to change how a home is unlocked."""

import json
from pathlib import Path
from typing import Any

import pytest

from .processes import Device

TEA = {"text": "likes tea"}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A home with a key file and one record."""
    made = Device(tmp_path, "laptop")
    made.init()
    made.run("put", "memory", "facts", "tea", json.dumps(TEA))
    return made


def kinds(answer: dict[str, Any]) -> list[str]:
    return [row["kind"] for row in answer["slots"]]


def test_a_passphrase_is_added_changed_and_removed(device: Device) -> None:
    """The whole life of a passphrase; the data is read with each of them, and never rewritten."""
    added = json.loads(device.secretly("vault", "add", "--json", new_passphrase_fd="one\n").stdout)
    assert (added["added"], kinds(added)) == (2, ["key-file", "passphrase"])

    get = ("get", "memory", "facts", "tea", "--json")
    once = device.secretly(*get, unlock="passphrase_fd", passphrase_fd="one")
    changed = device.secretly(
        *("vault", "passphrase", "--json"),
        unlock="passphrase_fd",
        passphrase_fd="one",
        new_passphrase_fd="two",
    )
    again = device.secretly(*get, unlock="passphrase_fd", passphrase_fd="two")
    wrong = device.secretly(*get, code=5, unlock="passphrase_fd", passphrase_fd="one")

    assert json.loads(once.stdout) == json.loads(again.stdout) == TEA
    assert kinds(json.loads(changed.stdout)) == ["key-file", "passphrase"]
    assert "old copy of vault.covey" in changed.stderr
    assert wrong.stderr == "covey: the passphrase is wrong: try again\n"

    removed = device.attempt("vault", "remove", "2", "--json")
    assert kinds(json.loads(removed.stdout)) == ["key-file"]
    assert "old copy of vault.covey" in removed.stderr
    device.secretly(*get, code=5, unlock="passphrase_fd", passphrase_fd="two")
    assert device.run("get", "memory", "facts", "tea") == TEA


def test_what_one_unlocks_with_is_removed_only_after_a_yes(device: Device, tmp_path: Path) -> None:
    """A script that removes the key it holds has locked itself out."""
    second = tmp_path / "second.key"
    device.run("vault", "add", "--new-key-file", str(second))

    asked = device.attempt("vault", "remove", "1")
    assert asked.returncode == 2
    assert "the one you unlocked the home with" in asked.stderr
    assert kinds(device.run("vault", "list")) == ["key-file", "key-file"]

    device.run("vault", "remove", "1", "--yes")
    assert kinds(device.run("vault")) == ["key-file"]
    assert device.attempt("get", "memory", "facts", "tea").returncode == 5
    device.key = second
    assert device.run("get", "memory", "facts", "tea") == TEA
    last = device.attempt("vault", "remove", "1", "--yes")
    assert (last.returncode, last.stderr.count("\n")) == (3, 1)


def test_a_vault_is_not_changed_while_a_node_runs(device: Device) -> None:
    """The list may be read; a change says who is in the way."""
    device.up("--no-mdns")
    try:
        assert kinds(device.run("vault", "list")) == ["key-file"]
        busy = device.secretly("vault", "add", code=7, new_passphrase_fd="one")
        assert "covey down" in busy.stderr
        assert kinds(device.run("vault", "list")) == ["key-file"]
    finally:
        device.kill()


def test_without_a_terminal_the_new_secret_must_be_given(device: Device) -> None:
    """Nothing must wait for a person who is not there."""
    for command in ("add", "passphrase", "recover"):
        refused = device.attempt("vault", command, stdin="")
        assert refused.returncode in (2, 5), refused.stderr
        assert refused.stderr.count("\n") == 1


def test_two_new_ways_at_once_are_refused(device: Device, tmp_path: Path) -> None:
    """One of them would be silently left out."""
    refused = device.attempt("vault", "add", "--new-keyring", "--new-key-file", str(tmp_path / "k"))

    assert refused.returncode == 2
    assert not (tmp_path / "k").exists()


def test_words_that_are_not_of_this_home_are_told_and_not_repeated(device: Device) -> None:
    """A paper key from another drawer, and one with a slip of the pen."""
    good = "abandon " * 23 + "art"
    other = device.secretly("vault", "list", unlock="words_fd", words_fd=good)
    assert other.returncode == 0
    told = device.secretly(
        *("vault", "recover"), code=5, unlock="words_fd", words_fd=good, new_passphrase_fd="x"
    )
    assert told.stderr == "covey: the vault has no paper key slot; it is unlocked by: key file\n"
    slip = device.secretly(
        *("vault", "recover"), code=5, unlock="words_fd", words_fd="abandom " + good[8:]
    )
    assert slip.stderr == "covey: word 1 is not in the list of words: look how it is spelt\n"
