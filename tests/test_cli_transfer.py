"""Import and export: nothing twice, nothing half, and an error that names the line."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from covey.cli import transfer_commands
from covey.cli.transfer_commands import LINE_BYTES_MAX, SLICE_LINES_MAX

from .fake_node import FakeNode, fake_node
from .fake_service import HOSTILE, FakeError


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path / "home") as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 1,200 different lines: two whole slices and a rest."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"n": {n}, "key": "k{n}"}}\n' for n in range(1_200)))
    return path


def bring(node: FakeNode, source: Path | str, *arguments: str) -> Result:
    return node.run("import", "memory", "facts", str(source), *arguments, "--json")


def test_an_import_goes_in_slices_and_counts(node: FakeNode, source: Path) -> None:
    """A large file must fit into requests, and the answer must say what became of it."""
    result = bring(node, source)

    assert json.loads(result.stdout) == {"read": 1_200, "written": 1_200, "unchanged": 0}
    sizes = [len(params["items"]) for params in node.asked("put_many")]
    assert sizes == [SLICE_LINES_MAX, SLICE_LINES_MAX, 200]


@pytest.mark.parametrize("arguments", [(), ("--id-field", "key")])
def test_importing_twice_adds_nothing(
    node: FakeNode, source: Path, arguments: tuple[str, ...]
) -> None:
    """An import that broke off is simply started again."""
    bring(node, source, *arguments)
    result = bring(node, source, *arguments)

    assert json.loads(result.stdout) == {"read": 1_200, "written": 0, "unchanged": 1_200}
    assert len(node.service.records) == 1_200


def test_ids_come_from_the_field_that_is_named(node: FakeNode, tmp_path: Path) -> None:
    """So that other records can refer to them; numbers are ids as well."""
    (tmp_path / "in").write_text('{"key": "a"}\n{"key": 7}\n')
    bring(node, tmp_path / "in", "--id-field", "key")

    assert [record_id for _, _, record_id in node.service.records] == ["a", "7"]


def test_equal_lines_are_as_many_records(node: FakeNode, tmp_path: Path) -> None:
    """Whoever said "ok" twice in a chat said it twice."""
    (tmp_path / "in").write_text('{"text": "ok", "by": 1}\n' * 3 + '{"by": 1, "text": "ok"}\n')
    bring(node, tmp_path / "in")
    bring(node, tmp_path / "in")

    assert len(node.service.records) == 4


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{not json", "line 1, column 2"),
        (b"[1]", "a record is a JSON object"),
        (b'{"x": "\xff"}', "not UTF-8"),
        (b'{"x": "' + b"y" * LINE_BYTES_MAX + b'"}', "longer than"),
        (b'{"n": 1}', "no text or number in the field 'key'"),
        (b'{"key": true}', "no text or number in the field 'key'"),
        (b'{"key": ""}', "no text or number in the field 'key'"),
    ],
    ids=range(7),
)
def test_a_faulty_line_is_named_and_its_slice_not_written(
    node: FakeNode, source: Path, line: bytes, problem: str
) -> None:
    """One can mend the line and go on; nobody wonders which half of a slice is there."""
    lines = source.read_bytes().splitlines()
    source.write_bytes(b"\n".join([*lines[:700], line, *lines[700:]]))
    result = bring(node, source, "--id-field", "key")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"{source}:701: " in result.stderr and problem in result.stderr
    assert "the 500 records before are stored" in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(node.service.records) == 500


def test_a_faulty_line_is_not_repeated_in_the_error(node: FakeNode, tmp_path: Path) -> None:
    """Errors are logged, records are private."""
    (tmp_path / "in").write_text('{"diagnosis": secret}\n')
    result = bring(node, tmp_path / "in")

    assert "diagnosis" not in result.stderr and "secret" not in result.stderr


def test_a_slice_that_the_node_refuses_is_named(node: FakeNode, source: Path) -> None:
    """The node knows the fault and the command the file: together they can be acted upon."""
    node.service.failing["put_many"] = FakeError("the store is full", 6)
    result = bring(node, source)

    assert result.exit_code == 6
    assert "in the 500 records from line 1: the store is full; the 0 records" in result.stderr


def test_empty_lines_and_an_empty_file_are_no_fault(node: FakeNode, tmp_path: Path) -> None:
    """Programs end their files as they like."""
    (tmp_path / "in").write_text('\n{"a": 1}\n\n  \n{"a": 2}')
    (tmp_path / "none").write_text("")
    some, none = bring(node, tmp_path / "in"), bring(node, tmp_path / "none")

    assert json.loads(some.stdout)["written"] == 2
    assert json.loads(none.stdout) == {"read": 0, "written": 0, "unchanged": 0}


def test_long_lines_make_smaller_slices(
    node: FakeNode, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 records of a megabyte would not fit into one request."""
    monkeypatch.setattr(transfer_commands, "SLICE_BYTES_MAX", 1_000)
    bring(node, source)

    assert all(len(params["items"]) < 100 for params in node.asked("put_many"))
    assert len(node.service.records) == 1_200


