"""Real processes: everything is lost but the words and a backup, or one other device.

The words go through pipes, as a script would do it.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .processes import COMMAND_SECONDS_MAX, Device, homes, pair, says_words, up

WRONG = " ".join(["abandon"] * 23 + ["art"])


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone", "new") as made:
        yield made


class Words:
    """A paper key on its way between a command and a test, never in argv or environment."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "words"

    def run(self, device: Device, *arguments: str, typed: str | None = None, code: int = 0) -> Any:
        """Run a command with `typed` at descriptor 0, and what it writes to 9 in the file."""
        line = " ".join(["exec", *(f"'{part}'" for part in device.command(*arguments)), "--json"])
        shell = ["sh", "-c", f"{line} 9>'{self.path}'"]
        wrapped = Device(self.path.parent, device.name)
        wrapped.command = lambda *_: shell  # type: ignore[method-assign]
        done = wrapped.attempt(stdin=typed)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        assert not says_words(done.stderr + done.stdout, (typed or "").split()[:24])
        self.told = done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    @property
    def written(self) -> str:
        return self.path.read_text()


def without_key(folder: Path, name: str) -> Device:
    """A device whose commands do not say how to open its home."""
    device = Device(folder, name)
    device.command = lambda *a: [*Device(folder, name).command()[:5], *a]  # type: ignore[method-assign]
    return device


def with_paper_key(words: Words, laptop: Device, phone: Device) -> str:
    """Make both homes, and a paper key of the laptop's mesh; its words."""
    laptop.init()
    phone.init("phone")
    words.run(laptop, "recovery", "create", "--paper-key-fd", "9")
    return words.written


def test_words_and_a_backup_bring_a_new_device_and_end_the_lost_one(
    devices: list[Device], tmp_path: Path
) -> None:
    laptop, phone, new = devices
    words = Words(tmp_path)
    paper = with_paper_key(words, laptop, phone)
    assert len(paper.split()) == 24
    up(laptop)
    pair(laptop, phone)
    up(phone, laptop)
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha"}')
    phone.run("sync", "--wait")
    backup = tmp_path / "laptop.backup"
    laptop.run("backup", str(backup))
    laptop.run("put", "memory", "facts", "after", '{"name": "sencha"}')
    phone.run("sync", "--wait")
    laptop.kill()
    phone.down()
    drilled = words.run(phone, "recovery", "drill", "--words-fd", "0", typed=paper)
    assert drilled["databases"] == ["memory"] and drilled["entries"] > 0
    assert drilled["opens_this_home"] is True

    way = ("--new-key-file", str(new.key), "--name", "new", "--remove", "laptop")
    use = ("recovery", "use", "--backup", str(backup), *way, "--paper-key-fd", "9")
    keyless = without_key(tmp_path, "new")
    words.run(keyless, *use, "--words-fd", "0", typed=WRONG, code=5)
    assert not new.home.exists()
    answer = words.run(keyless, *use, "--words-fd", "0", typed=paper)
    fresh_paper = words.written
    assert answer["removed"] == ["laptop"] and answer["device"]["name"] == "new"
    assert fresh_paper != paper and len(fresh_paper.split()) == 24
    assert new.run("get", "memory", "facts", "tea") == {"name": "kukicha"}

    new.port = laptop.port
    up(phone)
    up(new, phone)
    new.run("sync", "--wait")
    # What the lost device wrote after the backup might be a thief's: a person says whose it is.
    new.run("get", "memory", "facts", "after", code=1)
    assert [row["entries"] for row in new.run("status")["shelf"]] == [1]
    assert new.run("devices", "adopt", "laptop")["adopted"] == 1
    new.run("sync", "--wait")
    for device in (new, phone):
        assert device.run("get", "memory", "facts", "after") == {"name": "sencha"}
    new.run("put", "memory", "facts", "new", '{"by": "new"}')
    new.run("sync", "--wait")
    assert phone.run("get", "memory", "facts", "new") == {"by": "new"}
    everybody_knows(phone)
    new.down()
    old_keys_are_worth_nothing(words, new, laptop, paper, fresh_paper)


