"""Policy sense: settings that say nothing, or hardly what somebody meant, before they are written.

A setting that can have no effect beside the others is refused, because whoever sets it expects one.
What has an effect, though an odd one, is a warning. Looks at outcomes: the policies of every device
and database that the settings are about, as they would be.

Pure. A sentence names settings as people write them (`policy_text.py`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from .policy import TAG, Policy, Value, quiet_minutes
from .policy_text import shown_key, shown_value

QUIET_MINUTES_ODD = 20 * 60
"""Quiet hours of a day that leave so little that they may be the wrong way round."""
DAY_MINUTES = 1_440


class _Idle(NamedTuple):
    """When a value of a key has no effect, and what to do about it."""

    key: str
    is_idle: Callable[[Value, Policy], bool]
    because: str


def _while_local(key: str) -> _Idle:
    return _Idle(
        key,
        lambda value, after: bool(value) and after.mode == "local-only",
        "mode is local-only, so nothing travels: set another mode, or leave it out",
    )


_IDLE = (
    _Idle(
        "window_days",
        lambda _, after: after.mode != "window",
        "mode is not window: add mode=window",
    ),
    _Idle(
        "interval_minutes",
        lambda _, after: after.mode != "periodic",
        "mode is not periodic: add mode=periodic",
    ),
    _Idle(
        "blobs",
        lambda value, after: after.mode == "metadata" and value != "on-demand",
        "mode metadata is records without their blobs: set mode=full",
    ),
    _Idle(
        "blob_bytes",
        lambda value, after: bool(value) and after.blob_rule == "on-demand",
        "blobs come on demand only, whatever their size: add blobs=all or blobs=thumbnail",
    ),
    *map(
        _while_local,
        (
            *("consent", "direction", "blobs", "blob_bytes"),
            *("unmetered", "charging", "quiet", "bandwidth"),
        ),
    ),
)


def idle_setting(said: Mapping[str, Value | None], outcomes: Collection[Policy]) -> str | None:
    """Why one of these settings says nothing in any of the policies that would result, or None.

    Without an outcome (no device it could be about) nothing is idle.
    """
    for idle in _IDLE:
        value = said.get(idle.key)
        if value is not None and outcomes and all(idle.is_idle(value, p) for p in outcomes):
            written = f"{shown_key(idle.key)}={shown_value(idle.key, value)}"
            return f"{written} says nothing while {idle.because}"
    return None


def odd_settings(
    said: Mapping[str, Value | None], outcomes: Collection[Policy], is_everything: bool
) -> Iterator[str]:
    """What a person may not have expected of settings that do have an effect, a sentence each.

    `is_everything`: they are about every device and every database.
    """
    if is_everything and (said.get("consent") is False or said.get("mode") == "local-only"):
        yield "nothing travels between your devices any more, but for what is said otherwise"
    if said.get("mode") and outcomes and not any(policy.consent for policy in outcomes):
        yield "consent is withdrawn, and comes before the mode: nothing travels until it is given"
    if said.get("priority") not in (None, "none") and _all_local(outcomes):
        yield "mode is local-only, so the priority counts only when another mode is set"
    for mode, direction, why in _ODD_PAIRS:
        is_said = said.get("mode") == mode or said.get("direction") == direction
        if is_said and any(p.mode == mode and p.direction == direction for p in outcomes):
            yield why
    minutes = quiet_minutes(str(said.get("quiet") or ""))
    if minutes is not None and (minutes[1] - minutes[0]) % DAY_MINUTES > QUIET_MINUTES_ODD:
        yield "the quiet hours leave less than four hours of a day; are they the wrong way round?"
    for key, value in said.items():
        if key.startswith(TAG) and value == "public":
            yield f"records tagged {key[len(TAG) :]} are born public: guests get them as well"


_ODD_PAIRS = (
    (
        "on-demand",
        "receive",
        "mode on-demand with direction receive: nothing moves by itself, either way",
    ),
    (
        "on-demand",
        "send",
        "direction send takes nothing of others, so mode on-demand adds nothing",
    ),
    (
        "window",
        "send",
        "direction send takes nothing of others, so the window bounds only what it gives",
    ),
)


def _all_local(outcomes: Collection[Policy]) -> bool:
    return bool(outcomes) and all(policy.mode == "local-only" for policy in outcomes)
