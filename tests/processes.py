"""Real `covey` processes for tests: homes in a temporary folder, one command a call.

`Device` is one home. `up()` starts its node as a process of its own and waits for the ready
line; `run()` runs any command with `--json` and checks the exit code. Nothing here sleeps: waiting
is done by commands that block (`sync --wait`) or by reading the node's event lines.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND_SECONDS_MAX = 120
COVEY = (sys.executable, "-m", "covey.cli.main")
NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull}
"""aiohttp reads all certificates of the system as it is imported; no command of Covey has a use for
one, and a tenth of a second for each would be minutes for all tests."""


class Device:
    """One home and, while it is up, its node process."""

    def __init__(self, folder: Path, name: str, prefix: tuple[str, ...] = ()) -> None:
        self.name = name
        self.home = folder / name
        self.key = folder / f"{name}.key"
        self.prefix = prefix
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def command(self, *arguments: str) -> list[str]:
        return [
            *self.prefix,
            *COVEY,
            "--home",
            str(self.home),
            "--key-file",
            str(self.key),
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("COVEY")} | NO_CERTIFICATES

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Any:
        """Run one command with `--json`; the parsed answer, or None if it printed nothing."""
        done = self.attempt(*arguments, "--json", stdin=stdin)
        assert done.returncode == code, (
            f"{self.name}: covey {' '.join(arguments)} ended with {done.returncode}, expected"
            f" {code}\nstdout: {done.stdout}\nstderr: {done.stderr}"
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def attempt(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            env=self.environment(),
            check=False,
        )

    def secretly(
        self, *arguments: str, code: int = 0, unlock: str | None = None, **secrets: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command whose secrets come through file descriptors.

        `new_passphrase_fd="text"` gives `--new-passphrase-fd N` after the command, where N holds
        the text. `unlock` names the one that stands before the command, in place of the key file;
        if it is empty, nothing stands there.
        """
        before, after, held = ["--home", str(self.home)], list(arguments), []
        for name, text in secrets.items():
            reading, writing = os.pipe()
            os.write(writing, text.encode())
            os.close(writing)
            held.append(reading)
            option = [f"--{name.replace('_', '-')}", str(reading)]
            before, after = (before + option, after) if name == unlock else (before, after + option)
        if unlock is None:
            before += ["--key-file", str(self.key)]
        try:
            done = subprocess.run(
                [*self.prefix, *COVEY, *before, *after],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS_MAX,
                env=self.environment(),
                pass_fds=held,
                check=False,
            )
        finally:
            for fd in held:
                os.close(fd)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and leave it running; its output can be read line by line."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def init(self, kind: str = "laptop") -> Any:
        self.home.parent.mkdir(parents=True, exist_ok=True)
        answer = self.run("init", "--name", self.name, "--type", kind, "--key-file", str(self.key))
        return answer["device"]

    def up(self, *arguments: str, listen: str = "127.0.0.1:0") -> "Device":
        self.process = self.start("up", "--listen", listen, *arguments, "--json")
        ready = self.wait_for("ready")
        self.port = ready["port"]
        return self

    def lines(self) -> Iterator[dict[str, Any]]:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the node's event lines up to the first of this kind."""
        for line in self.lines():
            if line.get("event") == event:
                return line
        assert self.process is not None and self.process.stderr is not None
        raise AssertionError(f"{self.name} ended without {event!r}: {self.process.stderr.read()}")

    def kill(self) -> None:
        """kill -9, as a dead battery would."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def down(self) -> str:
        """Stop the node with SIGTERM and return what it wrote to standard error."""
        if self.process is None:
            return ""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=COMMAND_SECONDS_MAX)
        assert self.process.returncode == 0, errors
        self.process = None
        return errors


@contextmanager
def homes(folder: Path, *names: str) -> Iterator[list[Device]]:
    """Devices with homes in this folder, not made yet. Their nodes are killed at the end.

    That is so too when the block fails: a node that was left would run on after the tests.
    """
    made = [Device(folder, name) for name in names]
    try:
        yield made
    finally:
        for device in made:
            device.kill()


def up(device: Device, *others: Device) -> None:
    """Start the node at the port that it had before, and tell it where the others are."""
    peers = [part for other in others for part in ("--peer", f"127.0.0.1:{other.port}")]
    device.up("--no-mdns", *peers, listen=f"127.0.0.1:{device.port}")


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """What is started in the block heeds SIGINT, as in a terminal.

    Where a script or nohup runs the tests in the background it is ignored, children inherit that,
    and a test that ends one by it would wait for ever. A handler, unlike that, is not inherited.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def says_words(text: str, words: list[str]) -> bool:
    """Whether `text` gives away a part of a list of secret words: two neighbours, in order.

    A single one proves nothing. The words are English ones, and a good sentence may hold "another".
    """
    said = re.findall(r"[a-z]+", text.lower())
    neighbours = set(itertools.pairwise(words))
    return any(pair in neighbours for pair in itertools.pairwise(said))


def pair(
    member: Device, joiner: Device, *options: str, address: str | None = None
) -> dict[str, Any]:
    """Pair two devices by code through the real commands; the answer of `join`."""
    window = member.start("pair", "--yes", *options, "--json")
    assert window.stdout is not None
    code = json.loads(window.stdout.readline())
    assert code["event"] == "code", code
    where = ("--address", address or f"127.0.0.1:{code['port']}")
    joined = joiner.attempt("join", code["code"], "--yes", *where, "--json")
    rest, errors = window.communicate(timeout=COMMAND_SECONDS_MAX)
    assert joined.returncode == 0, (joined.stdout, joined.stderr, rest, errors)
    answer: dict[str, Any] = json.loads(joined.stdout.splitlines()[-1])
    return answer
