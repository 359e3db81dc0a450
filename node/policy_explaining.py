"""Explaining: why a record does, or does not, travel to a device.

The record is found here, in its scope, and `covey.sync.policy.decide` is asked of it for this
device and the other one, both ways. The answer names the rule, the reason, and the settings that
made it so, each with where it was said. Reads only; it holds nothing of the record's content.

Contract: docs/cli.md, `covey policy explain`.
"""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import CoveyError
from ..crypto.identity import shown_id
from ..storage import record_rows
from ..storage.record_rows import Record
from ..sync.policy import Decision, Item, Party, decide, floor_at
from ..sync.policy_text import shown_key, shown_value
from ..sync.record_state import decode_meta
from ..sync.registry import Device
from ..sync.tagging import strictest, tags_of
from ..sync.values import from_json
from .birth import rules_for
from .ledger import PRIVACY_NAMES, Scope
from .policy_words import origin_words

if TYPE_CHECKING:
    from .engine import Engine

_KEYS_OF_RULES = {
    "consent": ("consent",),
    "local-only": ("mode",),
    "direction": ("direction",),
    "on-demand": ("mode",),
    "window": ("mode", "window_days"),
    "periodic": ("mode", "interval_minutes"),
}
"""A rule of `decide` to the settings that it rests on; of all others, consent, mode, direction."""
_CONDITIONS = ("unmetered", "charging", "quiet", "bandwidth")


class NoRecordError(CoveyError):
    """The record asked about is not on this device, so nothing can be said of it."""

    exit_code = 1


class _Place(NamedTuple):
    """Where a record lies, and who wrote it: the device of its latest change comes first."""

    record: Record
    scope: Scope
    authors: tuple[bytes, ...]


async def explain(
    engine: "Engine", database: str, collection: str, id: str, device: Device
) -> dict[str, Any]:
    """Whether a record comes to a device, and why. Raises NoRecordError."""
    place = await _find(engine, database, collection, id)
    us = engine.our_device()
    ours, theirs = (_party(engine, each, database) for each in (us, device))
    item = Item(place.scope.privacy, place.authors[0], place.scope.bucket)
    if device.sig_pk == us.sig_pk:
        there = Decision(True, "here", "it is on the device that you are on")
        back = there
    else:
        there, back = decide(item, ours, theirs), decide(item, theirs, ours)
    proof = None if device.sig_pk == us.sig_pk else await _proof(engine, device, place)
    return {
        **there._asdict(),
        "device": {"id": shown_id(device.sig_pk), "name": device.name, "level": device.level},
        "back": back._asdict(),
        "record": _shown_record(engine, place, database),
        "others": _of_other_authors(engine, place, item, ours, theirs),
        "settings": _settings(engine, database, (us, device), there),
        "conditions": _conditions(engine, database, (us, device)),
        "waiting_for": engine.scheduling.waiting_for(device.sig_pk, database),
        "proved": proof is not None,
        "proved_at": proof,
    }


async def _find(engine: "Engine", database: str, collection: str, id: str) -> _Place:
    """The most private living record of this name, as a reader sees it."""
    found = await engine.database.read(
        lambda conn: record_rows.locate(conn, database, collection, id)
    )
    living = next((record for record in found if record.value is not None), None)
    if living is None:
        what = "was deleted" if found else "is not on this device"
        raise NoRecordError(
            f"{collection}/{id} of {database} {what}, so there is nothing to explain: `covey ls`"
            " lists what there is"
        )
    log = engine.ledger.log_numbered(living.log_no)
    instances = decode_meta(living.meta)[2] if living.meta else {log.instance: living.seq}
    writers = (engine.ledger.author_of(instance) for instance in sorted(instances))
    authors = dict.fromkeys((log.author, *(author for author in writers if author)))
    return _Place(living, log.scope, tuple(authors))


def _party(engine: "Engine", device: Device, database: str) -> Party:
    party = engine.mesh.party(device.sig_pk, database)
    return party._replace(floor=floor_at(party.policy, engine.clock.wall_ms()))


def _shown_record(engine: "Engine", place: _Place, database: str) -> dict[str, Any]:
    assert place.record.value is not None
    tags = tags_of(from_json(json.loads(place.record.value)))
    rule = strictest(tags, rules_for(engine.mesh.registry, database))
    level = PRIVACY_NAMES[place.scope.privacy]
    tag_rule = None
    if rule is not None:
        tag_rule = {"tag": rule.tag, "level": PRIVACY_NAMES[rule.level], "from": rule.origin}
    return {
        "privacy": level,
        "bucket": place.scope.bucket,
        "author": _name(engine, place.authors[0]),
        "authors": [_name(engine, author) for author in place.authors],
        "tags": tags,
        "tag_rule": tag_rule,
        "too_wide": rule is not None and rule.level < place.scope.privacy,
    }


def _of_other_authors(
    engine: "Engine", place: _Place, item: Item, ours: Party, theirs: Party
) -> list[dict[str, Any]]:
    """Edits of further devices travel by themselves, and each may fare otherwise."""
    if ours.id == theirs.id:
        return []
    found = []
    for author in place.authors[1:]:
        decision = decide(item._replace(author=author), ours, theirs)
        found.append({"author": _name(engine, author), **decision._asdict()})
    return found


def _settings(
    engine: "Engine", database: str, devices: tuple[Device, Device], decision: Decision
) -> list[dict[str, str]]:
    """What the rule rests on, for both devices, and where each was said."""
    keys = _KEYS_OF_RULES.get(decision.rule, ("consent", "mode", "direction"))
    found = []
    for device in dict.fromkeys(devices):
        policy, origins = engine.policies.of(device.sig_pk, database)
        for key in keys:
            found.append(
                {
                    "device": device.name,
                    "key": shown_key(key),
                    "value": shown_value(key, getattr(policy, key)),
                    "from": origin_words(engine.mesh.registry, origins[key]),
                }
            )
    return found


def _conditions(
    engine: "Engine", database: str, devices: tuple[Device, Device]
) -> list[dict[str, str]]:
    """What may hold it back for a while, though it belongs there."""
    found = []
    for device in dict.fromkeys(devices):
        policy = engine.mesh.policy(device.sig_pk, database)
        for key in _CONDITIONS:
            if getattr(policy, key):
                value = shown_value(key, getattr(policy, key))
                found.append({"device": device.name, "key": shown_key(key), "value": value})
    return found


async def _proof(engine: "Engine", device: Device, place: _Place) -> str | None:
    """When it was proved that the device holds this record as it is here; None if it is not.

    A proof is of all that is shared of a database, so it tells nothing of what is not.
    """
    sharing, holdings = engine.mesh.sharing_with(device.sig_pk), engine.ledger.holdings
    if not all(holdings.shares(place.scope.tag, author, sharing) for author in place.authors):
        return None
    shown = shown_id(device.sig_pk)
    for peer in (await engine.status())["peers"]:
        if peer["device_id"] == shown:
            for row in peer["databases"]:
                if row["name"] == place.scope.database and row["state"] == "synced":
                    return str(row["proved_at"])
    return None


def _name(engine: "Engine", author: bytes) -> str:
    known = engine.mesh.registry.devices.get(author)
    return shown_id(author) if known is None else known.name
