"""Links: a value of a field that names another record, and the links that a record holds.

A link is a map of one key: `{"link": "covey:people/ann"}`, or `{"link": "covey:home/people/ann"}`
for a record of another database. In names and ids `~` is written `~0` and `/` is `~1`, as in JSON
Pointer (RFC 6901), so each record has one spelling. It is a plain map on purpose: a device that
knows nothing of links stores and merges it like any other, and because the target is one text, two
devices that change a link apart never mix the collection of one with the id of the other.

A link's type is the path of names to it, as `author` or `meta.about`; places in lists do not
count. Links may also stand in fields that were declared to hold ids (`link_rows`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..sync.errors import BadValueError
from ..sync.limits import (
    COLLECTION_NAME_BYTES_MAX,
    DATABASE_NAME_BYTES_MAX,
    RECORD_ID_BYTES_MAX,
)

LINKS_PER_RECORD_MAX = 10_000
_SCHEME = "covey:"
_BYTES_MAX = (RECORD_ID_BYTES_MAX, COLLECTION_NAME_BYTES_MAX, DATABASE_NAME_BYTES_MAX)


class Target(NamedTuple):
    """A record, by its names. Whether there is one is another question."""

    database: str
    collection: str
    id: str


class Declared(NamedTuple):
    """Where the ids in a field lead."""

    database: str
    collection: str


class Link(NamedTuple):
    type: str
    target: Target


def link_to(collection: str, id: str, database: str | None = None) -> dict[str, str]:
    """The value of a field that links to a record, of this database if none is named.

    Raises BadValueError for a name that no record can have.
    """
    names = (collection, id) if database is None else (database, collection, id)
    for name, bytes_max in zip(reversed(names), _BYTES_MAX, strict=False):
        if not isinstance(name, str) or not name:
            raise BadValueError("a link names a collection and an id, neither of them empty")
        size = len(name.encode("utf-8", "surrogatepass"))
        if size > bytes_max:
            raise BadValueError(f"{name:.40}: {size} bytes, 1 to {bytes_max} allowed")
    return {"link": _SCHEME + "/".join(map(_escaped, names))}


def target_of(value: Any, database: str) -> Target | None:
    """What a value of a field links to, None if it is no link. `database` is that of the record."""
    if type(value) is not dict or len(value) != 1:
        return None
    text = value.get("link")
    if type(text) is not str or not text.startswith(_SCHEME):
        return None
    parts = text[len(_SCHEME) :].split("/")
    names = [part.replace("~1", "/").replace("~0", "~") for part in parts]
    # A second spelling of a target is no link: one record has one.
    if not 2 <= len(names) <= 3 or not all(names) or [*map(_escaped, names)] != parts:
        return None
    return Target(*names) if len(names) == 3 else Target(database, *names)


def links_in(
    record: Mapping[str, Any], database: str, declared: Mapping[str, Declared]
) -> list[Link]:
    """The links of a record in the JSON form of its fields, each once, in order of type and target.

    `declared` has the root fields that hold an id, or a list of ids. Of a record with more than
    `LINKS_PER_RECORD_MAX` links the first ones count.
    """
    found = {
        Link(field, Target(to.database, to.collection, id))
        for field, to in declared.items()
        for id in _ids(record.get(field))
    }
    found.update(_nested(record, "", database))
    return sorted(found)[:LINKS_PER_RECORD_MAX]


def _nested(value: Any, type_: str, database: str) -> Iterator[Link]:
    target = target_of(value, database)
    if target is not None:
        yield Link(type_, target)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _nested(inner, f"{type_}.{name}" if type_ else name, database)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                yield from _nested(inner, type_, database)


def _ids(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one:
            yield one


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
