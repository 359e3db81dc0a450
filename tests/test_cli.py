"""The command line against a node that runs: every command's answers, for programs and for people.

Exit codes and JSON shapes are a contract with scripts. What other devices chose to be called, or
to write, must not command the terminal of whoever reads it.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from covey.cli import client, errors, output, pair_commands
from covey.cli.main import COMMANDS, covey
from covey.cli.options import Settings
from covey.node.local_socket import Credentials
from covey.node.wording import size_text

from .fake_node import FakeNode, attempt, command, fake_node
from .fake_service import HOSTILE, PHONE, PICTURE, FakeError
from .processes import heeding_ctrl_c

TEA = {"text": "likes tea"}
DEVICE_FIELDS = {
    "device_id",
    "short_id",
    "device_name",
    "device_type",
    "trust_level",
    "expires_at",
} | {*("role", "last_seen", "status", "sync_policy", "self")}

CONFLICT_FIELDS = {"id", "database", "collection", "record", "field", "rule", "state"} | {
    *("because", "value", "candidates", "reembed")
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path) as running:
        running.service.records["memory", "facts", "tea"] = dict(TEA)
        yield running


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


CODE = "amber-clock-river"
CHANGE_FIELDS = {"changes", "changed", "dry_run", "warnings", "preview"}
EXPLAIN_FIELDS = {"allowed", "rule", "because", "device", "back", "record", "others"} | {
    *("settings", "conditions", "proved", "proved_at")
}
CACHE_FIELDS = {
    *("kept", "values", "bytes", "bytes_max", "caches"),
    *("expired", "evicted", "unreadable", "failed"),
}
JSON_ANSWERS: list[tuple[tuple[str, ...], set[str]]] = [
    (("devices",), {"devices"}),
    (("devices", "list"), {"devices"}),
    (("devices", "show", "laptop"), DEVICE_FIELDS | {"addresses"}),
    (("devices", "rename", "laptop", "desk"), DEVICE_FIELDS),
    (("devices", "level", "phone", "guest", "--days", "7"), DEVICE_FIELDS),
    (("devices", "role", "phone", "admin"), DEVICE_FIELDS),
    (("devices", "describe", "phone", "--use", "mobile"), DEVICE_FIELDS),
    (("devices", "revoke", "phone", "--yes"), DEVICE_FIELDS | {"contested"}),
    (("devices", "adopt", "phone"), DEVICE_FIELDS | {"adopted"}),
    (("devices", "shelf"), {"shelf"}),
    (("devices", "rotate-keys"), {"scopes"}),
    (("devices", "rekey"), DEVICE_FIELDS | {"scopes"}),
    (("devices", "requests"), {"requests"}),
    (("devices", "approve", PHONE["id"]), DEVICE_FIELDS),
    (("db",), {"databases"}),
    (("db", "list"), {"databases"}),
    (("db", "create", "notes"), {"name", "policy", "records"}),
    (("db", "show", "memory"), {"name", "policy", "records"}),
    (("policy",), {"policies", "tags"}),
    (("policy", "show", "media", "phone"), {"policies", "tags"}),
    (("policy", "set", "media", "phone", "mode=full"), CHANGE_FIELDS),
    (("policy", "set", "*", "mode=full", "--dry-run"), CHANGE_FIELDS),
    (("policy", "profile", "show"), {"toml"}),
    (("policy", "explain", "media", "photos", "tea", "phone"), EXPLAIN_FIELDS),
    (("put", "memory", "facts", "tea", '{"a": 1}'), {"id", "version"}),
    (("put", "memory", "facts", '{"a": 1}', "--tag", "a", "--tag", "b"), {"id", "version"}),
    (("get", "memory", "facts", "tea"), {"text"}),
    (("get", "memory", "facts", "tea", "--meta"), {"text", "_meta"}),
    (("delete", "memory", "facts", "tea"), {"id", "deleted"}),
    (
        ("move", "memory", "facts", "tea", "--privacy", "family"),
        {"id", "moved", "from", "to", "remains"},
    ),
    (("ls", "memory"), {"records"}),
    (("ls", "memory", "facts"), {"records"}),
    (("find", "memory", "facts", "text=likes tea"), {"records"}),
    (("blob",), {"blobs", "used", "quota"}),
    (("blob", "ls", "memory"), {"blobs", "used", "quota"}),
    (("blob", "put", "memory", "facts", "tea", "photo", "cat.png"), {"id", "version", "blob"}),
    (("blob", "get", "memory", "facts", "tea", "photo"), {"file", "bytes", "id", "from"}),
    (("blob", "quota", "500M"), {"quota", "used"}),
    (("fetch", "memory"), {"database", "complete", "entries", "from"}),
    (("sync",), {"device", "mesh", "peers", "alarms", "reachable_all_synced"}),
    (("sync", "--wait"), {"device", "mesh", "peers", "alarms", "reachable_all_synced"}),
    (("status",), {"device", "mesh", "peers", "alarms", "reachable_all_synced"}),
    (("conflicts",), {"conflicts"}),
    (("conflicts", "list", "memory", "--all"), {"conflicts"}),
    (("conflicts", "show", "0f"), CONFLICT_FIELDS),
    (("conflicts", "resolve", "0f", "--take", "phone"), CONFLICT_FIELDS),
    (("conflicts", "resolve", "0f", "--value", "1"), CONFLICT_FIELDS),
    (
        ("conflicts", "resolve", "--all", "memory", "--take", "phone"),
        {"database", "resolved", "left"},
    ),
    (("conflicts", "undo", "0f"), CONFLICT_FIELDS),
    (("conflicts", "rules"), {"rules", "otherwise"}),
    (("conflicts", "rule", "memory", "facts", "manual"), {"database", "of", "rule"}),
    (("cache",), CACHE_FIELDS),
    (("cache", "clear", "answers"), {"name", "values"}),
    (("cache", "clear"), {"name", "values"}),
    (("log",), {"time", "event", "device"}),
    (("log", "verify"), {"ok", "events", "from", "forgotten", "at", "head"}),
    (("log", "keep"), {"days", "events"}),
    (("join", "amber-clock-river", "--yes"), {"mesh", "enrolled_by", "expires_at"}),
    (("backup", "b"), {"file", "bytes", "made_at", "blobs_only_here"}),
    (("down",), {"stopped"}),
]


@pytest.mark.parametrize(("arguments", "fields"), JSON_ANSWERS, ids=lambda a: " ".join(a))
def test_json_is_one_document_of_the_promised_shape(
    node: FakeNode, arguments: tuple[str, ...], fields: set[str]
) -> None:
    """Scripts parse standard output as it is; a stray sentence breaks them."""
    result = node.run(*arguments, "--json")

    assert result.exit_code == 0, result.output
    assert [set(document) for document in documents(result.stdout)] == [fields]


@pytest.mark.parametrize("arguments", [answer for answer, _ in JSON_ANSWERS], ids=" ".join)
def test_people_get_no_json_and_no_control_characters(
    node: FakeNode, arguments: tuple[str, ...]
) -> None:
    """A peer names itself; an escape sequence in the name must not reach the terminal."""
    node.service.records["memory", "facts", "tea"]["text"] = HOSTILE
    if arguments[0] == "find":
        arguments = (*arguments[:3], "--text", "tea")
    result = node.run(*arguments)

    assert result.exit_code == 0, result.output
    assert all(c.isprintable() or c == "\n" for c in result.output), ascii(result.output)


def test_an_answer_of_sql_names_its_columns_by_what_others_wrote(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field's name is a header: no less foreign than what stands below it."""
    query = ("sql", "SELECT * FROM memory.facts")

    shown = node.run(*query)
    for_a_program = node.run(*query, "--csv")
    monkeypatch.setattr("covey.cli.sql_commands.on_terminal", lambda: True)
    on_a_terminal = node.run(*query, "--csv")
    whole = node.run(*query, "--json")

    for result in (shown, on_a_terminal):
        assert all(c.isprintable() or c == "\n" for c in result.output), ascii(result.output)
    assert shown.output.endswith("there is more: ask for less, or give a greater --limit\n")
    header, *rows = csv.reader(io.StringIO(for_a_program.stdout))
    assert header == ["text", HOSTILE, "j"]
    assert rows[0] == ["tea", "2", ""] and rows[2] == ["=1+1", "true", 'a "b", c']
    assert whole.stdout.isascii() and json.loads(whole.stdout)["columns"][1] == HOSTILE


