"""Definitions: what is not understood is refused at its place, also if somebody means harm."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.data.reading import SchemaError
from covey.node.data.remaking import functions_of
from covey.node.data.schema import Schema, read_schema
from covey.node.data.schema_file import (
    DEFINITION_BYTES_MAX,
    SchemaFileError,
    parse_schema,
)
from covey.node.data.steps import Migration, advance, checksums, read_migration

from .schema_world import notes, schema

TOML = """\
name = "memory"
kind = "companion"
priority = 10
version = 2

[collections.facts]
additional = false
indexes = ["kind", ["kind", "at"]]
expires = "90d"
tier = "warm"
[collections.facts.fields]
text = { type = "string", required = true, max_length = 1000 }
kind = { type = "string", enum = ["fact", "guess"], default = "fact" }
at = { type = "time", min = 2020-01-01T00:00:00Z }
tags = { type = "array", items = "string" }
embedding = { type = "object" }
about = "string"
[collections.facts.rules]
tags = "union"
[collections.facts.vectors.embedding]
model = "mini"
version = "1"
dimension = 384
[collections.facts.links]
about = "people"

[[migrations]]
number = 2
collection = "facts"
changes = [{ rename = "body", to = "text" }]
"""


def test_a_toml_file_says_all_that_can_be_said() -> None:
    found = parse_schema(TOML)

    facts = found.collections["facts"]
    assert (found.name, found.kind, found.priority, found.version) == (
        *("memory", "companion", 10, 2),
    )
    assert (facts.indexes, facts.rules) == ((("kind",), ("kind", "at")), {"tags": "union"})
    assert (facts.expires, facts.tier, facts.links) == ("90d", "warm", {"about": "people"})
    assert facts.vectors["embedding"].dimension == 384
    assert facts.fields["tags"].items is not None and facts.fields["tags"].items.type == "string"
    assert [one.number for one in found.migrations] == [2]


def test_json_says_the_same_as_toml() -> None:
    found = parse_schema(TOML)

    again = parse_schema(json.dumps(found.data, indent=2), is_json=True)

    assert (again.collections, again.checksum) == (found.collections, found.checksum)
    assert again.steps == found.steps


@pytest.mark.parametrize(
    ("wrong", "line", "why"),
    [
        ("priority = 10", 3, None),
        ('tier = "warm"', 10, "'lukewarm' is none of hot, warm, cold"),
        ("max_length = 1000", 12, "no key 'maxLength' (did you mean max_length?)"),
        ('default = "fact"', 13, "a value that the field itself refuses: none of fact, guess"),
        ('tags = "union"', 19, "0 bytes, 1 to 64 allowed"),
        ("dimension = 384", 23, "a whole number from 1 to 8192"),
        ('rename = "body"', 30, "to: another name was expected"),
        ("additional = false", 7, "true or false was expected"),
        ('"kind", "at"', 8, "no field 'when' in this collection"),
    ],
)
def test_an_error_in_a_file_names_the_line(wrong: str, line: int, why: str | None) -> None:
    """A definition is long, and its author is not looking at our code."""
    instead = {
        "priority = 10": "priority = [",
        'tier = "warm"': 'tier = "lukewarm"',
        "max_length = 1000": "maxLength = 1000",
        'default = "fact"': 'default = "rumour"',
        'tags = "union"': 'tags = ""',
        "dimension = 384": "dimension = 0",
        'rename = "body"': 'rename = "text"',
        "additional = false": 'additional = "no"',
        '"kind", "at"': '"kind", "when"',
    }[wrong]

    with pytest.raises(SchemaFileError) as error:
        parse_schema(TOML.replace(wrong, instead), "memory.toml")

    if why is not None:
        assert str(error.value).startswith(f"memory.toml, line {line}: ")
        assert why in str(error.value)
    else:
        assert "not TOML" in str(error.value) and error.value.line is not None


def test_an_error_in_json_names_the_line_too() -> None:
    text = json.dumps(parse_schema(TOML).data, indent=2)
    line = next(n for n, each in enumerate(text.splitlines(), 1) if '"max_length"' in each)

    with pytest.raises(SchemaFileError, match=rf"m.json, line {line}: .*max_length"):
        parse_schema(text.replace('"max_length": 1000', '"max_length": -1'), "m.json", is_json=True)
    with pytest.raises(SchemaFileError, match=r"m\.json, line 2: not JSON"):
        parse_schema('{"name":\n nope}', "m.json", is_json=True)
    with pytest.raises(SchemaFileError, match="'name' is there twice"):
        parse_schema('{"name": "a", "name": "b"}', "m.json", is_json=True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"name": "../../etc/passwd"}, "name: 1 to 48 of a-z"),
        ({"name": "a'; DROP TABLE schemas; --"}, "name: 1 to 48 of a-z"),
        ({"name": "Memory"}, "name: 1 to 48"),
        ({"version": 0}, "version: a whole number from 1"),
        ({"version": True}, "version: a whole number from 1"),
        ({"version": 1.0}, "version: a whole number"),
        ({"priority": -1}, "priority: a whole number"),
        ({"database": "\x1b[2J"}, "database: contains a character that cannot be printed"),
        ({"database": ""}, "database: 0 bytes, 1 to 64 allowed"),
        ({"collections": {}}, "collections: 0 collections"),
        ({"collections": {"x" * 65: {}}}, "65 bytes, 1 to 64 allowed"),
        ({"collections": {"_schema": {}}}, "begin with _ are Covey's own"),
        ({"collections": {"\x1b[2J": {}}}, "a character that cannot be printed"),
        ({"collections": notes(**{"\x1b" * 99: "any"})}, "a character that cannot be printed"),
        ({"collections": []}, "collections: a table was expected, not list"),
        ({"collections": notes(**{"$vector": "any"})}, "a field name is a text without '"),
        ({"collections": notes(a="strnig")}, "'strnig' is none of .*did you mean string"),
        ({"collections": notes(a={"type": "integer", "max_length": 3})}, "integer has no max_le"),
        ({"collections": notes(a={"type": "integer", "min": 3, "max": 1})}, "min is more than max"),
        ({"collections": notes(a={"type": "number", "min": float("nan")})}, "a number, or a time"),
        ({"collections": notes(a={"type": "time", "min": 3})}, "a time with its zone"),
        ({"collections": notes(a={"enum": []})}, "0 entries, 1 to 256"),
        ({"collections": notes(a={"enum": [object()]})}, "no value that a record can hold"),
        ({"collections": notes(a={"default": float("inf")})}, "no value that a record can hold"),
        ({"collections": {"facts": {"encrypted": ["a"]}}}, "no field 'a' in this"),
        ({"collections": {"facts": {"indexes": [[]]}}}, "0 entries, 1 to 8"),
        ({"collections": {"facts": {"expires": "soon"}}}, "days such as 90d"),
        ({"collections": {"facts": {"deletion": "union"}}}, "none of edit-wins"),
        ({"collections": notes(**{f"f{n}": "any" for n in range(1_001)})}, "1001 keys"),
        ({"migrations": [{"number": 2, "collection": "facts", "changes": []}]}, "it changes noth"),
        ({"migrations": [{"number": 1, "collection": "facts", "checksum": "x"}]}, "from 2 to"),
        ({"migrations": [{"number": 2, "collection": "f", "checksum": "x"}]}, "above version 1"),
        ({"migrations": "all"}, "an array"),
        ({"surprise": 1}, "no key 'surprise'"),
    ],
)
def test_hostile_and_mistaken_definitions_are_refused_in_words(
    said: dict[str, Any], why: str
) -> None:
    with pytest.raises(SchemaError, match=why) as error:
        schema(**{"collections": notes(a="any"), **said})

    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_what_is_nested_too_deep_or_too_large_is_refused() -> None:
    deep: Any = "any"
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    with pytest.raises(SchemaError, match="nested deeper than 16"):
        schema(collections=notes(a=deep))
    with pytest.raises(SchemaFileError, match=f"{DEFINITION_BYTES_MAX} allowed"):
        parse_schema("x" * (DEFINITION_BYTES_MAX + 1))
    digits = "9" * 10_000
    for text, is_json in [
        ("[" * 100_000, True),
        ("a = " + "[" * 100_000, False),
        (f'{{"version": {digits}}}', True),
        (f"version = {digits}", False),
    ]:
        with pytest.raises(SchemaFileError):
            parse_schema(text, is_json=is_json)


def test_a_name_that_a_step_takes_away_does_not_come_back() -> None:
    """Older devices go on writing it in its old meaning; no record tells the two apart."""
    steps = [Migration(2, "facts", changes=[{"rename": "body", "to": "text"}])]

    with pytest.raises(SchemaError, match="step 2 takes the field 'body' away"):
        schema(2, collections=notes(text="string", body="any"), migrations=steps)


A_TO_B, B_TO_C = {"rename": "a", "to": "b"}, {"rename": "b", "to": "c"}
ADD_A, REMOVE_A = {"add": "a", "value": 1}, {"remove": "a"}


def stepped(*steps: list[dict[str, Any]]) -> Schema:
    """A schema whose steps change the collection `facts` so."""
    found = [Migration(2 + n, "facts", changes=changes) for n, changes in enumerate(steps)]
    return schema(1 + len(steps), collections={"facts": {}}, migrations=found)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([[REMOVE_A, ADD_A]], "step 2 brings back the name 'a', which step 2 takes away"),
        ([[REMOVE_A], [ADD_A]], "step 3 brings back the name 'a', which step 2 takes away"),
        ([[A_TO_B], [ADD_A]], "step 3 brings back the name 'a', which step 2 takes away"),
        ([[A_TO_B], [{"rename": "b", "to": "a"}]], "step 3 brings back the name 'a'"),
        ([[B_TO_C, A_TO_B]], "step 2 brings back the name 'b', which step 2 takes away"),
        ([[A_TO_B, B_TO_C]], "step 2 renames 'b' twice"),
        ([[A_TO_B, {"rename": "c", "to": "b"}]], "step 2 gives the name 'b' to a second field"),
        ([[A_TO_B], [{"rename": "c", "to": "b"}]], "step 3 gives the name 'b' to a second field"),
    ],
)
def test_steps_that_would_lose_a_value_are_refused(
    steps: list[list[dict[str, Any]]], why: str
) -> None:
    """They are gone through again whenever something comes late, on new records too."""
    with pytest.raises(SchemaError, match=re.escape(why)):
        stepped(*steps)


names = st.sampled_from("abcd")
change = (
    st.fixed_dictionaries({"rename": names, "to": names})
    | st.fixed_dictionaries({"add": names, "value": st.integers(0, 2)})
    | st.fixed_dictionaries({"remove": names})
)


@given(
    st.lists(st.lists(change, min_size=1, max_size=3), min_size=1, max_size=3),
    st.dictionaries(names, st.integers(), max_size=4),
    st.lists(st.integers(), min_size=4, max_size=4),
)
def test_steps_that_are_let_through_leave_new_records_alone(
    steps: list[list[dict[str, Any]]], record: dict[str, int], others: list[int]
) -> None:
    """Whatever an application writes at the new version has to stay as it wrote it."""
    try:
        up = functions_of(stepped(*steps), list(range(2, 2 + len(steps))), True)["facts"]
    except SchemaError:
        return
    new = up(dict(record)) or {}
    written = dict(zip(sorted(new), others, strict=False))

    assert advance(up, written, "facts/r") is None


def test_the_checksum_of_a_step_covers_its_functions_as_they_are_written() -> None:
    def one(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "a": 1}

    def other(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "a": 2}

    first, same, second = (Migration(2, "facts", each) for each in (one, one, other))

    assert checksums([first]) == checksums([same]) != checksums([second])
    assert checksums([first]) != checksums([Migration(2, "moods", one)])
    assert checksums([read_migration(first.data(), ())]) == checksums([first])
    with pytest.raises(SchemaError, match="give a checksum of your own"):
        Migration(2, "facts", eval("lambda record: record"))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5)
                    | st.sampled_from(["name", "version", "collections", "fields", "facts"]),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["name", "version", "collections", "facts",
                                                       "fields", "type", "items", "migrations"]),
                                      inner, max_size=4)))  # fmt: skip
def test_no_data_ends_in_anything_but_a_schema_or_an_error_for_a_person(data: Any) -> None:
    try:
        found = read_schema(data)
    except SchemaError:
        return
    assert found.name and found.collections


@given(st.text(max_size=60), st.booleans())
def test_no_text_ends_in_anything_but_a_schema_or_an_error_for_a_person(
    text: str, is_json: bool
) -> None:
    with pytest.raises(SchemaFileError):
        parse_schema(text, is_json=is_json)
