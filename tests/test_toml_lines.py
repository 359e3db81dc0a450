"""Where a key of a TOML file stands, however the file is written."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.toml_lines import Path, key_lines

TRICKY = '''# [not.a.table]
title = "a = 1 # no comment"   # [nor.this]
"quoted key" = 'lit # "eral'
'single "quoted"' = 1
"esc\\u0061ped\\"=" = true
plain.dotted . "and more" = 1979-05-27 07:32:00
long = """first
[second]
third = 3 \\""" and "" so on \\
""""
raw = \'\'\'
key = 'x'
\'\'\'\'\'
list = [ # comment ]
  1, "two ]", [3,
  4], { in = "list", deep = { er = 1 } },
]
inline = { a = 1, "b.c" = { d = [1, { e = 2 }] }, f.g = """x""" }

[ table . "sub table" ]
key = 0x1F
[[many]]
n = 1
[[many]]
n = 2
[table]
after = "its child"
'''


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*at, name)
            yield from paths(inner, (*at, name))
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, at)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_key_of_a_tricky_file_has_its_line(ending: str) -> None:
    """Comments, quotes, dots, long strings and inline tables all hide what a search would find."""
    text = TRICKY.replace("\n", ending)
    lines = key_lines(text)

    assert set(lines) == set(paths(tomllib.loads(text)))
    assert lines == {
        ("title",): 2,
        ("quoted key",): 3,
        ('single "quoted"',): 4,
        ('escaped"=',): 5,
        ("plain",): 6,
        ("plain", "dotted"): 6,
        ("plain", "dotted", "and more"): 6,
        ("long",): 7,
        ("raw",): 11,
        ("list",): 14,
        ("list", "in"): 16,
        ("list", "deep"): 16,
        ("list", "deep", "er"): 16,
        ("inline",): 18,
        ("inline", "a"): 18,
        ("inline", "b.c"): 18,
        ("inline", "b.c", "d"): 18,
        ("inline", "b.c", "d", "e"): 18,
        ("inline", "f"): 18,
        ("inline", "f", "g"): 18,
        ("table",): 20,
        ("table", "sub table"): 20,
        ("table", "sub table", "key"): 21,
        ("many",): 22,
        ("many", "n"): 23,
        ("table", "after"): 27,
    }


names = st.text("ab.\"'# =[]{}\n\\é", max_size=4).map(lambda t: t.replace("\n", "n"))
strings = st.text("ab\"'#=[]{},\n\\", max_size=8)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def long_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""\n{escaped}"""'


values = st.recursive(
    st.integers().map(str) | strings.map(quoted) | strings.map(long_quoted) | st.just("true"),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: f"[\n{','.join(v)} # ]\n]")
        | st.dictionaries(names, inner, max_size=2).map(
            lambda d: "{" + ", ".join(f"{quoted(k)} = {v}" for k, v in d.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.booleans(), names, values), max_size=6))
def test_every_key_of_every_file_has_a_line_that_names_it(
    parts: list[tuple[bool, str, str]],
) -> None:
    """A key without a line would be an error without a place, or a crash."""
    text, expected, table = "", dict[Path, int](), Path()
    for number, (is_table, name, value) in enumerate(parts):
        key = f"{number}{name}"
        line = text.count("\n") + 1
        if is_table:
            table = (key,)
            text += f" [ {quoted(key)} ] # [x]\n"
            expected[table] = line
        else:
            text += f"{quoted(key)} = {value} # = 1\n"
            expected[*table, key] = line

    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    assert expected.items() <= lines.items()