def test_json_for_programs_is_ascii(node: FakeNode) -> None:
    """So that even a program that prints it as it is shows no hostile character."""
    node.service.records["memory", "facts", "tea"]["text"] = HOSTILE
    result = node.run("get", "memory", "facts", "tea", "--json")

    assert result.stdout.isascii()
    assert json.loads(result.stdout)["text"] == HOSTILE


@pytest.mark.parametrize("code", range(1, 8))
def test_a_refusal_of_the_node_is_one_line_and_its_exit_code(node: FakeNode, code: int) -> None:
    """Scripts decide by the code alone, so it must come through the socket unchanged."""
    node.service.failing["get"] = FakeError(f"no, because of \x1b[31m{code}\nand so", code)
    result = node.run("get", "memory", "facts", "tea", "--json")

    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == f"covey: no, because of \\x1b[31m{code} and so\n"


def test_a_defect_ends_with_70_and_tells_no_content(node: FakeNode) -> None:
    """A script that takes 1 for "not found" must not take a crash for it."""
    node.service.failing["get"] = KeyError("my diagnosis")
    result = node.run("--verbose", "get", "memory", "facts", "tea")

    assert result.exit_code == 70
    assert "KeyError" in result.stderr
    assert "diagnosis" not in result.output


def test_verbose_adds_the_trace_without_the_texts_of_exceptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A trace is pasted into a public issue, and must be fit for it."""

    stored = "diagnosis"

    def action() -> None:
        try:
            dict[str, str]()["my " + stored]
        except KeyError as cause:
            raise FakeError("the store is damaged", 6) from cause

    code = errors.guard(action, lambda: True)

    shown = capsys.readouterr().err
    assert code == 6
    assert "covey: the store is damaged" in shown
    assert "in action" in shown and "KeyError" in shown
    assert "diagnosis" not in shown


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(28, "No space left on device", "out.jsonl"), 6, "out.jsonl: No space left"),
        (PermissionError(13, "Permission denied", "x"), 1, "x: Permission denied"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures_of_the_system_have_a_code_and_a_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    """A full disk is no defect of ours, and Ctrl-C no failure at all."""

    def action() -> None:
        raise error

    assert errors.guard(action, lambda: False) == code
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("get", "memory"),
        ("get", "memory", "facts", "tea", "--no-such-option"),
        ("put", "memory", "facts", "a", "{}", "more"),
        ("put", "memory", "facts", "{not json"),
        ("put", "memory", "facts", "a", "[1]"),
        ("put", "memory", "facts", "a", '{"x": NaN}'),
        ("put", "memory", "facts", "a", "[" * 100_000),
        ("put", "memory", "facts", "a", "{}", "--privacy", "secret"),
        ("find", "memory", "facts", "text"),
        ("find", "memory", "facts", "=1"),
        ("find", "memory", "facts", "a=1", "a=2"),
        ("find", "memory", "facts", "a>1", "a>2"),
        ("index", "create", "memory", "facts"),
        ("ls", "memory", "--limit", "0"),
        ("sync", "--timeout", "0"),
        ("pair",),
        ("join", "amber-clock-river"),
        ("join", "amber-clock-rivet", "--yes"),
        ("join", "--yes"),
        ("join", PICTURE, "--yes"),
        ("join", "  " + PICTURE.upper(), "--yes"),
        ("join", "COVEY1:", "--yes"),
        ("join", "amber-clock-river", "--qr-fd", "0", "--yes"),
        ("join", "--qr-fd", "999", "--yes"),
        ("--key-file", "k", "--passphrase-fd", "3", "status"),
    ],
    ids=lambda a: " ".join(a)[:40],
)
def test_wrong_usage_is_one_line_and_2(node: FakeNode, arguments: tuple[str, ...]) -> None:
    """A person sees what to change; a script never takes it for an answer."""
    result = node.run(*arguments)

    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("covey: ") and result.stderr.count("\n") == 1
    assert node.service.asked == []


def test_an_option_that_stands_before_the_command_says_so(node: FakeNode) -> None:
    """It is the commonest slip, and "no such option" would be untrue."""
    result = node.run("status", "--key-file", "k")

    assert result.exit_code == 2
    assert "covey --key-file … COMMAND" in result.stderr


def test_a_faulty_record_is_not_repeated_in_the_error(node: FakeNode) -> None:
    """Errors are logged by whoever runs the script, records are private."""
    result = node.run("put", "memory", "facts", '{"diagnosis": secret}')

    assert result.exit_code == 2
    assert "line 1, column 15" in result.stderr
    assert "diagnosis" not in result.stderr and "secret" not in result.stderr


def test_an_argument_that_is_no_text_is_refused(node: FakeNode) -> None:
    """An old file name in Latin-1 reaches Python as half of a surrogate pair."""
    result = node.run("get", "memory", "facts", "caf\udce9")

    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("rest", "stdin", "record_id", "value"),
    [
        (("tea", '{"a": 1}'), None, "tea", {"a": 1}),
        (('{"a": 1}',), None, None, {"a": 1}),
        ((' {"a": 1}',), None, None, {"a": 1}),
        (("tea", "-"), '{"a": 1}', "tea", {"a": 1}),
        (("tea",), '{"a": "é"}', "tea", {"a": "é"}),
        (("-",), '{"a": 1}', None, {"a": 1}),
        ((), '{"a": 1}', None, {"a": 1}),
        (("42", "{}"), None, "42", {}),
    ],
)
def test_put_finds_the_id_and_the_record(
    node: FakeNode,
    rest: tuple[str, ...],
    stdin: str | None,
    record_id: str | None,
    value: dict[str, Any],
) -> None:
    """The forms that the contract promises must not shade into one another."""
    result = node.run("put", "memory", "facts", *rest, "--privacy", "family", stdin=stdin)

    assert result.exit_code == 0, result.output
    (params,) = node.asked("put")
    assert (params["id"], params["value"]) == (record_id, value)
    assert (params["privacy"], params["replace"]) == ("family", False)


def test_replace_drops_the_other_fields_and_merge_keeps_them(node: FakeNode) -> None:
    """Dropping fields loses data, so it has to be asked for."""
    for flag in ("--replace", "--merge"):
        node.run("put", "memory", "facts", "tea", "{}", flag)

    assert [params["replace"] for params in node.asked("put")] == [True, False]


def test_find_reads_values_as_json_or_else_as_text(node: FakeNode) -> None:
    """`year=1984` must match the number, `name=Ada` must need no quotes."""
    node.run("find", "memory", "facts", "year=1984", "name=Ada", 'x="1"', "a==b", "n=NaN")

    (params,) = node.asked("find")
    assert params["where"] == {"year": 1984, "name": "Ada", "x": "1", "a": "=b", "n": "NaN"}


def test_what_is_not_there_is_exit_code_1(node: FakeNode) -> None:
    """`covey get … || covey put …` is how scripts create."""
    codes = [node.run(verb, "memory", "facts", "none").exit_code for verb in ("get", "delete")]

    assert codes == [1, 1]


def test_a_move_says_what_it_does_not_take_back(node: FakeNode) -> None:
    """Whoever makes a record less public must not believe that nobody has it."""
    moved = node.run("move", "memory", "facts", "tea", "--privacy", "family")
    stays = node.run("move", "memory", "facts", "tea", "--privacy", "private")
    none = node.run("move", "memory", "facts", "none", "--privacy", "family")
    unsaid = node.run("move", "memory", "facts", "tea")

    assert "moved facts/tea from private to family" in moved.stderr
    assert "may keep copies" in moved.stderr and HOSTILE not in moved.stderr
    assert "is private already" in stays.stderr
    assert [r.exit_code for r in (moved, stays, none, unsaid)] == [0, 0, 1, 2]


def test_a_record_is_shown_readably_and_its_tricks_escaped(node: FakeNode) -> None:
    """People read their own language; nobody needs a bidi override."""
    node.service.records["memory", "facts", "tea"] = {"text": "mag Grüntee \u202e\x9b"}
    result = node.run("get", "memory", "facts", "tea")

    assert result.stdout == '{\n  "text": "mag Grüntee \\u202e\\u009b"\n}\n'


def test_watch_shows_changes_as_lines(node: FakeNode) -> None:
    """Both a program and a person follow along; each in its form."""
    as_json = node.run("watch", "memory", "--json")
    for_people = node.run("watch", "memory")

    assert [line["op"] for line in documents(as_json.stdout)] == ["put", "delete", "lost"]
    assert for_people.stdout.startswith("put     facts/tea  by eve\\x1b[2J")
    assert for_people.stdout.count("\n") == 3


def test_the_log_is_told_in_words(node: FakeNode) -> None:
    """Fields are for programs; `--json` has them."""
    result = node.run("log")

    assert result.stdout.startswith("2026-01-01T10:00:00Z  This device admitted eve\\x1b[2J")
    assert result.stdout.count("\n") == 1


def test_a_whole_log_is_said_to_be_whole_with_what_to_write_down(node: FakeNode) -> None:
    """A head that was not written down cannot be looked for later."""
    result = node.run("log", "verify")

    assert result.stdout.splitlines() == [
        "1,234 events, from 2026-01-01T10:00:00Z on: nothing was changed",
        "at 1734",
        f"head {'5d' * 32}",
    ]
    assert result.stderr == "the first 500 events are not kept any more\n"


PROBLEM = "event 50 of 2026-01-01T10:00:00Z does not fit the ones before it"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"misfit": {"event": 50, "time": "2026-01-01T10:00:00Z"}}, 6),
        ({"passed": False}, 6),
        ({"passed": None}, 1),
    ],
)
def test_a_changed_log_is_6_and_one_that_cannot_be_compared_is_1(
    node: FakeNode, found: dict[str, Any], code: int
) -> None:
    """A script that looks every night acts on the code; a person reads where and what to do."""
    node.service.verified |= {"ok": False, "problem": PROBLEM, **found}
    for_people = node.run("log", "verify")
    as_json = node.run("log", "verify", "--json")

    assert (for_people.exit_code, as_json.exit_code) == (code, code)
    assert for_people.stdout == ""
    assert for_people.stderr.startswith(f"covey: {PROBLEM}")
    assert ("remove it from the mesh" in for_people.stderr) == (code == 6)
    assert [document["ok"] for document in documents(as_json.stdout)] == [False]


def test_half_of_an_earlier_head_is_a_wrong_use(node: FakeNode) -> None:
    """A head without its place could not be looked for, and must not be passed over in silence."""
    assert node.run("log", "verify", "--head", "00").exit_code == 2
    assert node.run("log", "verify", "--at", "5").exit_code == 2
    assert node.run("log", "verify", "--head", "5d", "--at", "5").exit_code == 0
    assert ("log_verify", {"head": "5d", "at": 5}) in node.service.asked


def test_how_much_of_the_log_is_kept_is_shown_in_words(node: FakeNode) -> None:
    """Without an option nothing is changed."""
    assert node.run("log", "keep").stdout == "100,000 events of the last 365 days\n"
    assert node.run("log", "keep", "--days", "0").stdout == "100,000 events of any age\n"
    assert node.service.asked[0] == ("log_keep", {"days": None, "events": None})


def test_status_is_1_and_names_what_is_missing_when_not_in_sync(node: FakeNode) -> None:
    """Nothing may look in sync by default: neither to a script nor to a person."""
    node.service.synced = False
    result = node.run("status")

    assert result.exit_code == 1
    assert "ALARM: the log of eve\\x1b" in result.stdout
    assert re.search(r"memory +behind +3 here, 2\.0 KiB +never$", result.stdout, re.MULTILINE)


def test_status_tells_when_sync_was_proved(node: FakeNode) -> None:
    """A proof is worth what its age allows."""
    result = node.run("status")

    assert result.exit_code == 0
    assert re.search(r"synced +2026-01-01T10:00:00Z", result.stdout)


def test_a_status_without_a_verdict_is_not_in_sync(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older node that does not say so has not proved it."""
    said = node.service.on_status({})
    del said["reachable_all_synced"]
    monkeypatch.setattr(node.service, "on_status", lambda _: said, raising=False)

    assert node.run("status").exit_code == 1


