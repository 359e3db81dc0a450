"""Codecs: whatever a record holds becomes an equal object, or an error that names its place."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covey
from covey.sync.values import from_json, to_json, to_plain


class Colour(Enum):
    RED = "red"
    ONE = 1


@dataclass(frozen=True)
class Thing:
    text: str
    number: int
    weight: float
    raw: bytes
    when: datetime
    colour: Colour
    maybe: int | str | None
    tags: tuple[str, ...]
    rows: list[list[int]]
    table: dict[str, float | None]
    note: covey.Text
    anything: Any = None
    more: dict[str, Any] = field(default_factory=dict)
    id: str = ""


CODEC = covey.DataclassCodec(Thing)
TEXTS = st.text(max_size=20)
NAMES = st.text(st.characters(codec="ascii", exclude_characters="$"), min_size=1, max_size=5)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | st.binary(max_size=9) | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
THINGS = st.builds(
    Thing,
    TEXTS,
    INTEGERS,
    FLOATS,
    st.binary(max_size=9),
    TIMES,
    st.sampled_from(Colour),
    st.none() | INTEGERS | TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(st.lists(INTEGERS, max_size=3), max_size=3),
    st.dictionaries(NAMES, FLOATS | st.none(), max_size=3),
    TEXTS.map(covey.Text),
    VALUES,
    st.dictionaries(NAMES, VALUES, max_size=3),
    NAMES,
)


@given(THINGS)
def test_an_object_comes_back_equal_through_a_record(thing: Thing) -> None:
    """Through its JSON form too, which is what a search gives."""
    id, fields = CODEC.encode(thing)

    assert to_plain(fields) is not None
    assert CODEC.decode(id, fields) == thing
    assert CODEC.decode(id, from_json(to_json(fields))) == thing


@given(
    st.dictionaries(st.sampled_from(list(Thing.__dataclass_fields__)) | NAMES, VALUES, max_size=14)
)
def test_any_record_is_an_object_or_an_error_that_names_its_place(fields: dict[str, Any]) -> None:
    """Another version, or a device that is up to no good, may have written anything."""
    try:
        thing = CODEC.decode("r", fields)
    except covey.RecordShapeError as error:
        assert str(error).startswith("r: ")
    else:
        assert CODEC.encode(thing)[0] == "r"
        assert CODEC.decode(*CODEC.encode(thing)) == thing


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_kinds_of_numbers_are_not_mixed_but_that_a_float_may_be_whole(value: Any) -> None:
    """JSON writes 2.0 as 2 somewhere; True is 1 in Python alone."""

    @dataclass(frozen=True)
    class Number:
        whole: int = 0
        part: float = 0.0
        id: str = ""

    codec = covey.DataclassCodec(Number)
    assert codec.decode("r", {"part": 2}) == Number(0, 2.0, "r")
    assert type(codec.decode("r", {"part": 2}).part) is float
    with pytest.raises(covey.RecordShapeError, match=r"r: its field 'whole' is no Number\.whole"):
        codec.decode("r", {"whole": value})


async def test_fields_may_be_called_as_the_parameters_of_a_repository_are() -> None:
    """A domain names its fields for itself."""

    @dataclass(frozen=True)
    class Commit:
        repository: str = ""
        self: str = ""
        id: str = ""

    commits = covey.MemoryRepository(covey.MemoryDatabase(), "c", covey.DataclassCodec(Commit))
    await commits.put(Commit(id="1"))
    assert await commits.patch(1, self="us")
    async with covey.UnitOfWork(commits) as work:
        assert await work.patch(commits, 1, repository="covey")

    assert await commits.get(1) == Commit("covey", "us", "1")


@pytest.mark.parametrize("fields", [{"text": 5}, {"colour": "my secret"}, {"rows": ["my secret"]}])
def test_an_error_repeats_nothing_of_the_content(fields: dict[str, Any]) -> None:
    """Errors are shown and logged; records are private."""

    @dataclass(frozen=True)
    class Small:
        text: str = ""
        colour: Colour = Colour.RED
        rows: tuple[int, ...] = ()
        id: str = ""

    with pytest.raises(covey.RecordShapeError) as raised:
        covey.DataclassCodec(Small).decode("r", fields)

    assert "secret" not in str(raised.value) and next(iter(fields)) in str(raised.value)