def test_standard_input_is_imported(node: FakeNode) -> None:
    """A converter is piped into it."""
    result = node.run("import", "memory", "facts", "-", "--json", stdin='{"a": 1}\n')

    assert json.loads(result.stdout)["written"] == 1


def test_a_missing_file_is_one_line(node: FakeNode) -> None:
    """It is no defect of ours."""
    result = bring(node, "/no/such/file")

    assert (result.exit_code, result.stderr) == (
        1,
        "covey: /no/such/file: No such file or directory\n",
    )


def fill(node: FakeNode) -> None:
    node.service.records["memory", "facts", "tea"] = {"text": "grün"}
    node.service.records["notes", "facts", "a"] = {"text": HOSTILE}


def test_an_export_is_lines_of_json(node: FakeNode) -> None:
    """It is what one leaves with, so any tool must read it."""
    fill(node)
    every, one = node.run("export"), node.run("export", "memory", "--json")

    assert [json.loads(line)["id"] for line in every.stdout.splitlines()] == ["tea", "a"]
    assert [json.loads(line)["database"] for line in one.stdout.splitlines()] == ["memory"]
    assert "grün" in every.stdout and one.stdout.isascii()


def test_an_export_to_a_terminal_is_ascii(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may hold what commands a terminal."""
    fill(node)
    monkeypatch.setattr(transfer_commands, "on_terminal", lambda: True)

    assert node.run("export").stdout.isascii()


def test_an_exported_file_is_readable_by_its_owner_alone(node: FakeNode, tmp_path: Path) -> None:
    """It is the whole store, in clear."""
    fill(node)
    out = tmp_path / "out.jsonl"
    result = node.run("export", "-o", str(out), "--json")

    expected = {"read": 2, "written": 2, "unchanged": 0, "file": str(out)}
    assert json.loads(result.stdout) == expected
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_an_export_replaces_nothing_unasked(node: FakeNode, tmp_path: Path, kind: str) -> None:
    """Last month's export may be the only copy of what was deleted since."""
    fill(node)
    out = tmp_path / "out.jsonl"
    if kind == "file":
        out.write_text("old")
    else:
        out.symlink_to(tmp_path / "elsewhere")
    result = node.run("export", "-o", str(out))

    assert result.exit_code == 1 and "--force" in result.stderr
    assert not (tmp_path / "elsewhere").exists()
    assert kind != "file" or out.read_text() == "old"


def test_a_forced_export_replaces_the_file(node: FakeNode, tmp_path: Path) -> None:
    """A nightly export writes to one name."""
    fill(node)
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    result = node.run("export", "-o", str(out), "--force")

    assert result.exit_code == 0
    assert len(out.read_text().splitlines()) == 2
    assert sorted(os.listdir(tmp_path)) == ["home", "out.jsonl"]


@pytest.mark.parametrize("force", [False, True])
def test_an_export_that_fails_leaves_what_was_there(
    node: FakeNode, tmp_path: Path, force: bool
) -> None:
    """Half an export looks like a whole one to whoever needs it later."""
    fill(node)
    node.service.failing["after export"] = FakeError("the disk failed", 6)
    out = tmp_path / "out.jsonl"
    if force:
        out.write_text("old")
    result = node.run("export", "-o", str(out), *(["--force"] if force else []))

    assert result.exit_code == 6
    assert out.exists() == force and (not force or out.read_text() == "old")
    assert len(os.listdir(tmp_path)) == 1 + force
