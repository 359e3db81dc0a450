"""The paper key at the command line: offered, shown once, confirmed, and used on the worst day.

The first half runs in this process, with a person who is played by the test. The second half is
real processes, one of them on a terminal of its own.
"""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from covey.cli import paper_key
from covey.cli.main import covey
from covey.cli.options import Settings
from covey.cli.paper_key import (
    ask_paper_words,
    check_words_fd,
    confirm_words,
    confirmed_places,
    new_paper_key,
    offer_paper_key,
)
from covey.crypto.recovery import RecoveryKeys, read_words, words_of
from covey.crypto.secret import Secret

from .processes import COVEY, Device, says_words

SEED = bytes(range(32))
WORDS = words_of(Secret(SEED))


def draw(size: int) -> bytes:
    """The seed; then always the same three places: 1, 2 and 3."""
    return SEED if size == 32 else bytes(size)


def offered(typed: str) -> tuple[RecoveryKeys | None, str]:
    """What comes of an offer if a person types this, and what was shown."""
    found: list[RecoveryKeys | None] = []

    @click.command()
    def command() -> None:
        found.append(offer_paper_key(draw))

    result = CliRunner().invoke(command, input=typed)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout == ""
    return found[0], result.stderr


def test_a_paper_key_is_shown_and_confirmed_from_the_paper() -> None:
    """Words that nobody wrote down are worse than none: somebody relies on them."""
    keys, shown = offered("y\n\n" + "\n".join(WORDS[:3]) + "\n")

    assert keys is not None
    assert keys.public == RecoveryKeys.from_seed(Secret(SEED)).public
    assert all(re.search(rf"\b{n} {word}\b", shown) for n, word in enumerate(WORDS, 1))
    assert shown.count(" 1 " + WORDS[0]) == 1


def test_four_letters_confirm_a_word() -> None:
    """They are enough on the worst day too."""
    keys, _ = offered("y\n\n" + "\n".join(word[:4].upper() for word in WORDS[:3]) + "\n")

    assert keys is not None


@pytest.mark.parametrize("wrong", ["", "zoo", WORDS[0][:3] + "x", WORDS[0] + "s"])
def test_a_wrong_word_shows_them_once_more(wrong: str) -> None:
    """A slip of the pen is found while it can be mended."""
    keys, shown = offered("y\n\n" + f"{wrong}\n" + "\n" + "\n".join(WORDS[:3]) + "\n")

    assert keys is not None
    assert shown.count(" 1 " + WORDS[0]) == 2


def test_two_neighbours_give_words_away_and_a_single_one_does_not() -> None:
    """CI once failed on "use another one", since "another" stood on the paper."""
    shown = " ".join(f"{n} {word}" for n, word in enumerate(WORDS, 1))

    assert says_words(shown, list(WORDS))
    assert says_words(f"not a word: {WORDS[3].upper()}, {WORDS[4]}", list(WORDS))
    assert not says_words(f"{WORDS[3]} and {WORDS[4]}", list(WORDS))


def test_a_paper_key_can_be_declined() -> None:
    """Nothing is shown then, and nothing made."""
    keys, shown = offered("n\n")

    assert keys is None
    assert not any(f" {word}\n" in shown for word in WORDS)


def test_the_places_that_are_asked_for_are_three_and_drawn() -> None:
    """Always the first three would be learned by heart."""
    drawn = {tuple(confirmed_places(24, os.urandom)) for _ in range(200)}

    assert len(drawn) > 50
    assert all(len(set(places)) == 3 and sorted(places) == list(places) for places in drawn)
    assert {place for places in drawn for place in places} == set(range(24))


def test_shares_are_confirmed_in_the_same_way() -> None:
    """Their words are of another list."""

    @click.command()
    def command() -> None:
        assert confirm_words(["academic", "acid", "acne", *["zoo"] * 30], lambda n: bytes(n))

    result = CliRunner().invoke(command, input="academic\nacid\nacne\n")
    assert result.exit_code == 0, result.exception