@pytest.mark.parametrize(
    ("synced", "connected", "wait", "code"),
    [
        (True, True, True, 0),
        (False, True, True, 1),
        (False, True, False, 0),
        (False, False, True, 4),
        (False, False, False, 4),
        (True, False, True, 4),
    ],
)
def test_sync_ends_as_the_proof_allows(
    node: FakeNode, synced: bool, connected: bool, wait: bool, code: int
) -> None:
    """A backup script that waits for sync must be able to trust the 0."""
    node.service.synced, node.service.connected = synced, connected
    result = node.run("sync", *(["--wait"] if wait else []), "--json")

    assert result.exit_code == code
    assert len(documents(result.stdout)) == 1


def test_sync_alone_in_the_mesh_says_what_is_missing(node: FakeNode) -> None:
    """A newcomer who has one device has not done anything wrong."""
    node.service.alone = True
    result = node.run("sync")

    assert result.exit_code == 4
    assert "covey pair" in result.stderr


@pytest.mark.parametrize(
    ("scopes", "told"), [(3, "new keys for 3 scopes"), (None, "rotate-keys` on a device of level")]
)
def test_a_new_key_says_what_is_left_to_do(node: FakeNode, scopes: int | None, told: str) -> None:
    """Until the next epoch the former key still opens everything, and old backups stay behind."""
    node.service.rekeyed_scopes = scopes
    result = node.run("devices", "rekey")

    assert result.exit_code == 0
    assert told in " ".join((result.stdout + result.stderr).split())
    assert "covey backup" in result.stderr


