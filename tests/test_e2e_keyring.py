"""Homes that the keyring of a desktop opens, with a real one; and what a home needs to be begun."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .processes import COMMAND_SECONDS_MAX, COVEY, Device
from .test_failing_world import refused

DESKTOP = ("dbus-run-session", "gnome-keyring-daemon")
NEEDS_DESKTOP = pytest.mark.skipif(
    any(shutil.which(program) is None for program in DESKTOP),
    reason=f"needs {' and '.join(DESKTOP)}",
)
# Logging in is what hands the passphrase of the keyring over; without one it stays locked.
UNLOCKED = "printf moss | gnome-keyring-daemon --unlock --components=secrets"
LOCKED = "gnome-keyring-daemon --start --components=secrets"

Session = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Runs a command in a desktop session of its own. What the keyring holds outlives sessions."""
    for variable, name in (("XDG_RUNTIME_DIR", "r"), ("XDG_DATA_HOME", "d"), ("HOME", "h")):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(variable, raising=False)
    environment = Device(tmp_path, "laptop").environment()

    def run(*arguments: str, login: str = UNLOCKED) -> subprocess.CompletedProcess[str]:
        script = f'{login} >/dev/null 2>&1; exec "$@"'
        return subprocess.run(
            ["dbus-run-session", "--", "sh", "-c", script, "sh", *COVEY, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            env=environment,
            check=False,
        )

    return run


@NEEDS_DESKTOP
def test_a_home_opens_by_a_keyring(session: Session, tmp_path: Path) -> None:
    """Init in one session, read in the next: nothing is asked, and the disk alone opens nothing."""
    home = ("--home", str(tmp_path / "home"))
    made = session(*home, "init", "--keyring", "--name", "laptop")
    put = session(*home, "put", "memory", "facts", "tea", '{"text": "likes tea"}')
    found = session(*home, "get", "memory", "facts", "tea", "--json")
    ways = session(*home, "vault", "list")
    locked = session(*home, "get", "memory", "facts", "tea", login=LOCKED)

    assert (made.returncode, put.returncode) == (0, 0), (made.stderr, put.stderr)
    assert found.stdout.strip() == '{"text": "likes tea"}', found.stderr
    assert "keyring" in ways.stdout
    assert "it is locked; unlock it and try again" in refused(locked, 5)


@NEEDS_DESKTOP
def test_a_keyring_that_nobody_opens_begins_no_home(session: Session, tmp_path: Path) -> None:
    """A desktop that is reached from afar has a keyring, and nobody before it."""
    home = tmp_path / "home"
    done = session("--home", str(home), "init", "--keyring", login=LOCKED)

    assert "unlock it and try again" in refused(done, 5)
    assert not home.exists()


def test_words_are_not_written_down_for_a_home_that_cannot_be(tmp_path: Path) -> None:
    """A person would keep a paper that opens nothing, and take it for the right one."""
    device = Device(tmp_path, "laptop")
    paper = tmp_path / "paper"
    with paper.open("w") as out:
        done = subprocess.run(
            [
                *(*COVEY, "--home", str(device.home), "init", "--keyring"),
                *("--paper-key-fd", str(out.fileno())),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            env=device.environment() | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
            pass_fds=[out.fileno()],
            check=False,
        )

    line = refused(done, 5)
    assert "(there is none)" in line and "--passphrase-fd" in line and "--key-file" in line
    assert paper.read_text() == ""
    assert os.listdir(tmp_path) == ["paper"]
