"""`covey policy` at the terminal: what is asked of the node, what a person sees and is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.cli import policy_commands
from covey.sync import profile_text

from .fake_node import FakeNode, fake_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path) as running:
        yield running


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at the terminal."""
    monkeypatch.setattr(policy_commands, "person_present", lambda: True)


def test_a_device_is_what_stands_before_the_settings(node: FakeNode) -> None:
    """The contract of the command has it there, if at all."""
    node.run("policy", "set", "media", "phone", "mode=full", "quiet=off")
    node.run("policy", "set", "*", "mode=full")
    asked = [(a["database"], a["device"], a["settings"]) for a in node.asked("policy_set")]

    assert asked == [
        *[("media", "phone", ["mode=full", "quiet=off"])] * 2,
        *[("*", None, ["mode=full"])] * 2,
    ]


def test_a_dry_run_asks_for_nothing_else(node: FakeNode) -> None:
    """And shows what would stop, with the sum and what was counted."""
    result = node.run("policy", "set", "media", "mode=on-demand", "--dry-run")

    assert [asked["dry_run"] for asked in node.asked("policy_set")] == [True]
    assert "3 records (2.0 KiB) stop travelling" in result.stderr
    assert "counted from what this device holds" in result.stderr
    assert result.exit_code == 0


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize(("answer", "code"), [("n\n", 3), ("y\n", 0), ("", 130)])
def test_what_narrows_is_shown_and_asked_about(node: FakeNode, answer: str, code: int) -> None:
    """The other devices lose something by it."""
    result = node.run("policy", "set", "media", "mode=on-demand", stdin=answer)

    assert result.exit_code == code
    assert "stop travelling" in result.stderr and "Change it?" in result.stderr
    assert any(not asked["dry_run"] for asked in node.asked("policy_set")) == (code == 0)


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("arguments", [("mode=on-demand", "--yes"), ("mode=full",)])
def test_nobody_is_asked_who_said_yes_or_narrows_nothing(
    node: FakeNode, arguments: tuple[str, ...]
) -> None:
    """A question with one answer trains people to answer it."""
    result = node.run("policy", "set", "media", *arguments)

    assert (result.exit_code, "Change it?" in result.output) == (0, False)
    assert [asked["dry_run"] for asked in node.asked("policy_set")] == [True, False]


def test_a_script_is_not_asked(node: FakeNode) -> None:
    """It names its settings one by one; --dry-run tells it beforehand."""
    result = node.run("policy", "set", "media", "mode=on-demand", "--json")

    assert result.exit_code == 0
    assert [asked["dry_run"] for asked in node.asked("policy_set")] == [True, False]


def test_without_a_setting_it_is_wrong_usage(node: FakeNode) -> None:
    """A device alone changes nothing."""
    assert node.run("policy", "set", "media").exit_code == 2


def test_an_explanation_is_read_from_top_to_bottom(node: FakeNode) -> None:
    """First whether, then why, then what made it so."""
    result = node.run("policy", "explain", "media", "photos", "cat", "phone")
    lines = result.stdout.splitlines()

    assert lines[0].startswith("photos/cat does not travel to eve")
    assert lines[0].endswith("it takes it when it asks (rule: on-demand)")
    assert "back: nothing stands against it" in lines[1]
    assert any(line.endswith("mode=full, by the default") for line in lines)
    assert any("`covey move` narrows it" in line for line in lines)
    assert "proved 2026-01-01T10:00:00Z" in lines[-1]


def test_put_hands_tags_on(node: FakeNode) -> None:
    """What they mean is the node's to say."""
    node.run("put", "memory", "facts", "x", '{"a": 1}', "--tag", "a", "--tag", "b")

    assert node.asked("put")[0]["tags"] == ["a", "b"]


def test_a_profile_is_read_here_and_loaded_by_the_node(node: FakeNode, tmp_path: Path) -> None:
    """All of it in one call, so that it is one transaction."""
    file = tmp_path / "my profile.toml"
    file.write_text('[databases.media]\nmode="full"\n')
    result = node.run("policy", "profile", "load", str(file), "--json")

    assert result.exit_code == 0, result.output
    assert [asked["dry_run"] for asked in node.asked("policy_load")] == [True, False]
    (asked, _) = node.asked("policy_load")
    assert (asked["file"], asked["text"]) == (str(file), file.read_text())


@pytest.mark.usefixtures("somebody")
def test_a_profile_that_narrows_is_asked_about(node: FakeNode, tmp_path: Path) -> None:
    """As for one setting."""
    file = tmp_path / "p.toml"
    file.write_text("mode=on-demand")
    refused = node.run("policy", "profile", "load", str(file), stdin="n\n")
    looked = node.run("policy", "profile", "load", str(file), "--dry-run")

    assert (refused.exit_code, looked.exit_code) == (3, 0)
    assert [asked["dry_run"] for asked in node.asked("policy_load")] == [True, True]


@pytest.mark.parametrize(
    ("data", "told"), [(b"x" * 65_537, "larger than 64.0 KiB"), (b"a\n\xff", ":2: it is not UTF-8")]
)
def test_a_file_that_can_be_no_profile_is_not_sent(
    node: FakeNode, tmp_path: Path, data: bytes, told: str
) -> None:
    """A wrong name on the command line may name a large and private file."""
    file = tmp_path / "p.toml"
    file.write_bytes(data)
    result = node.run("policy", "profile", "load", str(file))

    assert result.exit_code == 1
    assert told in result.stderr
    assert node.asked("policy_load") == []


def test_both_ends_agree_on_how_large_a_profile_is() -> None:
    """The number stands in two places, because the command line loads nothing slow."""
    assert policy_commands.PROFILE_BYTES_MAX == profile_text.PROFILE_BYTES_MAX
