"""Commands whose home has no running node: they unlock and open it themselves; `up` serves it.

What opens a home is replaced by a stand-in around the fake service, so these tests are about the
command line alone: that it asks for keys in no unsafe way, and lets go of what it opened.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from covey.cli import unlocking
from covey.cli.main import covey as command_line
from covey.cli.node_commands import parse_address
from covey.node import main as node_main
from covey.node import unlock as unlock_ways
from covey.node.local_socket import socket_path
from covey.node.ports import Address
from covey.node.unlock import KeyFile, Keyring, Passphrase

from .fake_node import attempt
from .fake_service import DEVICE, FakeError, FakeService
from .processes import heeding_ctrl_c


@dataclass
class Opened:
    """How the stand-in for `covey.node.main` was used."""

    home: Path
    service: FakeService = field(default_factory=FakeService)
    opened: list[dict[str, Any]] = field(default_factory=list)
    made: list[tuple[Any, ...]] = field(default_factory=list)
    papers: list[Any] = field(default_factory=list)
    """The paper key of each home that was made, None for none."""
    closed: int = 0
    refusal: Exception | None = None

    @asynccontextmanager
    async def open_service(
        self,
        home: Path,
        unlock: Any,
        *,
        online: bool,
        listen: Any,
        mdns: bool,
        capture: Path | None = None,
        peers: tuple[Any, ...] = (),
    ) -> AsyncIterator[FakeService]:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append(
            {
                "home": home,
                "unlock": unlock,
                "online": online,
                "listen": listen,
                "mdns": mdns,
                "capture": capture,
                "peers": peers,
            }
        )
        try:
            yield self.service
        finally:
            self.closed += 1

    async def create_home(
        self, home: Path, name: str, type: str, unlock: Any, paper: Any
    ) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.made.append((home, name, type, unlock))
        self.papers.append(paper)
        return {"device": DEVICE, "mesh": "00" * 16, "paper_key": paper is not None}

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        given = ["--home", str(self.home), *arguments]
        return CliRunner().invoke(command_line, given, input=stdin)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    stand_in = Opened(tmp_path / "home")
    stand_in.service.records["memory", "facts", "tea"] = {"text": "likes tea"}
    monkeypatch.setattr(node_main, "open_service", stand_in.open_service)
    monkeypatch.setattr(node_main, "create_home", stand_in.create_home)
    monkeypatch.setattr(node_main, "check_way", lambda way, home: None)
    # The test process itself stays open to debuggers.
    monkeypatch.setattr(unlock_ways, "harden_process", lambda: None)
    return stand_in


KEY = ("--key-file", "k")


@pytest.mark.parametrize(
    ("arguments", "online"),
    [
        (("get", "memory", "facts", "tea"), False),
        (("put", "memory", "facts", "{}"), False),
        (("status",), False),
        (("export",), False),
        (("log",), False),
        (("sync",), True),
        (("watch", "memory"), True),
        (("pair", "--yes"), True),
        (("join", "amber-clock-river", "--yes"), True),
    ],
)
def test_a_command_opens_the_home_online_only_if_it_needs_others(
    opened: Opened, arguments: tuple[str, ...], online: bool
) -> None:
    """`covey get` on a train must neither listen nor announce anything."""
    result = opened.run(*KEY, *arguments)

    assert result.exit_code == 0, result.output
    assert [(use["online"], use["mdns"]) for use in opened.opened] == [(online, online)]
    assert opened.opened[0]["home"] == opened.home
    assert opened.closed == 1


def test_a_refusal_closes_the_home_and_keeps_its_exit_code(opened: Opened) -> None:
    """A command that fails must not leave the home locked."""
    result = opened.run(*KEY, "get", "memory", "facts", "none")

    assert (result.exit_code, opened.closed) == (1, 1)


@pytest.mark.parametrize("code", [5, 6, 7])
def test_a_home_that_does_not_open_is_one_line(opened: Opened, code: int) -> None:
    """A wrong key, a damaged store, a busy home: each has its code for scripts."""
    opened.refusal = FakeError("it does not open", code)
    result = opened.run(*KEY, "get", "memory", "facts", "tea")

    assert (result.exit_code, result.stderr) == (code, "covey: it does not open\n")


def test_a_stream_of_any_length_arrives_whole(opened: Opened) -> None:
    """More items than may wait at once: the stream has to pause and go on."""
    for number in range(3_000):
        opened.service.records["memory", "facts", str(number)] = {}
    result = opened.run(*KEY, "export")

    assert len(result.stdout.splitlines()) == 3_001


def test_a_stream_that_fails_says_so(opened: Opened) -> None:
    """An export that ends early must not look whole."""
    opened.service.failing["after export"] = FakeError("the disk failed", 6)
    result = opened.run(*KEY, "export")

    assert (result.exit_code, opened.closed) == (6, 1)


def test_a_stream_left_early_is_closed(opened: Opened) -> None:
    """`pair` stops listening once a device is admitted; its window must not stay open."""
    result = opened.run(*KEY, "pair", "--yes")

    assert result.exit_code == 0
    assert opened.service.streams_open == 0


def test_what_is_no_text_is_refused_as_by_a_running_node(opened: Opened) -> None:
    """Whether a node runs must not change what can be stored."""
    result = opened.run(*KEY, "put", "memory", "facts", '{"a": "\\ud800"}')

    assert result.exit_code == 2
    assert opened.service.records.keys() == {("memory", "facts", "tea")}


def test_a_command_answers_a_running_window_while_it_waits(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node must go on while a person thinks about the question."""
    monkeypatch.setattr("covey.cli.pair_commands.person_present", lambda: True)
    result = opened.run(*KEY, "pair", stdin="y\n")

    assert result.exit_code == 0, result.output
    assert ("pair_answer", {"accept": True}) in opened.service.asked


