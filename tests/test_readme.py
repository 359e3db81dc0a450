"""The Python example of the README runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from .processes import Device

ROOT = Path(__file__).resolve().parent.parent


def test_the_python_example_of_the_readme_runs_and_says_what_it_must(tmp_path: Path) -> None:
    """The first thing an application's author does is to paste it."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    device = Device(tmp_path, "my-home")
    device.key = tmp_path / "my.key"
    device.init()

    done = subprocess.run(
        [sys.executable, "-c", examples[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'cups': 3, 'text': 'likes tea'}", "tea likes tea"]
    assert device.run("ls", "memory", "facts")["records"] == [
        {"collection": "facts", "id": "sort", "text": "kukicha, roasted"}
    ]