def test_pair_prints_the_code_and_then_who_came(node: FakeNode) -> None:
    """A script hands the code to the other device, so the first line must be it."""
    result = node.run(
        "pair", "--yes", "--level", "limited", "--days", "7", "--timeout", "5", "--json"
    )

    code, enrolled = documents(result.stdout)
    assert (code["event"], code["code"], code["port"]) == ("code", "amber-clock-river", 7654)
    assert (enrolled["event"], enrolled["device"]["level"]) == ("enrolled", "limited")
    asked = {"level": "limited", "days": 7, "timeout_s": 5.0, "ask": False}
    assert node.asked("pair") == [asked]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 3), ("\n", 3), ("", 3)])
@pytest.mark.parametrize("arguments", [("pair",), ("join", "AMBER", "cloc", "river")])
def test_pairing_asks_and_takes_only_yes_for_yes(
    node: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    answer: str,
    code: int,
) -> None:
    """A person's yes is what admits a device; no answer, or Enter, is none."""
    monkeypatch.setattr(pair_commands, "person_present", lambda: True)
    result = node.run(*arguments, "--json", stdin=answer)

    assert result.exit_code == code, result.output
    assert node.asked(f"{arguments[0]}_answer") == [{"accept": code == 0}]
    assert "eve\\x1b[2J" in result.stderr and "\x1b" not in result.stderr
    assert "9RTB-C400-0002" in result.stderr