def slots(monkeypatch: pytest.MonkeyPatch, *, keyring: bool, passphrase: bool) -> None:
    monkeypatch.setattr(unlock_ways, "has_keyring_slot", lambda _: keyring)
    monkeypatch.setattr(unlock_ways, "has_passphrase_slot", lambda _: passphrase)


def test_a_key_file_unlocks(opened: Opened) -> None:
    """Servers have no keyring and nobody to type."""
    opened.run("--key-file", "some/key", "status")

    assert opened.opened[0]["unlock"] == KeyFile(Path("some/key"))


def test_a_passphrase_comes_from_a_descriptor(opened: Opened) -> None:
    """A pipe is read by the one process that holds it."""
    reader, writer = os.pipe()
    os.write(writer, b"correct horse\n")
    os.close(writer)
    opened.run("--passphrase-fd", str(reader), "status")
    os.close(reader)

    assert opened.opened[0]["unlock"].text == "correct horse"


def test_a_home_with_a_keyring_slot_asks_for_nothing(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a desktop the login has already unlocked it."""
    slots(monkeypatch, keyring=True, passphrase=True)
    opened.run("status")

    assert opened.opened[0]["unlock"] == Keyring()


def test_a_person_is_asked_for_the_passphrase_unseen(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks over the shoulder must learn nothing."""
    slots(monkeypatch, keyring=False, passphrase=True)
    monkeypatch.setattr(unlocking, "person_present", lambda: True)
    result = opened.run("status", stdin="correct horse\n")

    assert opened.opened[0]["unlock"].text == "correct horse"
    assert "correct horse" not in result.output


@pytest.mark.parametrize("passphrase", [True, False])
def test_a_locked_home_without_anybody_to_ask_is_5(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, passphrase: bool
) -> None:
    """A cron job must fail with what to do, not hang at a prompt."""
    slots(monkeypatch, keyring=False, passphrase=passphrase)
    result = opened.run("status")

    assert result.exit_code == 5
    assert ("--passphrase-fd" if passphrase else "--key-file") in result.stderr
    assert opened.opened == []


def test_a_home_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    """It is the first thing that a newcomer meets who forgot the first step."""
    result = CliRunner().invoke(command_line, ["--home", str(tmp_path / "none"), "status"])

    assert result.exit_code in (1, 5)
    assert "covey init" in result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_init_makes_a_home_and_says_what_comes_next(opened: Opened, before: bool) -> None:
    """The key file may be named where every other command takes it."""
    given = ("--name", "laptop", "--type", "server")
    key = ("--key-file", "k")
    result = opened.run(*key, "init", *given) if before else opened.run("init", *given, *key)

    assert result.exit_code == 0, result.output
    assert opened.made == [(opened.home, "laptop", "server", KeyFile(Path("k")))]
    assert DEVICE["id"] in result.stdout
    assert "covey pair" in result.stdout and "covey join" in result.stdout
    assert "stolen disk" in result.stderr


def test_init_as_json_is_the_device_and_the_mesh(opened: Opened) -> None:
    """A script enrols what it has just made."""
    result = opened.run("init", "--keyring", "--json")

    assert json.loads(result.stdout) == {"device": DEVICE, "mesh": "00" * 16, "paper_key": False}
    assert opened.made[0][3] == Keyring()
    assert opened.made[0][1]


@pytest.mark.parametrize(
    "ways", [(), ("--keyring", "--key-file", "k"), ("--passphrase-fd", "0", "--keyring")]
)
def test_init_needs_exactly_one_way_and_names_the_three(
    opened: Opened, ways: tuple[str, ...]
) -> None:
    """There is no "no protection": a script has to choose, and is told from what."""
    result = opened.run("init", *ways, stdin="pass")

    assert result.exit_code == 2
    assert all(way in result.stderr for way in ("--passphrase-fd", "--keyring", "--key-file"))
    assert opened.made == []


def test_init_asks_a_person_twice(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in an unseen passphrase would lock the home for good."""
    monkeypatch.setattr(unlocking, "person_present", lambda: True)
    result = opened.run("init", stdin="correct horse\ncorrect hose\ncorrect horse\ncorrect horse\n")

    assert result.exit_code == 0, result.output
    assert isinstance(opened.made[0][3], Passphrase)
    assert "horse" not in result.output and "horse" not in repr(opened.made)


def test_init_of_a_home_that_is_there_asks_nothing(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passphrase and the words of a paper key would be taken down for nothing."""
    monkeypatch.setattr(unlocking, "person_present", lambda: True)
    opened.home.mkdir()
    (opened.home / "vault.covey").touch()
    result = opened.run("init", stdin="correct horse\ncorrect horse\n")

    assert result.exit_code == 1
    assert "there is a Covey home here already" in result.stderr
    assert "passphrase" not in result.output.lower() and opened.made == []


def test_every_way_of_unlocking_hardens_the_process_first(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core dump of a process that holds the key is the key on disk."""
    hardened: list[str] = []
    monkeypatch.setattr(unlock_ways, "harden_process", lambda: hardened.append("yes"))
    opened.run(*KEY, "status")
    opened.run("init", *KEY)

    assert hardened == ["yes", "yes"]


def test_up_listens_where_it_was_told(opened: Opened) -> None:
    """A firewall rule names the port, and some networks forbid announcements."""
    opened.service.stopped.set()
    result = opened.run(
        *KEY, "up", "--listen", "127.0.0.1:0", "--no-mdns", "--peer", "127.0.0.1:9", "--json"
    )

    (use,) = opened.opened
    assert result.exit_code == 0, result.output
    assert use["listen"] == Address("127.0.0.1", 0)
    assert (use["online"], use["mdns"]) == (True, False)
    assert (use["peers"], use["capture"]) == ((Address("127.0.0.1", 9),), None)
    assert opened.closed == 1


def test_up_shows_events_in_the_form_that_was_asked_for(opened: Opened) -> None:
    """A supervisor parses them, a person reads them, and a peer chose its name."""
    opened.service.stopped.set()
    as_json = opened.run(*KEY, "up", "--json").stdout.splitlines()
    for_people = opened.run(*KEY, "up").stdout.splitlines()

    assert json.loads(as_json[0]) == {"event": "ready", "port": 7654, "device": DEVICE}
    assert json.loads(as_json[1])["event"] == "peer-connected"
    assert '"laptop" is up on port 7654' in for_people[0]
    assert for_people[1].startswith("peer-connected  device=eve\\x1b[2J")


PROGRAM = """
import sys
from contextlib import asynccontextmanager
sys.path.insert(0, {tests!r})
from fake_service import FakeService
from covey.cli.main import main
from covey.node import main as node_main

@asynccontextmanager
async def open_service(*_, **__):
    service = FakeService()
    try:
        yield service
    finally:
        if ("watch", {{"database": "memory", "collection": "forever"}}) in service.asked:
            print("stream over," if not service.streams_open else "open,", file=sys.stderr)
        print("closed", file=sys.stderr)

node_main.open_service = open_service
main()
"""


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    given = ["--home", str(home), "--key-file", "k", *arguments, "--json"]
    with heeding_ctrl_c():
        return subprocess.Popen(
            [sys.executable, "-c", program, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def test_a_command_is_answered_once_up_is_ready(tmp_path: Path) -> None:
    """A script starts its work at the first line, and the home is free after `covey down`."""
    base = [sys.executable, "-m", "covey.cli.main", "--home", str(tmp_path / "home")]
    with start(tmp_path / "home", "up") as process:
        assert process.stdout is not None
        process.stdout.readline()
        status, down = attempt([*base, "status"]), attempt([*base, "down"])
        ended = process.poll()

    assert (status.returncode, down.returncode, ended) == (0, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The system stops services with a signal, and 0 tells it that all is well."""
    with start(tmp_path / "home", "up") as process:
        assert process.stdout is not None and process.stderr is not None
        ready = json.loads(process.stdout.readline())
        process.send_signal(number)
        said = process.stderr.read()

    assert ready["event"] == "ready"
    assert (process.returncode, said) == (0, "closed\n")
    assert not os.path.exists(socket_path(tmp_path / "home"))


def test_ctrl_c_closes_the_home_that_a_command_has_opened(tmp_path: Path) -> None:
    """Else its lock and its open window would outlive the person's patience."""
    with start(tmp_path / "home", "watch", "memory", "forever") as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

    assert (process.returncode, said.split()) == (130, ["stream", "over,", "closed"])


def test_up_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    """Whoever started it reads the first line and goes away; the node must not go with them."""
    with start(tmp_path / "home", "up") as process:
        assert process.stdout is not None
        process.stdout.close()
        home = ("--home", str(tmp_path / "home"))
        base = [sys.executable, "-m", "covey.cli.main", *home]
        while not os.path.exists(socket_path(tmp_path / "home")):
            assert process.poll() is None
        status, down = attempt([*base, "status"]), attempt([*base, "down"])

    assert (status.returncode, down.returncode) == (0, 0), (status.stderr, down.stderr)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:7654", Address("0.0.0.0", 7654)),
        ("[::1]:0", Address("::1", 0)),
        ("home.example:1", Address("home.example", 1)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    """IPv6 has colons of its own."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "7654", ":7654", "host:", "host:x", "host:65536", "::1:7654"])
def test_a_faulty_address_is_wrong_usage(text: str) -> None:
    """`::1:7654` could be either; guessing would listen somewhere else."""
    with pytest.raises(click.UsageError):
        parse_address(text)