def test_words_may_be_typed_in_several_lines() -> None:
    """Twenty-four words are a lot for one breath."""
    typed: list[str] = []

    @click.command()
    def command() -> None:
        typed.append(ask_paper_words())

    lines = "\n".join(" ".join(WORDS[at : at + 6]) for at in range(0, 24, 6))
    result = CliRunner().invoke(command, input=lines + "\n")

    assert result.exit_code == 0, result.exception
    assert read_words(typed[0]) == Secret(SEED)


def test_no_paper_key_is_made_for_a_home_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody should write 24 words down and then read that there is a home already."""
    (tmp_path / "vault.covey").touch()
    monkeypatch.setattr(paper_key, "person_present", lambda: True)

    assert new_paper_key(Settings(str(tmp_path)), None) is None


@pytest.mark.parametrize("name", ["", "x\x1b[2J", "y" * 41])
def test_a_name_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    """Not a key file, and no words that somebody writes down. An empty name is no host name."""
    home, key, words = tmp_path / "h", tmp_path / "k", tmp_path / "words"
    with words.open("w") as out:
        result = CliRunner().invoke(
            covey,
            [
                *("--home", str(home), "init", "--name", name),
                *("--key-file", str(key), "--paper-key-fd", str(out.fileno())),
            ],
        )

    assert (result.exit_code, result.stderr[:12]) == (2, "covey: name:")
    assert not home.exists() and not key.exists() and words.read_text() == ""


def test_a_descriptor_that_cannot_take_the_words_is_refused_first(tmp_path: Path) -> None:
    """After the home was made it would be too late: a paper key that nobody has."""
    with open(tmp_path / "f", "wb") as file:
        check_words_fd(file.fileno(), answer_on_stdout=True)
    with open(tmp_path / "f", "rb") as file, pytest.raises(click.UsageError, match="for writing"):
        check_words_fd(file.fileno(), answer_on_stdout=False)
    for fd in (-1, 9_999, 2**40):
        with pytest.raises(click.UsageError, match="for writing"):
            check_words_fd(fd, answer_on_stdout=False)
    with pytest.raises(click.UsageError, match="JSON"):
        check_words_fd(1, answer_on_stdout=True)


# Real processes


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, "laptop")


def kinds(device: Device) -> list[str]:
    return [row["kind"] for row in device.run("vault", "list")["slots"]]


def init_with_paper(device: Device, *options: str) -> str:
    """Make a home by a script; the words."""
    reading, writing = os.pipe()
    command = device.command(
        *("init", "--name", device.name, "--key-file", str(device.key)),
        *("--paper-key-fd", str(writing), *options, "--json"),
    )
    done = subprocess.run(
        command, capture_output=True, text=True, pass_fds=[writing], check=False, timeout=60
    )
    os.close(writing)
    with open(reading, encoding="ascii") as file:
        words = file.read()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["paper_key"] is True
    assert not says_words(done.stdout + done.stderr, words.split())
    return words


def test_a_script_gets_the_words_through_a_descriptor_and_none_without_one(
    device: Device, tmp_path: Path
) -> None:
    """And is told which of the two it was."""
    words = init_with_paper(device)
    other = Device(tmp_path, "phone")
    plain = other.run("init", "--key-file", str(other.key))

    assert len(words.split()) == 24 and words.endswith("\n")
    assert plain["paper_key"] is False
    assert kinds(device) == ["key-file", "paper-key"]
    assert kinds(other) == ["key-file"]
    assert device.run("status", code=1)["paper_key"] is True
    assert other.run("status", code=1)["paper_key"] is False


def test_a_home_whose_every_other_slot_is_lost_is_opened_with_the_paper_key(
    device: Device,
) -> None:
    """The key file is gone. The words open the home and give it a passphrase."""
    words = init_with_paper(device)
    device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
    device.run("vault", "remove", "1", "--yes")
    device.key.unlink()
    get = ("get", "memory", "facts", "tea", "--json")

    first = device.secretly(*get, unlock="words_fd", words_fd=words)
    recovered = device.secretly(
        *("vault", "recover", "--json"),
        unlock="words_fd",
        words_fd=words.upper(),
        new_passphrase_fd="correct horse",
    )
    again = device.secretly(*get, unlock="passphrase_fd", passphrase_fd="correct horse")

    assert json.loads(first.stdout) == json.loads(again.stdout) == {"text": "likes tea"}
    slots = json.loads(recovered.stdout)["slots"]
    assert [row["kind"] for row in slots] == ["paper-key", "passphrase"]


def test_the_paper_key_of_the_mesh_can_unlock_a_device_that_joined_later(device: Device) -> None:
    """Its home was made before it knew the mesh, and has no slot for these words."""
    device.init()
    words = " ".join(WORDS)
    device.secretly("vault", "add", code=2, words_fd=words)
    device.secretly("vault", "add", "--paper-key", "--new-keyring", code=2, words_fd=words)
    assert kinds(device) == ["key-file"]

    device.secretly("vault", "add", "--paper-key", words_fd=words)
    again = device.secretly("vault", "add", "--paper-key", code=1, words_fd=words)
    device.secretly("devices", unlock="words_fd", words_fd=words)

    assert kinds(device) == ["key-file", "paper-key"]
    assert again.stderr == "covey: this paper key opens the home already: slot 2\n"


def test_any_two_of_three_shares_open_a_home_and_one_does_not(device: Device) -> None:
    """One lies with a friend, one at work, one at home; the one at home burned."""
    shares = init_with_paper(device, "--shares").splitlines()
    device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
    get = ("get", "memory", "facts", "tea", "--json")

    two = device.secretly(*get, unlock="words_fd", words_fd=f"{shares[2]}\n{shares[0]}")
    one = device.secretly(*get, code=5, unlock="words_fd", words_fd=shares[0])

    assert [len(share.split()) for share in shares] == [33, 33, 33]
    assert json.loads(two.stdout) == {"text": "likes tea"}
    assert one.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--address", "192.0.2.1:1"), "--address goes with --code"),
        (("--backup", "b", "--name", "n", "--yes"), "--yes goes with --code"),
        (("--name", "n"), "--name goes with --backup"),
        (("--code", "a-b-c", "--yes", "--new-key-file", "k"), "--new-key-file goes with --backup"),
        (("--new-keyring",), "--new-keyring goes with --backup"),
        (("--backup", "b"), "give it a --name"),
        (("--backup", "b", "--code", "a-b-c"), "not both"),
        (("--code", "amber-clock-river"), "somebody has to agree"),
        (("--code", "-", "--yes", "--words-fd", "0"), "cannot both be read"),
    ],
)
def test_an_option_of_recovery_use_that_would_do_nothing_is_wrong_usage(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """Who gives it has something else in mind, on the worst of days."""
    result = CliRunner().invoke(
        covey, ["--home", str(tmp_path / "h"), "recovery", "use", "--keep-paper-key", *options]
    )

    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--key-file", "k", "--words-fd", "3", "status"),
        ("--recovery", "--passphrase-fd", "3", "status"),
        ("--key-file", "k", "restore", "b", "--recovery"),
        ("restore", "b", "--words-fd", "3", "--recovery"),
        ("init", "--key-file", "k", "--no-paper-key", "--paper-key-fd", "2"),
    ],
)
def test_two_ways_at_once_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """One of them would be silently left out."""
    monkeypatch.setattr("covey.node.unlock.harden_process", lambda: None)
    monkeypatch.setattr("covey.node.backup.read_backup", lambda path: FakeBackup())
    result = CliRunner().invoke(covey, ["--home", str(tmp_path / "home"), *arguments])

    assert result.exit_code == 2, result.output
    assert not (tmp_path / "home").exists()


class FakeBackup:
    vault = b""


def test_a_backup_is_restored_with_the_paper_key_alone(device: Device, tmp_path: Path) -> None:
    """The laptop burned, the key file with it. The stick and the paper were elsewhere."""
    words = init_with_paper(device)
    device.run("put", "memory", "facts", "tea", '{"text": "likes tea"}')
    device.run("backup", str(tmp_path / "b"))
    device.key.unlink()
    new = Device(tmp_path, "new")

    wrong = " ".join(words_of(Secret(bytes(32))))
    new.secretly("restore", str(tmp_path / "b"), code=5, unlock="", words_fd=wrong)
    assert not new.home.exists()
    restored = new.secretly("restore", str(tmp_path / "b"), unlock="", words_fd=words)
    new.secretly("vault", "recover", unlock="words_fd", words_fd=words, new_passphrase_fd="horse")
    got = new.secretly(
        *("get", "memory", "facts", "tea", "--json"), unlock="passphrase_fd", passphrase_fd="horse"
    )

    assert "vault recover" in restored.stderr
    assert json.loads(got.stdout) == {"text": "likes tea"}


PASSPHRASE_PROMPTS = ("New passphrase: ", "Repeat for confirmation: ")
"""What is typed before it is asked for is thrown away, so each is waited for."""


class Terminal:
    """A command on a terminal of its own: what is on it, and what a person types."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.seen = ""
        self.at = 0
        pid, self.fd = pty.fork()
        if pid == 0:  # pragma: no cover
            os.execvpe(command[0], command, environment)
        self.pid = pid

    def until(self, text: str) -> str:
        """Read up to a text; everything before it since the last time, and itself."""
        while (found := self.seen.find(text, self.at)) < 0:
            piece = self._piece()
            assert piece, f"ended without {text!r}: {self.seen}"
            self.seen += piece
        start, self.at = self.at, found + len(text)
        return self.seen[start : self.at]

    def type(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\n")

    def end(self) -> int:
        """Read to the end; the exit code."""
        while piece := self._piece():
            self.seen += piece
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _piece(self) -> str:
        try:
            return os.read(self.fd, 4096).decode()
        except OSError:  # Linux says so when the other end has gone.
            return ""


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        os.close(terminal.fd)


@pytest.mark.timeout(90)
def test_a_person_is_offered_the_paper_key_and_opens_the_home_with_it(
    device: Device, terminals: list[Terminal]
) -> None:
    """From the offer to the day when the passphrase is forgotten, on a real terminal."""
    start = [*COVEY, "--home", str(device.home)]
    environment = device.environment() | {"TERM": "xterm"}
    init = Terminal([*start, "init", "--name", "laptop"], environment)
    terminals.append(init)
    for prompt in PASSPHRASE_PROMPTS:
        init.until(prompt)
        init.type("forgotten tomorrow")
    init.until("Make a paper key now?")
    init.type("y")
    screen = init.until("Press Enter")
    found = {int(n): word for n, word in re.findall(r"\b(\d+) ([a-z]+)\b", screen) if int(n) <= 24}
    words = [found[n] for n in range(1, 25)]
    assert "\x1b[?1049h" in screen, "the words are on a screen that the terminal forgets"
    init.type("")
    for _ in range(3):
        init.until("Word ")
        asked = re.fullmatch(r"(\d+): ", init.until(": "))
        assert asked is not None
        init.type(words[int(asked[1]) - 1])
    assert init.end() == 0, init.seen
    assert "forgotten tomorrow" not in init.seen

    recover = Terminal([*start, "vault", "recover"], environment)
    terminals.append(recover)
    recover.until("Words: ")
    recover.type(" ".join(words))
    for prompt in PASSPHRASE_PROMPTS:
        recover.until(prompt)
        recover.type("written down")
    assert recover.end() == 0, recover.seen
    assert kinds(device) == ["passphrase", "paper-key", "passphrase"]
