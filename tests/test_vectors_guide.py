"""docs/data/vectors.md: its examples run, and say what the page says."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import covey
from covey.sync.values import Vector, from_json

from .memory_world import World
from .processes import Device

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data" / "vectors.md"
TEXT = PAGE.read_text("utf-8")
PROGRAM, EMBEDDER = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_the_first_example_says_what_the_page_says(tmp_path: Path) -> None:
    """It is pasted before it is read."""
    device = Device(tmp_path, "my-home")
    device.key = tmp_path / "my.key"
    device.init()

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"```text\n(.*?)```", TEXT, re.S)
    assert done.stdout == said
    (command,) = re.findall(r"`covey (similar [^`]*=true)`", TEXT)
    assert [hit["id"] for hit in device.run(*command.split())["records"]] == ["tea"]


async def test_a_device_with_another_model_finds_what_its_callback_embedded() -> None:
    """The page is read by whoever has to write that callback."""
    async with World() as world:
        device = await world.founder("phone")
        facts = device.collection()
        await facts.put(
            {"text": "tea", "embedding": covey.embedding("tiny", "1", [1, 0, 0])}, "tea"
        )
        names = {
            "node": device.node,
            "facts": facts,
            "my_model": lambda text: [float(len(text)), 1.0],
        }
        code = compile(EMBEDDER, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await eval(code, names)
        await device.engine.vectors.settle()

        (hit,) = await facts.nearest([3, 1])
        assert (hit.id, round(hit.score, 6)) == ("tea", 1)


async def test_the_json_of_the_page_is_an_embedding() -> None:
    """What `covey import` is given by other programs looks like this."""
    (shown,) = re.findall(r"```json\n(.*?)```", TEXT, re.S)
    async with World() as world:
        device = await world.founder("laptop")
        read = from_json(json.loads(shown))
        await device.collection().put(read, id="tea")

        assert read["embedding"] == covey.embedding("tiny", "1", Vector([1, 0, 0]))
