"""Verdict: what was found of the chain of the audit log, as `covey log verify` answers it.

`ok` says that all that is kept fits, up to the head; then an earlier head that somebody wrote down
is looked for. That one shows more than the chain alone: who has the key of the store can write
the whole log anew, but not so that it passes through a head that was written down elsewhere.
"""

from typing import Any, NamedTuple

from ..storage.event_rows import ChainCheck
from .times import iso_time


class EarlierHead(NamedTuple):
    """The head of the chain when it had so many events."""

    at: int
    chain: bytes


def verdict(check: ChainCheck, earlier: EarlierHead | None) -> dict[str, Any]:
    """One document for people and programs; with `ok` False it has `problem`, a sentence."""
    told: dict[str, Any] = {
        "ok": True,
        "events": check.events,
        "from": {"event": check.first.event_no, "time": iso_time(check.first.time_ms)}
        if check.events
        else None,
        "forgotten": check.forgotten_no,
        "at": check.head.event_no,
        "head": check.head.chain.hex(),
    }
    if check.misfit is not None:
        number, time_ms = check.misfit
        time = None if time_ms is None else iso_time(time_ms)
        told |= {"ok": False, "misfit": {"event": number, "time": time}}
        where = "is missing" if time is None else f"of {time} does not fit the ones before it"
        told["problem"] = f"event {number} {where}: the log was changed, or the store is damaged"
    elif earlier is not None:
        told |= _compared(check, earlier)
    return told


def _compared(check: ChainCheck, earlier: EarlierHead) -> dict[str, Any]:
    """Whether the chain passes through an earlier head. `passed` None: that cannot be told."""
    if earlier.at < check.forgotten_no:
        why = f"event {earlier.at} is not kept any more, only events from {check.first.event_no} on"
        return {"ok": False, "passed": None, "problem": why}
    if check.asked == earlier.chain:
        return {"passed": True}
    if earlier.at > check.head.event_no:
        why = f"there was an event {earlier.at}, and the log ends at {check.head.event_no}"
    else:
        why = f"at event {earlier.at} the chain had another head"
    return {"ok": False, "passed": False, "problem": f"{why}: the log was written anew"}
