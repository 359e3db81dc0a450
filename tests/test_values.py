"""Values of records: what may be stored, what is refused and in which words, and the JSON form."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.errors import BadValueError
from covey.sync.manifest import Manifest
from covey.sync.values import (
    BlobRef,
    Counter,
    Increment,
    Text,
    Vector,
    blob_ref,
    from_json,
    from_plain,
    milliseconds_of,
    same,
    timestamp_of,
    to_json,
    to_plain,
    value_text,
)

from .record_worlds import names, values

KEY = b"\xa5" * 32
THUMBNAIL = Manifest(KEY, 3, bytes(32), "image/jpeg")
SMALL = blob_ref(THUMBNAIL)
PHOTO = blob_ref(Manifest(KEY, 7, bytes(32), "image/png", "cat.png", (("thumbnail", THUMBNAIL),)))


def deep(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


@given(st.dictionaries(names, values, max_size=4))
def test_tagged_json_gives_every_value_back(record: dict[str, Any]) -> None:
    """Export, the command line and the store all go through it; nothing may change on the way."""
    through = json.loads(json.dumps(to_json(record)))

    assert from_json(through) == record
    assert json.loads(value_text(record)) == through


@given(st.dictionaries(names, values, max_size=4))
def test_the_plain_form_reads_as_what_was_written(record: dict[str, Any]) -> None:
    """What an application stores is what it gets."""
    assert same_json(from_plain(to_plain(record)), record)


def same_json(a: Any, b: Any) -> bool:
    return bool(value_text(a) == value_text(b))


@given(st.dictionaries(names, values, max_size=4))
def test_the_text_of_a_value_does_not_depend_on_the_order_of_its_fields(
    record: dict[str, Any],
) -> None:
    """Devices that hold the same record must hold the same text of it."""
    assert value_text(dict(reversed(record.items()))) == value_text(record)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"$x": 1}, r"\$x: a field name must not start"),
        ({"a": {"$deleted": True}}, r"a\$deleted: a field name"),
        ({1: 2}, "a field name is a str"),
        ({"": 1}, "1 to 256 bytes"),
        ({"é" * 129: 1}, "1 to 256 bytes"),
        ({"a": float("nan")}, "a: nan cannot be stored"),
        ({"a": [1, float("inf")]}, r"a\[1\]: inf cannot be stored"),
        ({"a": 2**63}, "a: an integer is within"),
        ({"a": -(2**63)}, "a: an integer is within"),
        ({"a": {"b": 2**70}}, "a.b: an integer"),
        ({"a": "\ud800"}, "half a surrogate pair"),
        ({"\udfff": 1}, "half a surrogate pair"),
        ({"a": Text("\ud800")}, "half a surrogate pair"),
        ({"a": datetime(2024, 1, 1)}, "a: a datetime needs a time zone"),
        ({"a": datetime(1, 1, 1, tzinfo=UTC)}, "years 2 to 9998"),
        ({"a": (1, 2)}, "a: tuple cannot be stored"),
        ({"a": {1, 2}}, "a: set cannot be stored"),
        ({"a": 1j}, "a: complex cannot be stored"),
        ({"a": Counter(2**63)}, "a: an integer is within"),
        ({"a": Text(cast(Any, 5))}, "a: a Text holds a str"),
        ({"a": BlobRef(bytes(32), 1)}, "a: this names a blob that is not known here"),
        ({"a": replace(PHOTO, size=8)}, "a: this names a blob that is not known here"),
        ({"a": replace(PHOTO, manifest=b"rubbish")}, "not known here"),
        ({"a": "x" * 921_601}, "the record exceeds 921600 bytes"),
        ({"a": bytes(921_601)}, "the record exceeds 921600 bytes"),
        (deep(33), "nested deeper than 32"),
        ([1], "a record is a dict, not list"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, place: str) -> None:
    """Whoever wrote the application has to find the field, not read our source."""
    with pytest.raises(BadValueError, match=place) as caught:
        to_plain(value)

    assert "\n" not in str(caught.value)


def test_what_is_just_allowed_is_allowed() -> None:
    """A limit that refuses its own number is a limit of one less."""
    record = {
        "a" * 256: 2**63 - 1,
        "b": -(2**63) + 1,
        "deep": deep(32)["a"],
        "t": datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC),
    }

    assert to_plain(record) == record


@pytest.mark.parametrize("numbers", [b"abc", [float("inf")], [1e39], ["x"], b"\0\0\xc0\x7f"])
def test_a_vector_of_anything_but_float32_is_refused(numbers: Any) -> None:
    """A vector with a NaN would match nothing and everything in a search."""
    with pytest.raises(BadValueError):
        Vector(numbers)


def test_a_vector_gives_its_numbers() -> None:
    """Applications compute with lists, the record keeps bytes."""
    assert Vector([0.5, -2.0]).floats() == [0.5, -2.0]
    assert Vector([0.5]).data == b"\0\0\0\x3f"


def test_times_are_kept_to_the_millisecond_and_in_utc() -> None:
    """Two devices in two zones must store the same moment as the same value."""
    here = datetime(2024, 5, 1, 12, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    plain = to_plain({"t": here})

    assert plain["t"] == datetime(2024, 5, 1, 10, 0, 0, 123_000, tzinfo=UTC)
    assert value_text(plain) == '{"t":{"$time":"2024-05-01T10:00:00.123Z"}}'


@given(st.integers(-62_104_060_800_000, 253_370_764_799_999))
def test_every_millisecond_within_the_limits_is_a_time(milliseconds: int) -> None:
    """Far from 1970 a double no longer tells milliseconds apart; integers do."""
    assert milliseconds_of(timestamp_of(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    "tagged",
    [
        {"$bytes": "!"},
        {"$bytes": 5},
        {"$time": "yesterday"},
        {"$time": "2024-01-01T00:00:00"},
        {"$text": 1},
        {"$counter": True},
        {"$counter": 1.5},
        {"$vector": "AAA"},
        {"$vector": [1, "x"]},
        {"$blob": {"id": "zz", "size": 1, "type": ""}},
        {"$blob": {}},
        {"$blob": 5},
        {"$blob": {"id": "00" * 32, "size": True, "type": ""}},
        {"$blob": {"id": "00" * 32, "size": 1, "type": "", "key": "00" * 32}},
        {"$blob": {"id": "00" * 32, "size": 1, "type": "", "variants": {"thumbnail": 1}}},
        {"$blob": {"id": "00" * 32, "size": 1, "type": "", "variants": {"Big": {}}}},
        {"$unknown": 1},
        {"$bytes": "", "more": 1},
        {"more": 1, "$text": "x"},
    ],
)
def test_a_tag_that_is_not_one_is_refused(tagged: dict[str, Any]) -> None:
    """A typing error in a tag must not be stored as data under a reserved name."""
    with pytest.raises(BadValueError):
        from_json({"field": [tagged]})


def test_tags_say_what_json_cannot() -> None:
    """The forms are a contract with scripts."""
    record = {
        "b": b"\x00\xff",
        "c": Counter(5),
        "i": Increment(-1),
        "m": Text("héllo"),
        "v": Vector([1.0]),
        "x": PHOTO,
    }

    assert to_json(record) == {
        "b": {"$bytes": "AP8="},
        "c": {"$counter": 5},
        "i": {"$increment": -1},
        "m": {"$text": "héllo"},
        "v": {"$vector": "AACAPw=="},
        "x": {
            "$blob": {
                "id": PHOTO.id.hex(),
                "size": 7,
                "type": "image/png",
                "name": "cat.png",
                "variants": {"thumbnail": {"id": SMALL.id.hex(), "size": 3, "type": "image/jpeg"}},
            }
        },
    }


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.binary(), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["$counter", "$vector", "$blob", "id", "size", "type", "x"]), inner,
        max_size=3,
    )
)))  # fmt: skip
def test_maps_that_only_look_special_are_read_as_maps(plain: Any) -> None:
    """Another member may have written anything; reading a record never fails."""
    from_plain(plain)


@given(values, values)
def test_same_means_the_same_text(a: Any, b: Any) -> None:
    """Whether a field is written again is decided by it: 1, 1.0 and true are three values."""
    plain_a, plain_b = to_plain({"x": a}), to_plain({"x": b})

    assert same(plain_a, plain_b) == (value_text(plain_a) == value_text(plain_b))
    assert same(plain_a, plain_a)


@pytest.mark.parametrize("shown", [repr(PHOTO), value_text({"a": PHOTO}), repr(to_json(PHOTO))])
def test_the_key_of_a_blob_shows_nowhere(shown: str) -> None:
    """Whoever reads a log or the JSON of a record must not be able to open the blob."""
    assert KEY.hex() not in shown
    assert base64.b64encode(KEY).decode().rstrip("=") not in shown
    assert repr(KEY)[2:-1] not in shown


def test_a_blob_that_came_as_json_is_the_same_blob_and_cannot_be_stored() -> None:
    """A person may copy what they see, and may not make up a blob."""
    copied = from_json(json.loads(value_text(PHOTO)))

    assert copied == PHOTO
    with pytest.raises(BadValueError, match="photo: this names a blob that is not known here"):
        to_plain({"photo": copied})


def test_a_map_that_is_no_manifest_stays_a_map() -> None:
    """Another member may have written anything under the name of a blob."""
    assert from_plain({"$blob": b"CVM1 rubbish"}) == {"$blob": b"CVM1 rubbish"}
    assert from_plain({"$blob": {"id": bytes(32), "size": 1, "type": ""}}) == {
        "$blob": {"id": bytes(32), "size": 1, "type": ""}
    }