@pytest.mark.parametrize(
    ("reason", "code"),
    [("expired", 4), ("interrupted", 4), ("wrong-code", 3), ("refused", 3), ("anything", 3)],
)
@pytest.mark.parametrize("arguments", [("pair", "--yes"), ("join", "amber-clock-river", "--yes")])
def test_a_failed_pairing_ends_with_its_reason(
    node: FakeNode, arguments: tuple[str, ...], reason: str, code: int
) -> None:
    """Nobody there is tried again; a wrong code is not."""
    node.service.pairing_failure = {"reason": reason, "message": "it\x07failed"}
    result = node.run(*arguments)

    assert result.exit_code == code
    assert result.stderr.endswith("covey: it\\x07failed\n")


def test_join_without_the_end_of_the_first_sync_is_no_success(node: FakeNode) -> None:
    """The device is enrolled, and says so; the data is not here, and it says that too."""
    node.service.first_sync_end = None
    result = node.run("join", "amber-clock-river", "--yes", "--json")

    assert set(json.loads(result.stdout)) == {"mesh", "enrolled_by", "expires_at"}
    assert result.exit_code == 1
    assert "covey sync --wait" in result.stderr


def test_join_says_what_the_node_leaves_for_later(node: FakeNode) -> None:
    """Joining is done; whoever shuts the other lid now must know what is not here yet."""
    node.service.first_sync_end = {"event": "later", "message": "the rest follows"}
    result = node.run("join", "amber-clock-river", "--yes", "--tag", "K7QF")

    assert result.exit_code == 0
    assert result.stderr.endswith("the rest follows\n")
    assert node.asked("join")[0]["tag"] == "K7QF"


