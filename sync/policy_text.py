"""Policy text: settings as people write and read them, such as `window=90d` or `quiet=off`.

One spelling in, one spelling out: `shown` of what `parse_setting` gives is read back as the same.
What is not understood is refused with what is allowed, and with the word that was probably meant;
no number without its unit is guessed. `default` takes back what was said.

Pure. The keys and values themselves are those of `policy.py`; on the command line and in profiles
they are named here: `window` is `window_days`, `interval` is `interval_minutes`, `blob-size` is
`blob_bytes`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from .change import DELETED_KEY
from .errors import BadValueError
from .policy import (
    BANDWIDTH_MAX,
    BLOB_BYTES_MAX,
    BLOB_RULES,
    DIRECTIONS,
    INTERVAL_MINUTES_MAX,
    MODES,
    NARROWED,
    PRIORITIES,
    SUMMARY,
    TAG,
    TAG_PRIVACIES,
    WINDOW_DAYS_MAX,
    Value,
    is_rule,
    is_setting,
)
from .rules import DELETION_RULES, RULE_NAMES
from .session_limits import SETTING_BYTES_MAX, SETTING_KEY_BYTES_MAX, SETTINGS_MAX, WORD_BYTES_MAX

DEFAULT = "default"
OFF = "off"
DAY_MINUTES, HOUR_MINUTES = 1_440, 60
TAG_BYTES_MAX = WORD_BYTES_MAX - len(TAG)
"""Bytes of the name of a tag that a setting can name."""
ECHO_CHARACTERS_MAX = 32
"""How much of what cannot be read is repeated: it may be something that was not meant for here."""

_WORD = re.compile(r"\b[a-z]{3,8}\b")
_WORDS_OF_A_SECRET = 12
_RUN = re.compile(r"[A-Za-z0-9+/=_]{24,}")
"""Longer than any word, and without the dashes of a device id."""
_SIZE_UNITS = ("B", "KiB", "MiB", "GiB")
_SIZE = re.compile(r"([0-9]{1,13})(B|KiB|MiB|GiB)")
_DAYS = re.compile(r"([0-9]{1,6})d")
_INTERVAL = re.compile(r"([0-9]{1,6})([mhd])")
_MINUTES = {"m": 1, "h": HOUR_MINUTES, "d": DAY_MINUTES}


class PolicyTextError(BadValueError):
    """A setting is not spelled as one. The message tells what is allowed. Nothing was changed."""


class _Form(NamedTuple):
    """How a key is called by people, what they may write, and the two ways between."""

    key: str
    allowed: str
    read: Callable[[str], Value | None]
    """None for what is none of it."""
    show: Callable[[Value], str]


def parse_setting(name: str, text: str) -> tuple[str, Value | None]:
    """The key and value of `NAME=TEXT`; no value if it is to be said no more.

    Raises PolicyTextError with what is allowed.
    """
    if name.startswith(TAG):
        return _parse_tag(name, text)
    if is_rule(name):
        return _parse_rule(name, text)
    if name.startswith(SUMMARY):
        return _parse_summary(name, text)
    form = _FORMS.get(name)
    if form is None:
        raise PolicyTextError(
            f"no setting {echo(name)}{_meant(name, (*_FORMS, 'tag.NAME'))}; there are"
            f" {', '.join(_FORMS)}, tag.NAME, rule.COLLECTION.FIELD and summary.COLLECTION"
        )
    if text == DEFAULT:
        return form.key, None
    value = form.read(text)
    if value is None or not is_setting(form.key, value):
        words = form.allowed.replace(" or ", ", ").split(", ")
        raise PolicyTextError(
            f"{name}={echo(text)} is not understood{_meant(text, words)}; allowed: {form.allowed},"
            f" or {DEFAULT}"
        )
    return form.key, value


def parse_settings(pairs: Iterable[str]) -> dict[str, Value | None]:
    """What `KEY=VALUE` after `KEY=VALUE` says. Raises PolicyTextError, also for one said twice."""
    said: dict[str, Value | None] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise PolicyTextError(f"{echo(pair)}: KEY=VALUE was expected, such as mode=full")
        add_setting(said, name, text)
    if not said:
        raise PolicyTextError("nothing is set: name at least one KEY=VALUE, such as mode=full")
    return said


def add_setting(said: dict[str, Value | None], name: str, text: str) -> None:
    """Take in one more setting. Raises PolicyTextError."""
    key, value = parse_setting(name, text)
    if key in said:
        raise PolicyTextError(f"{shown_key(key)} is set twice: name it once")
    if len(said) >= SETTINGS_MAX:
        raise PolicyTextError(f"more than {SETTINGS_MAX} settings at once: set some of them later")
    said[key] = value


def shown_key(key: str) -> str:
    """What people call a key of `policy.py`."""
    return _NAMES.get(key, key)


def shown_value(key: str, value: Value | None) -> str:
    """A value as people write it. None, for what nobody said, is `default`."""
    if value is None:
        return DEFAULT
    form = _FORMS.get(_NAMES.get(key, ""))
    return str(value) if form is None else form.show(value)


def shown_settings(said: Mapping[str, Value | None]) -> str:
    """Settings on one line, as `covey policy set` takes them."""
    return " ".join(f"{shown_key(key)}={shown_value(key, value)}" for key, value in said.items())


def looks_secret(text: str) -> bool:
    """Whether a text may be a password, a key or the words of a paper key. A guess, never a proof.

    It keeps such a text out of files, logs and sentences where nobody would look for it.
    """
    if len(_WORD.findall(text)) >= _WORDS_OF_A_SECRET:
        return True
    return any(
        any(c.isdigit() for c in run) and any(c.isalpha() for c in run)
        for run in _RUN.findall(text)
    )


def echo(text: str) -> str:
    """What somebody wrote, quoted and cut short, for a sentence that refuses it."""
    if looks_secret(text):
        return "what stands there"
    cut = text if len(text) <= ECHO_CHARACTERS_MAX else text[:ECHO_CHARACTERS_MAX] + "…"
    return repr(cut)


def fold_tag(tag: str) -> str:
    """A tag as it is compared: `Personal` and `personal` are one."""
    return tag.strip().casefold()


def _parse_tag(name: str, text: str) -> tuple[str, Value | None]:
    tag = fold_tag(name[len(TAG) :])
    size = len(tag.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= TAG_BYTES_MAX or not tag.isprintable() or "=" in tag:
        raise PolicyTextError(
            f"{echo(name)}: after tag. comes the name of a tag, 1 to {TAG_BYTES_MAX} bytes that"
            " print"
        )
    if text == DEFAULT:
        return TAG + tag, None
    if text not in TAG_PRIVACIES:
        raise PolicyTextError(
            f"{TAG}{tag}={echo(text)} is not understood{_meant(text, TAG_PRIVACIES)}; allowed:"
            f" {_either(TAG_PRIVACIES)}, or {DEFAULT}"
        )
    return TAG + tag, text


def _parse_rule(name: str, text: str) -> tuple[str, Value | None]:
    if text == DEFAULT:
        return name, None
    known = DELETION_RULES if name.endswith(f".{DELETED_KEY}") else RULE_NAMES
    if text not in known:
        raise PolicyTextError(
            f"{echo(name)}={echo(text)} is not understood{_meant(text, known)}; allowed:"
            f" {_either(known)}, or {DEFAULT}; a rule that an application brought is said with"
            " `covey conflicts rule`"
        )
    if len(name.encode("utf-8", "surrogatepass")) > SETTING_KEY_BYTES_MAX:
        raise PolicyTextError(f"{echo(name)}: this is too long for the rule of a field")
    return name, text


def _parse_summary(name: str, text: str) -> tuple[str, Value | None]:
    if text == DEFAULT:
        return name, None
    long = max(
        len(name.encode("utf-8", "surrogatepass")) - SETTING_KEY_BYTES_MAX,
        len(text.encode("utf-8", "surrogatepass")) - SETTING_BYTES_MAX,
    )
    if long > 0 or not is_setting(name, text):
        raise PolicyTextError(
            f"{echo(name)}={echo(text)} is not understood: after summary. comes a collection, and"
            f" then its fields, joined by commas, {SETTING_BYTES_MAX} bytes at most"
        )
    return name, text


def _meant(text: str, words: Sequence[str]) -> str:
    """A guess at the word that was meant, or nothing."""
    folded = text.strip().casefold().replace("_", "-")
    near = get_close_matches(folded, words, 1, 0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _one_of(key: str, words: tuple[str, ...]) -> _Form:
    return _Form(key, _either(words), lambda text: text if text in words else None, str)


def _yes_or_no(key: str) -> _Form:
    values = {"yes": True, "no": False}
    return _Form(key, "yes or no", values.get, lambda value: "yes" if value else "no")


def _read_days(text: str) -> int | None:
    found = _DAYS.fullmatch(text)
    return None if found is None else int(found[1])


def _read_interval(text: str) -> int | None:
    found = _INTERVAL.fullmatch(text)
    return None if found is None else int(found[1]) * _MINUTES[found[2]]


def _show_interval(value: Value) -> str:
    minutes = int(value)
    if minutes % DAY_MINUTES == 0:
        return f"{minutes // DAY_MINUTES}d"
    if minutes % HOUR_MINUTES == 0:
        return f"{minutes // HOUR_MINUTES}h"
    return f"{minutes}m"


def _read_size(text: str) -> int | None:
    found = _SIZE.fullmatch(text)
    return None if found is None else int(found[1]) << 10 * _SIZE_UNITS.index(found[2])


def _show_size(value: Value) -> str:
    size, unit = int(value), 0
    while size and size % 1024 == 0 and unit + 1 < len(_SIZE_UNITS):
        size, unit = size // 1024, unit + 1
    return f"{size}{_SIZE_UNITS[unit]}"


def _read_limit(suffix: str) -> Callable[[str], int | None]:
    """A size above 0, or `off`, which is 0."""

    def read(text: str) -> int | None:
        if text == OFF:
            return 0
        size = _read_size(text.removesuffix(suffix)) if text.endswith(suffix) else None
        return size or None

    return read


def _show_limit(suffix: str) -> Callable[[Value], str]:
    return lambda value: _show_size(value) + suffix if value else OFF


_FORMS: Mapping[str, _Form] = {
    "mode": _one_of("mode", MODES),
    "direction": _one_of("direction", DIRECTIONS),
    "priority": _one_of("priority", PRIORITIES),
    "consent": _yes_or_no("consent"),
    "window": _Form(
        "window_days",
        f"whole days from 1d to {WINDOW_DAYS_MAX}d",
        _read_days,
        lambda value: f"{value}d",
    ),
    "interval": _Form(
        "interval_minutes",
        f"whole minutes, hours or days such as 30m, 6h or 1d, from 1m to"
        f" {INTERVAL_MINUTES_MAX // DAY_MINUTES}d",
        _read_interval,
        _show_interval,
    ),
    "unmetered": _yes_or_no("unmetered"),
    "charging": _yes_or_no("charging"),
    "quiet": _Form(
        "quiet",
        "the hours from and to, such as 22:00-07:00, or off",
        lambda text: "" if text == OFF else text or None,
        lambda value: str(value) or OFF,
    ),
    "bandwidth": _Form(
        "bandwidth",
        f"bytes a second such as 500KiB/s, at most {_show_size(BANDWIDTH_MAX)}/s, or off",
        _read_limit("/s"),
        _show_limit("/s"),
    ),
    "blobs": _one_of("blobs", BLOB_RULES)._replace(show=lambda value: str(value) or DEFAULT),
    "blob-size": _Form(
        "blob_bytes",
        f"a size such as 5MiB, at most {_show_size(BLOB_BYTES_MAX)}, or off",
        _read_limit(""),
        _show_limit(""),
    ),
    "narrowed": _one_of("narrowed", NARROWED),
}
"""By the names that people use, in the order in which they are shown."""

_NAMES: Mapping[str, str] = {form.key: name for name, form in _FORMS.items()}
