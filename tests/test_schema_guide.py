"""The guide of schemas: its examples run, and what they assert is so."""

import ast
import re
from pathlib import Path
from typing import Any

from covey.node.data.schema import unregister_schema
from covey.node.data.schema_file import parse_schema

from .memory_world import World

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "data" / "schemas.md"


def blocks(language: str) -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


async def test_the_application_of_the_guide_runs(
    tmp_path: Path,
) -> None:
    """From a file, as the checksum of a step is that of its source."""
    async with World() as world:
        laptop = await world.founder("laptop")
        names: dict[str, Any] = {"node": laptop.node, "__name__": "guide"}
        try:
            for number, block in enumerate(blocks("python")):
                file = tmp_path / f"block{number}.py"
                file.write_text(block)
                code = compile(block, str(file), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                waiting = eval(code, names)
                if waiting is not None:
                    await waiting
        finally:
            unregister_schema("memory")
        assert (await laptop.node.schemas())[0]["at"] == 1


def test_the_file_of_the_guide_is_a_schema() -> None:
    (text,) = blocks("toml")

    found = parse_schema(text)

    assert (found.version, list(found.collections)) == (2, ["facts"])