def test_pair_stays_until_the_new_device_has_fetched(node: FakeNode) -> None:
    """Without a running node the window is this command: to leave would cut the first sync."""
    node.run("pair", "--yes")

    assert node.asked("pair lasted") == [{}]


@pytest.mark.parametrize("arguments", [("pair",), ("join", "amber-clock-river")])
def test_an_answer_that_comes_too_late_is_a_no(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """The other side has given up by then; "wrong usage" would explain nothing."""
    node.service.human_step_over = True
    monkeypatch.setattr(pair_commands, "person_present", lambda: True)
    result = node.run(*arguments, stdin="y\n")

    assert result.exit_code == 3
    assert result.stderr.endswith("covey: declined here\n")


def test_the_picture_of_the_code_is_for_terminals_only(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a log file it would be 20 lines of blocks."""
    plain = node.run("pair", "--yes").stdout
    monkeypatch.setattr(pair_commands, "on_terminal", lambda: True)
    drawn = node.run("pair", "--yes").stdout

    assert "█" not in plain and "covey join amber-clock-river --address 192.0.2.7:7654" in plain
    assert "█" in drawn and "covey join amber-clock-river" in drawn
    assert f"covey join -`, and paste there\n\n    {PICTURE}\n" in plain


def test_the_picture_holds_the_text_to_paste(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a camera reads must be what `join -` takes."""
    drawn: list[str] = []
    monkeypatch.setattr(pair_commands, "on_terminal", lambda: True)
    monkeypatch.setattr(pair_commands, "_draw", drawn.append)
    node.run("pair", "--yes")

    assert drawn == [PICTURE]


def test_pair_tells_a_script_the_text_of_the_picture(node: FakeNode) -> None:
    """A program that draws it itself needs it."""
    (code, _) = documents(node.run("pair", "--yes", "--json").stdout)

    assert code["qr"] == PICTURE


@pytest.mark.parametrize("text", [PICTURE, PICTURE.upper() + "\n", f"  {PICTURE}\r\n", CODE])
def test_join_takes_the_picture_or_the_code_from_standard_input(node: FakeNode, text: str) -> None:
    """The text is a secret, so it stands in no argument."""
    result = node.run("join", "-", "--yes", stdin=text)

    assert result.exit_code == 0, result.output
    assert node.asked("join")[0]["code"] == (CODE if text == CODE else PICTURE)


def test_join_takes_the_picture_from_a_descriptor(node: FakeNode, tmp_path: Path) -> None:
    """A scanner is a program that pipes."""
    read, write = os.pipe()
    os.write(write, PICTURE.encode() + b"\n")
    os.close(write)
    node.run("join", "--qr-fd", str(read), "--yes")
    os.close(read)

    assert node.asked("join")[0]["code"] == PICTURE


def test_a_picture_in_an_argument_is_refused_and_not_repeated(node: FakeNode) -> None:
    """Errors end in logs; this one must not carry on what should not have been typed."""
    result = node.run("join", PICTURE, "--yes")

    assert "covey join -" in result.stderr and PICTURE[8:] not in result.stderr


@pytest.mark.parametrize("text", [PICTURE[:-3], "covey1:", "covey1:" + "A" * 5000, "", "no code"])
def test_a_picture_that_was_cut_is_wrong_usage(node: FakeNode, text: str) -> None:
    """Told here and at once, not by silence from the other device."""
    result = node.run("join", "-", "--yes", stdin=text)

    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert len(text) < 8 or text not in result.stderr
    assert node.service.asked == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ambe", ["amber"]),
        ("Amber-cloc", ["amber-clock"]),
        ("amber-clock-rive", ["amber-clock-river"]),
        ("amber-clock-river-a", []),
        ("zzzz", []),
    ],
)
def test_the_words_of_a_code_complete(typed: str, offered: list[str]) -> None:
    """Three words are quick to type when the shell knows them."""
    completion = ShellComplete(covey, {}, "covey", "_COVEY_COMPLETE")

    found = completion.get_completions(["join"], typed)

    assert [item.value for item in found] == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(node: FakeNode, shell: str) -> None:
    """Completion that has to be looked up is not used."""
    result = node.run("completion", shell)

    assert result.exit_code == 0
    assert "_COVEY_COMPLETE" in result.stdout