def everybody_knows(phone: Device) -> None:
    by_name = {row["device_name"]: row for row in phone.run("devices")["devices"]}
    assert by_name["laptop"]["status"] == "revoked"
    assert (by_name["new"]["status"], by_name["new"]["role"]) == ("active", "admin")


def old_keys_are_worth_nothing(
    words: Words, new: Device, laptop: Device, paper: str, fresh_paper: str
) -> None:
    """Neither the lost device's key file nor the old words open what the new one has."""
    words.run(new, "recovery", "drill", "--words-fd", "0", typed=paper, code=3)
    words.run(new, "recovery", "drill", "--words-fd", "0", typed=fresh_paper)
    stranger = Device(words.path.parent, "new")
    stranger.key = laptop.key
    stranger.run("get", "memory", "facts", "tea", code=5)


def test_a_backup_with_one_flipped_bit_makes_nothing(devices: list[Device], tmp_path: Path) -> None:
    laptop, _, new = devices
    words = Words(tmp_path)
    laptop.init()
    words.run(laptop, "recovery", "create", "--paper-key-fd", "9")
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha"}')
    backup = tmp_path / "b"
    laptop.run("backup", str(backup))
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    backup.write_bytes(data)
    keyless = without_key(tmp_path, "new")
    use = ("recovery", "use", "--backup", str(backup), "--name", "new")
    way = ("--new-key-file", str(new.key), "--keep-paper-key", "--words-fd", "0")
    words.run(keyless, *use, *way, typed=words.written, code=6)
    assert not new.home.exists()
    assert [p.name for p in tmp_path.iterdir() if "restoring" in p.name] == []


def test_the_paper_key_removes_the_device_that_made_the_mesh(
    devices: list[Device], tmp_path: Path
) -> None:
    laptop, phone, _ = devices
    words = Words(tmp_path)
    paper = with_paper_key(words, laptop, phone)
    up(laptop)
    pair(laptop, phone)
    words.run(
        phone, "recovery", "revoke", "laptop", "--yes", "--words-fd", "0", typed=WRONG, code=3
    )
    words.run(phone, "recovery", "revoke", "laptop", "--yes", "--words-fd", "0", typed=paper)
    by_name = {row["device_name"]: row for row in phone.run("devices")["devices"]}
    assert by_name["laptop"]["status"] == "revoked"
    assert by_name["laptop"]["revoked_by"] == "the paper key"
    os.unlink(words.path)


def test_the_one_device_that_is_left_becomes_an_admin_and_admits_another(
    devices: list[Device], tmp_path: Path
) -> None:
    """No backup, no admin: the words and a phone of level limited."""
    laptop, phone, new = devices
    words = Words(tmp_path)
    paper = with_paper_key(words, laptop, phone)
    new.init("tablet")
    up(laptop)
    laptop.run("put", "memory", "facts", "ours", '{"a": 1}', "--privacy", "family")
    pair(laptop, phone)
    laptop.run("devices", "level", "phone", "limited")
    laptop.down()
    use = ("recovery", "use", "--remove", "laptop", "--paper-key-fd", "9", "--words-fd", "0")
    words.run(phone, *use, typed=WRONG, code=3)
    answer = words.run(phone, *use, typed=paper)
    assert answer["device"]["role"] == "admin" and answer["removed"] == ["laptop"]
    up(phone)
    pair(phone, new)
    assert new.run("get", "memory", "facts", "ours") == {"a": 1}
    by_name = {row["device_name"]: row for row in new.run("devices")["devices"]}
    assert by_name["laptop"]["status"] == "revoked"
    assert by_name["phone"]["trust_level"] == "full"


