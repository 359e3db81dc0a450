"""Birth: the privacy level at which a record is born, and what its tags say of where it may be.

Asked by the writer for every put of this device: what an application, the command line, an import
or a transaction writes. What came from a peer is not judged here (`covey.sync.tagging`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..sync.errors import BadValueError
from ..sync.profile import COMPANION
from ..sync.record_state import RecordState
from ..sync.registry import Registry
from ..sync.tagging import TAGS_FIELD, TagRule, TagRules, strictest, tag_rules, tags_of, with_tags
from .ledger import PRIVACY_NAMES
from .record_requests import late_value

if TYPE_CHECKING:
    from .record_requests import Move, Put, Request


class TagRefusedError(CoveyError):
    """A record would get, or keep, a tag that its privacy level is too wide for.

    Nothing was written. The level can be narrower, or the tag left out.
    """

    exit_code = 3


def rules_for(registry: Registry, database: str) -> TagRules:
    """What the mesh, or else the profile, says of tags in a database."""
    return tag_rules(registry.settings, COMPANION, database)


def by_tags(request: "Request", rules: TagRules) -> "Request":
    """A put with what the rules of its tags allow. Raises TagRefusedError if it asks for more.

    What is carried over from another mesh is narrowed: nobody is there to ask for less.
    """
    value: Mapping[str, Any] = getattr(request, "value", {})
    tags = (*tags_of(value), *getattr(request, "tags", ()))
    rule = strictest(tags, rules) if tags else None
    if rule is None:
        return request
    put: Put = request  # type: ignore[assignment]  # only a put has tags
    privacy = put.privacy
    if privacy is not None and privacy_level(privacy) > rule.level:
        if not put.is_late:
            raise TagRefusedError(
                f"{put.collection}/{put.id}: privacy {privacy} is too wide for its tag"
                f" {_said(rule)}"
            )
        privacy = PRIVACY_NAMES[rule.level]
    return replace(put, privacy=privacy, widest=rule.level)


def require_fit(put: "Put", state: RecordState, privacy: int, *, rules: TagRules) -> None:
    """Raises TagRefusedError if the record as it would be has a tag that its level is too wide for.

    Also if it had it before: what is written now would go where the tag says it must not.
    """
    tags = tags_of(state.value)
    rule = strictest(tags, rules) if tags else None
    if rule is not None and rule.level < privacy:
        narrow, wide = PRIVACY_NAMES[rule.level], PRIVACY_NAMES[privacy]
        raise TagRefusedError(
            f"{put.collection}/{put.id} was born {wide}, which is too wide for its tag"
            f" {_said(rule)}: `covey move` it to {narrow} first, or leave the tag out"
        )


def require_move(move: "Move", state: RecordState, privacy: int, rules: TagRules) -> None:
    """Raises TagRefusedError if a record is to be moved to a level too wide for one of its tags."""
    tags = tags_of(state.value)
    rule = strictest(tags, rules) if tags else None
    if rule is not None and rule.level < privacy:
        raise TagRefusedError(
            f"{move.collection}/{move.id}: privacy {move.privacy} is too wide for its tag"
            f" {_said(rule)}"
        )


def tagged_value(put: "Put", current: RecordState | None) -> dict[str, Any]:
    """The fields that a put writes, with the tags that it adds. Raises BadValueError."""
    value = dict(put.value)
    if put.tags:
        before = None if current is None or put.replace else current.value
        value[TAGS_FIELD] = with_tags(value, before, put.tags)
    return value


def edited_value(put: "Put", current: RecordState, instance: bytes) -> dict[str, Any]:
    """The fields that a put writes over a record that there is. Raises BadValueError."""
    return late_value(put, current, instance) if put.is_late else tagged_value(put, current)


def birth_level(put: "Put") -> int:
    """The privacy byte at which a record is born: as asked, else as its tags say, else private."""
    if put.privacy is None and put.widest is not None:
        return put.widest
    return privacy_level(put.privacy)


def privacy_level(name: str | None) -> int:
    """The privacy byte for a level's name; private where none is given. Raises BadValueError."""
    if name is None:
        return PRIVACY_NAMES.index("private")
    if name not in PRIVACY_NAMES:
        raise BadValueError(f"privacy {name!r} is not one of {', '.join(PRIVACY_NAMES)}")
    return PRIVACY_NAMES.index(name)


def _said(rule: TagRule) -> str:
    level = PRIVACY_NAMES[rule.level]
    return f"{rule.tag!r} (tag.{rule.tag}={level}, said of {rule.origin})"