def every_command(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    yield group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, click.Context(command, parent=context))
        else:
            yield command


def test_no_option_takes_a_secret() -> None:
    """Every user of the machine can read arguments and may read the environment.

    An option that has to do with one is a switch, the number of a descriptor, or a path.
    """
    commands = every_command(covey, click.Context(covey, info_name="covey"))
    parameters = [parameter for command in commands for parameter in command.params]
    options = [each for each in parameters if isinstance(each, click.Option)]
    suspects = [
        option
        for option in options
        if re.search("pass|key|secret|token|word|paper|recover|share", option.name or "")
        and not option.is_flag
    ]

    numbers = {option.name for option in suspects if option.type == click.INT}
    assert numbers >= {"passphrase_fd", "new_passphrase_fd", "words_fd", "paper_key_fd"}
    assert {option.name for option in suspects} - numbers == {"key_file", "new_key_file"}
    assert [each.envvar for each in parameters if each.envvar] == ["COVEY_HOME"]


def test_every_command_has_help_that_says_what_it_does(node: FakeNode) -> None:
    """The list of commands is the first page a newcomer reads."""
    shown = node.run("--help").stdout
    listed = re.findall(r"^  (\w+) +([A-Z].*\.)$", shown, re.MULTILINE)

    assert [name for name, _ in listed] == list(COMMANDS)
    assert not any(line.endswith("...") for _, line in listed)


