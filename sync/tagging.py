"""Tagging: what the tags of a record say about who may have it.

The tags of a record are the texts in its field `tags`, an array. A setting `tag.NAME`
(`policy.py`) is the least private level that a record tagged NAME may have: it is born there if
nobody asks for a level, and is never written to a wider one by this device. Tags that no rule
names say nothing. `Personal` and `personal` are one tag.

It is about what this device writes. What came from a peer is shown as it is, because a device that
did not know the rule yet, or an older version, may have written it.

Pure. Levels are numbers: 0 device, 1 private, 2 family, 3 public (docs/protocol.md, section 2).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .errors import BadValueError
from .policy import TAG, TAG_PRIVACIES, Said, Settings
from .policy_text import fold_tag
from .values import Text

TAGS_FIELD = "tags"


class TagRule(NamedTuple):
    """The level that a tag allows, as its number, and where that was said."""

    tag: str
    level: int
    origin: str


TagRules = Mapping[str, TagRule]
"""By the folded tag."""


def tag_rules(said: Said, profile: Said, database: str) -> TagRules:
    """The rules that count in a database; the nearest word first, people before the profile."""
    rules: dict[str, TagRule] = {}
    for source, whose in ((said, ""), (profile, "the profile, of ")):
        for name in dict.fromkeys((database, "")):
            what = f"database {name}" if name else "everything"
            for tag, rule in _rules_in(source.get((b"", name), {}), whose + what).items():
                rules.setdefault(tag, rule)
    return rules


def _rules_in(settings: Settings, origin: str) -> dict[str, TagRule]:
    """Of a tag that is spelled in two ways the more private word counts."""
    found: dict[str, TagRule] = {}
    for key, value in settings.items():
        if key.startswith(TAG) and value in TAG_PRIVACIES:
            rule = TagRule(fold_tag(key[len(TAG) :]), TAG_PRIVACIES.index(str(value)), origin)
            found[rule.tag] = min(found.get(rule.tag, rule), rule, key=lambda each: each.level)
    return found


def tags_of(value: Mapping[str, Any] | None) -> list[str]:
    """The tags in a record's field, as they are written; what is no text is no tag.

    A single text in the place of the array is one tag.
    """
    field = None if value is None else value.get(TAGS_FIELD)
    items = field if isinstance(field, list | tuple) else (field,)
    texts = (item.content if isinstance(item, Text) else item for item in items)
    return [text for text in texts if isinstance(text, str)]


def strictest(tags: Iterable[str], rules: TagRules) -> TagRule | None:
    """The most private of the rules that tags have; None if they have none."""
    having = [rule for tag in tags if (rule := rules.get(fold_tag(tag))) is not None]
    return min(having, key=lambda rule: rule.level, default=None)


def with_tags(
    value: Mapping[str, Any], before: Mapping[str, Any] | None, add: Iterable[str]
) -> Any:
    """The field `tags` with some added: to those written now, else to those of the record before.

    None twice, in order. Raises BadValueError if there is something else in the field.
    """
    source = value if TAGS_FIELD in value else before or {}
    field = source.get(TAGS_FIELD)
    written = tags_of(source)
    if field is not None and (not isinstance(field, list | tuple) or len(field) != len(written)):
        raise BadValueError(f"{TAGS_FIELD}: it is no array of texts, so no tag can be added to it")
    known = {fold_tag(tag) for tag in written}
    for tag in add:
        if not fold_tag(tag) or not tag.isprintable():
            raise BadValueError(f"{TAGS_FIELD}: a tag is a text that prints")
        if fold_tag(tag) not in known:
            known.add(fold_tag(tag))
            written.append(tag.strip())
    return written
