"""examples/companion as a program: real processes, real homes, one after the other."""

import os
import subprocess
import sys
from pathlib import Path

from .processes import Device

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "companion"


def companion(device: Device, *command: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    program = "from companion.main import main; main()"
    # Without the extra, whether or not it is installed here: both know the words.
    without = "import sys; sys.modules['wordllama'] = None; "
    return subprocess.run(
        [sys.executable, "-c", without + program, str(device.home), str(device.key), *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE / "src")},
        check=False,
    )


def test_the_companion_remembers_from_one_run_to_the_next_and_forgets_when_asked(
    tmp_path: Path,
) -> None:
    """What the README shows must be what the program does."""
    device = Device(tmp_path, "laptop")
    device.init()

    told = companion(device, "say", "Remember that Robin drinks green tea")
    talked = companion(device, stdin="Which tea for Robin?\n\n/memories\n/delete\n/what\n/quit\n")
    forgot = companion(device, "forget", "Robin's tea")
    after = companion(device, stdin="Which tea for Robin?\n")

    assert told.stdout == "I will remember: Robin drinks green tea\n", told.stderr
    assert talked.stdout.startswith("I am not a language model."), talked.stderr
    assert ": Robin drinks green tea\n> > semantic: 1\n" in talked.stdout
    assert "Deleted, with 4 messages." in talked.stdout and "/forget TEXT" in talked.stdout
    assert forgot.stdout == "Forgotten, on all devices: Robin drinks green tea\n", forgot.stderr
    assert "I remember nothing like it" in after.stdout, after.stderr
    assert [each.returncode for each in (told, talked, forgot, after)] == [0, 0, 0, 0]


def test_a_wrong_call_or_key_is_told_in_a_line(tmp_path: Path) -> None:
    """A traceback tells a person nothing."""
    device = Device(tmp_path, "laptop")

    nothing = companion(device, "say", "hello")
    device.init()
    wrong = companion(device, "dance")
    empty = companion(device, "say", " ")
    device.key.write_bytes(b"x" * 32)
    other = companion(device, "memories")

    assert nothing.stderr.startswith("companion: ") and nothing.stderr.count("\n") == 1
    assert wrong.stderr == empty.stderr and "HOME KEY say TEXT" in wrong.stderr
    assert other.stderr.startswith("companion: ") and other.stderr.count("\n") == 1
    assert 0 not in (nothing.returncode, wrong.returncode, other.returncode)