def test_a_node_of_another_user_is_not_talked_to(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be told the records that one wants to store."""
    monkeypatch.setattr(client, "peer_credentials", lambda _: Credentials(os.getuid() + 1, 1))
    result = node.run("put", "memory", "facts", "{}")

    assert result.exit_code == 3
    assert node.service.asked == []


def test_an_answer_that_is_cut_is_an_error(tmp_path: Path) -> None:
    """A node that dies in an export must not leave a file that looks whole."""
    for line in (b"", b'{"result": {', b"\n"):
        with pytest.raises(errors.NodeError, match="stopped in the middle"):
            client._document(line)


def test_tables_fold_nothing_away_when_not_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`covey devices | grep` must find the whole of a long name."""
    output.table(("name", "n"), [("x" * 200, 1), (None, "[red]")])

    assert capsys.readouterr().out.splitlines()[1:] == ["x" * 200 + "  1", " " * 200 + "  [red]"]


def test_tables_on_a_terminal_show_markup_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device named "[red]" is no colour, and one named ":smile:" no picture."""
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    output.table(("name",), [("[red]a[/red]",), (":smile:",), (HOSTILE,)])

    shown = capsys.readouterr().out
    assert "[red]a[/red]" in shown and ":smile:" in shown
    assert "\x9b" not in shown and "\u202e" not in shown


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**45, "32.0 TiB")]
)
def test_sizes_are_shown_as_people_read_them(size: int, text: str) -> None:
    """Bytes left is a number one waits by."""
    assert size_text(size) == text


def test_ctrl_c_ends_a_watch_quietly_with_130(node: FakeNode) -> None:
    """It is how one ends a watch, so it is no error to be read."""
    watching = node.command("watch", "memory", "forever", "--json")
    with heeding_ctrl_c():
        process = subprocess.Popen(watching, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

    assert process.returncode == 130
    assert said.strip() == b""


def test_a_reader_that_has_enough_ends_the_command_quietly(node: FakeNode) -> None:
    """`covey export | head` is daily work."""
    for number in range(5_000):
        node.service.records["memory", "facts", str(number)] = {"text": "x" * 200}
    exporting = node.command("export")
    with subprocess.Popen(exporting, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert (process.wait(), said) == (141, b"")


def test_down_stops_a_node_and_waits_for_its_process(tmp_path: Path) -> None:
    """What comes after `covey down` opens the home itself and must find it free."""
    program = Path(__file__).with_name("fake_service.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        first = attempt(command(tmp_path, "down", "--json"))
        ended = process.poll() is not None

    second = attempt(command(tmp_path, "down", "--json"))
    assert (first.returncode, first.stdout) == (0, '{"stopped": true}\n'), first.stderr
    assert ended
    assert (second.returncode, second.stdout) == (0, '{"stopped": false}\n'), second.stderr


def test_a_command_against_a_running_node_loads_nothing_slow(node: FakeNode) -> None:
    """The budget of a whole command is 80 ms, and the interpreter takes half of it."""
    slow = "asyncio aiohttp rich zeroconf automerge nacl keyring email http qrcode platformdirs"
    program = (
        "import sys\nfrom covey.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print(*(set(sys.modules) & set({slow.split()})), file=sys.stderr)\n"
    )
    arguments = ["--home", str(node.home), "get", "memory", "facts", "tea", "--json"]
    done = attempt([sys.executable, "-c", program, *arguments])

    assert json.loads(done.stdout) == TEA
    assert done.stderr.strip() == ""


def test_the_version_is_shown(node: FakeNode) -> None:
    """It is the first thing an issue asks for."""
    result = node.run("--version")

    assert result.exit_code == 0
    assert re.fullmatch(r"covey \d+\.\d+.*\n", result.stdout)


def test_the_home_defaults_to_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person with one device need never name it."""
    monkeypatch.delenv("COVEY_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    context = covey.make_context("covey", ["status"], obj=Settings())

    assert context.params["home"] == "/data/covey"