@pytest.mark.parametrize("level", ["full", "limited"])
def test_words_and_any_member_that_is_left_bring_a_new_device(
    devices: list[Device], tmp_path: Path, level: str
) -> None:
    """No backup and no admin: a phone shows a code, and need not read what is private."""
    laptop, phone, new = devices
    words = Words(tmp_path)
    paper = with_paper_key(words, laptop, phone)
    new.init("laptop")
    up(laptop)
    laptop.run("put", "memory", "facts", "ours", '{"a": 1}', "--privacy", "family")
    pair(laptop, phone)
    laptop.run("devices", "level", "phone", level)
    up(phone, laptop)
    phone.run("sync", "--wait")
    laptop.kill()
    use = ("--yes", "--paper-key-fd", "9", "--words-fd", "0", "--remove")
    before = [device.run("devices")["devices"] for device in (phone, new)]

    wrong = shown(phone, lambda at: words.run(new, *at, *use, "laptop", typed=WRONG, code=3))
    assert wrong[0] != 0 and "another paper key" in wrong[1]
    assert "the words are no paper key of that mesh" in words.told
    slip = shown(phone, lambda at: words.run(new, *at, *use, "lapto", typed=paper, code=1))
    assert slip[0] != 0 and "could not finish" in slip[1]
    assert "no device 'lapto' in this mesh" in words.told and "nothing was changed" in words.told
    assert [unseen(device) for device in (phone, new)] == [unseen_of(rows) for rows in before]

    ended, said = shown(phone, lambda at: words.run(new, *at, *use, "laptop", typed=paper))
    assert ended == 0, said
    assert words.written != paper and len(words.written.split()) == 24
    up(new, phone)
    new.run("sync", "--wait")
    assert new.run("get", "memory", "facts", "ours") == {"a": 1}
    new.run("put", "memory", "facts", "fresh", '{"b": 2}', "--privacy", "family")
    new.run("sync", "--wait")
    assert phone.run("get", "memory", "facts", "fresh") == {"b": 2}
    everybody_knows(phone)
    new.down()
    words.run(new, "recovery", "drill", "--words-fd", "0", typed=words.written)
    words.run(new, "recovery", "drill", "--words-fd", "0", typed=paper, code=3)


def unseen(device: Device) -> list[dict[str, Any]]:
    return unseen_of(device.run("devices")["devices"])


def unseen_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who belongs and how, without when it was seen last."""
    return [{k: v for k, v in row.items() if k != "last_seen"} for row in rows]


def shown(member: Device, use: Callable[[tuple[str, ...]], Any]) -> tuple[int, str]:
    """Use the paper key at a member that shows a code; how its command ended."""
    window = member.start("pair", "--yes", "--json")
    assert window.stdout is not None
    code = json.loads(window.stdout.readline())
    use(("recovery", "use", "--code", code["code"], "--address", f"127.0.0.1:{code['port']}"))
    _, errors = window.communicate(timeout=COMMAND_SECONDS_MAX)
    return window.returncode, errors


def test_words_that_would_count_nowhere_are_not_written(
    devices: list[Device], tmp_path: Path
) -> None:
    """Whoever has them on paper takes them for the paper key, and finds out on the worst day."""
    laptop, phone, _ = devices
    words = Words(tmp_path)
    paper = with_paper_key(words, laptop, phone)
    fresh = ("--paper-key-fd", "9")
    use = ("recovery", "use", *fresh, "--words-fd", "0", "--new-key-file", str(tmp_path / "k"))
    nowhere = ("--backup", str(tmp_path / "nothing"), "--name", "new")

    words.run(laptop, "recovery", "create", *fresh, code=3)
    assert words.written == ""
    words.run(without_key(tmp_path, "new"), *use, *nowhere, typed=paper, code=1)
    assert words.written == ""
    words.run(laptop, *use[:6], "--remove", "laptop", typed=paper, code=3)
    assert words.written == ""
    words.run(laptop, "recovery", "drill", "--words-fd", "0", typed=paper)
