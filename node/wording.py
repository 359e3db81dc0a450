"""Wording: every kind of event in words, for people. The one place that knows what they look like.

`words` never fails: what a kind's sentence needs and the detail lacks is worded around, and a kind
that is not in the table is told as it is, with its fields. Names in the answer come from other
devices: whoever shows it makes it `visible` first. Imports nothing slow: the command line does.

A device in a detail is a name, or a dict with `name` and `short_id`, or a short id beside `name`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .policy_sentences import policy_sentence

Detail = Mapping[str, Any]
_SIZE_STEP = 1024


def words(kind: str, detail: Detail) -> str:
    """One sentence, without a full stop: `Laptop removed Phone`."""
    sentence = SENTENCES.get(kind)
    told = _as_it_is(kind, detail) if sentence is None else sentence(detail)
    return told + _times(detail)


def size_text(size_bytes: int) -> str:
    """Bytes as people read them: `999 B`, `1.5 KiB`."""
    if size_bytes < _SIZE_STEP:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= _SIZE_STEP
        if size < _SIZE_STEP:
            return f"{size:.1f} {unit}"
    return f"{size / _SIZE_STEP:.1f} TiB"


def _as_it_is(kind: str, detail: Detail) -> str:
    fields = "  ".join(f"{name}={_plain(value)}" for name, value in detail.items())
    return f"{kind.replace('_', ' ')}  {fields}".rstrip()


# Parts of sentences ----------------------------------------------------------------------------


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(str(part) for part in value.values() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _device(detail: Detail) -> str:
    """Whom it is about."""
    value = detail.get("device")
    if isinstance(value, Mapping):
        return _named(value) or "a device"
    return str(detail.get("name") or detail.get("device_name") or value or "a device")


def _named(device: Mapping[str, Any]) -> str:
    return str(device.get("name") or device.get("short_id") or device.get("id") or "")


def _by(detail: Detail) -> str:
    """Who did it, as the subject of a sentence."""
    value = detail.get("by")
    if isinstance(value, Mapping):
        return _named(value) or "Somebody"
    return str(value or "Somebody")


def _field(detail: Detail, name: str, otherwise: str) -> str:
    value = detail.get(name)
    return otherwise if value is None or value == "" else _plain(value)


def _count(detail: Detail, name: str, one: str, many: str | None = None) -> str:
    """`1 entry`, `2 entries`; `entries` if nobody counted."""
    value = detail.get(name)
    several = f"{one}s" if many is None else many
    if type(value) is not int:
        return several
    return f"{value:,} {one if value == 1 else several}"


def _entries(detail: Detail, name: str = "entries") -> str:
    return _count(detail, name, "entry", "entries")


def _databases(detail: Detail) -> str:
    """` of notes, memory`, or nothing."""
    names = detail.get("databases")
    if not isinstance(names, list | tuple) or not names:
        return ""
    return f" of {_plain(names)}{' and others' if detail.get('more') else ''}"


def _why(detail: Detail) -> str:
    why = _field(detail, "why", "")
    return f": {why.replace('_', ' ')}" if why else ""


def _reason(detail: Detail) -> str:
    reason = _field(detail, "reason", "")
    return f" ({reason.replace('_', ' ')})" if reason else ""


def _times(detail: Detail) -> str:
    """What was put together into one event says so."""
    times, first, last = detail.get("times"), detail.get("first"), detail.get("last")
    if type(times) is int and times > 1:
        return f" ({times:,} times, from {_plain(first)} to {_plain(last)})"
    return f" (at {last})" if last else ""


def _size(detail: Detail, name: str) -> str:
    value = detail.get(name)
    return size_text(value) if type(value) is int else "?"


def _moved(detail: Detail) -> str:
    """What a round carried: both ways, or nothing."""
    received, sent = detail.get("received"), detail.get("sent")
    if not received and not sent:
        return "no entries moved"
    got = f"{_entries(detail, 'received')} ({_size(detail, 'received_bytes')}) received"
    gave = f"{_entries(detail, 'sent')} ({_size(detail, 'sent_bytes')}) sent"
    return f"{got}, {gave}{_databases(detail)}"


# Sentences with a choice -----------------------------------------------------------------------


def _enrolled(detail: Detail) -> str:
    device = detail.get("device")
    said = device if isinstance(device, Mapping) else detail
    level, days = said.get("level"), said.get("days")
    told = f"admitted {_device(detail)}" + (f" with level {level}" if level else "")
    told += f" for {days} days" if days else _until(detail)
    if said.get("paper_key"):
        return f"The paper key {told} through this device"
    return f"{_by(detail)} {told}" if detail.get("by") else f"This device {told}"


def _revoked(detail: Detail) -> str:
    contested = detail.get("contested")
    addition = ", which a device senior to it may still contest" if contested else ""
    if detail.get("void"):
        return f"{_device(detail)} is no member any more: who admitted it was removed"
    return f"{_by(detail)} removed {_device(detail)}{addition}"


def _level(detail: Detail) -> str:
    level = _field(detail, "level", "another")
    return f"{_device(detail)} has the level {level} now{_until(detail)}"


def _until(detail: Detail) -> str:
    expires = _field(detail, "expires", "")
    return f" until {expires}" if expires else ""


def _renamed(detail: Detail) -> str:
    before = _field(detail, "before", "")
    if not before:
        return f"A device is called {_device(detail)} now"
    device = detail.get("name") or _device(detail)
    return f"{before} is called {device} now"


def _pairing_failed(detail: Detail) -> str:
    reason = detail.get("reason")
    return _PAIRING_FAILURES.get(str(reason), f"Nobody was admitted{_reason(detail)}")


_PAIRING_FAILURES = {
    "wrong-code": "A wrong code was tried, so the code was burned and nobody was admitted",
    "expired": "Nobody used the pairing code in time",
    "interrupted": "The other device went away before it was admitted",
    "refused": "The pairing was refused and nobody was admitted",
}


def _alarm(detail: Detail) -> str:
    kind = str(detail.get("kind", "alarm"))
    rest = {name: value for name, value in detail.items() if name != "kind"}
    sentence = ALARMS.get(kind)
    return f"ALARM: {_as_it_is(kind, rest) if sentence is None else sentence(rest)}"


def _log_kept(detail: Detail) -> str:
    days = detail.get("days")
    kept = f"at most {_count(detail, 'events', 'event')}"
    age = f" of the last {_count(detail, 'days', 'day')}" if days else ""
    return f"The log now keeps {kept}{age}"


def _unknown_rules(names: object) -> str:
    """`; rule ours is not known on this device`, or nothing."""
    if not isinstance(names, list | tuple) or not names:
        return ""
    several = len(names) > 1
    verb = "s {} are" if several else " {} is"
    return f"; rule{verb.format(_plain(names))} not known on this device"


def _narrowed(detail: Detail) -> str:
    database, takes = _field(detail, "database", "a database"), _field(detail, "takes", "less")
    copies = {
        "removed": "its copy here was removed",
        "not proved elsewhere": "its copy here stays, as no other is proved to be whole",
    }
    copy = copies.get(str(detail.get("copy")), "what is here stays")
    return f"This device takes {takes} of {database} from now on; {copy}"


def _schema(detail: Detail) -> str:
    version = _field(detail, "version", "?")
    return f"Schema {_field(detail, 'schema', '?')} (version {version})"


# The table -------------------------------------------------------------------------------------

ALARMS: dict[str, Callable[[Detail], str]] = {
    "fork": lambda d: (
        f"there are two stores of {_device(d)} that wrote under one instance; was it copied?"
    ),
}
"""Kinds of alarms, which are told as events of the kind `alarm`."""

SENTENCES: dict[str, Callable[[Detail], str]] = {
    # Links and sync
    "met": lambda d: f"{_device(d)} was met for the first time",
    "connected": lambda d: f"{_device(d)} connected",
    "disconnected": lambda d: f"{_device(d)} disconnected{_reason(d)}",
    "in_sync": lambda d: f"In sync with {_device(d)}",
    "synced": lambda d: f"In sync with {_device(d)}: {_moved(d)}",
    "sync_cut": lambda d: f"Sync with {_device(d)} was cut off{_why(d)}; {_moved(d)}",
    "sync_refused": lambda d: f"Sync with {_device(d)} was refused{_why(d)}; {_moved(d)}",
    "batch_refused": lambda d: f"What {_device(d)} sent was refused{_why(d)}",
    "quarantined": lambda d: (
        f"{_entries(d)} of {_device(d)} cannot be applied and"
        f" {'was' if d.get('entries') == 1 else 'were'} set aside{_why(d)}"
    ),
    "mdns_unavailable": lambda d: (
        f"Devices cannot be found by mDNS here: {_field(d, 'message', 'it is not available')}"
    ),
    "disk_trouble": lambda d: f"The store cannot be read: {_field(d, 'message', 'try again')}",
    "cache_made_anew": lambda d: f"The caches of applications were thrown away{_why(d)}",
    # Records
    "imported": lambda d: (
        f"{_count(d, 'written', 'record')} imported into {_field(d, 'database', 'a database')},"
        f" {_count(d, 'unchanged', 'record')} unchanged"
    ),
    "exported": lambda d: (
        f"{_count(d, 'records', 'record')} exported from {_field(d, 'database', 'a database')}"
    ),
    "aged": lambda d: (
        f"{_count(d, 'records', 'record')} of {_field(d, 'database', 'a database')} reached"
        f" {'its' if d.get('records') == 1 else 'their'} time and"
        f" {'was' if d.get('records') == 1 else 'were'} deleted"
    ),
    "erased": lambda d: (
        f"{_count(d, 'records', 'record')} of {_field(d, 'database', 'a database')}"
        f" {'was' if d.get('records') == 1 else 'were'} erased: `covey erase --receipts` shows who"
        " has proved it"
    ),
    "moved": lambda d: (
        f"A record in {_field(d, 'database', 'a database')} was moved from"
        f" {_field(d, 'from', 'its level')} to {_field(d, 'to', 'another one')};"
        " devices that had it may keep copies"
    ),
    "carried_renamed": lambda d: (
        f"A record in {_field(d, 'database', 'a database')}/{_field(d, 'collection', '')}"
        " came along under a new id, as its own was taken"
    ),
    # Pairing and membership
    "pairing_opened": lambda d: (
        f"A pairing code for level {_field(d, 'level', 'full')} was shown on this device"
    ),
    "pairing_closed": lambda _: "The pairing code was taken back before anybody used it",
    "pairing_failed": _pairing_failed,
    "request": lambda d: f"{_by(d)} asks to admit {_field(d, 'name', 'a device')}",
    "declined": lambda d: f"{_by(d)} declined to admit {_field(d, 'name', 'a device')}",
    "enrolled": _enrolled,
    "joined": lambda _: "This device joined a mesh",
    "left": lambda d: f"{_device(d)} left the mesh",
    "left_out": lambda d: f"{_device(d)} was left out of the mesh{_why(d)}",
    "revoked": _revoked,
    "expired": lambda d: f"The time of {_device(d)} in the mesh is over",
    "level": _level,
    "role": lambda d: f"{_device(d)} is {_field(d, 'role', 'something else')} of the mesh now",
    "renamed": _renamed,
    "described": lambda d: f"{_by(d)} described {_device(d)} anew",
    "policy": policy_sentence,
    "rekeyed": lambda d: f"{_device(d)} has a new key to receive with",
    "rotated": lambda d: f"New keys for {_count(d, 'scopes', 'scope')}{_why(d)}",
    "shelved": lambda d: (
        f"{_entries(d)} of {_device(d)} from after its removal"
        f" {'was' if d.get('entries') == 1 else 'were'} put on the shelf"
    ),
    "adopted": lambda d: f"What {_device(d)} wrote was adopted from the shelf",
    # Recovery, backups, this device
    "recovery_set": lambda _: "The mesh has another paper key",
    "paper_key_slot": lambda _: "The paper key of the mesh opens this home from now on",
    "backed_up": lambda d: f"A backup was written ({_size(d, 'bytes')})",
    "restored": lambda _: "This home was restored from a backup",
    "unlocking_changed": lambda d: f"How this home is unlocked was changed{_why(d)}",
    "new_instance": lambda _: "This home was copied or put back: it writes as a new instance now",
    "fork_healed": lambda d: f"A forked log was healed (instance {_field(d, 'instance', '?')})",
    "fork_settled": lambda d: (
        f"A forked log of {_field(d, 'device', '?')} is here as that device says"
        f" (instance {_field(d, 'instance', '?')})"
    ),
    "narrowed": _narrowed,
    "conflict": lambda d: (
        f"A conflict came up in {_field(d, 'database', 'a database')}"
        f"{_unknown_rules([d['unknown_rule']] if 'unknown_rule' in d else None)}"
    ),
    "disputed": lambda d: (
        f"Written apart in {_field(d, 'database', 'a database')}:"
        f" {_count(d, 'settled', 'conflict')} settled by rule,"
        f" {_count(d, 'open', 'conflict')} for a person"
        f"{_unknown_rules(d.get('unknown_rules'))}"
    ),
    "schema_installed": lambda d: f"{_schema(d)} was installed on this device",
    "schema_removed": lambda d: f"{_schema(d)} was removed from this device; its history stays",
    "schema_migrated": lambda d: (
        f"The records of schema {_field(d, 'schema', '?')} were brought from version"
        f" {_field(d, 'from', '?')} to {_field(d, 'to', '?')};"
        f" {_count(d, 'changed', 'record')} changed"
    ),
    "schema_newer": lambda d: (
        f"{_device(d)} has version {_field(d, 'version', '?')} of schema"
        f" {_field(d, 'schema', '?')}, this device {_field(d, 'ours', 'an older one')};"
        " nothing is lost, and an update brings the rest"
    ),
    "schema_unreadable": lambda d: (
        f"Schema {_field(d, 'schema', '?')} was installed by a newer program, and does not hold"
        " for this one: update it"
    ),
    "log_kept": _log_kept,
    "unreadable": lambda d: (
        f"Event {_field(d, 'number', '?')} cannot be read: `covey log verify` tells more"
    ),
    "alarm": _alarm,
}
"""Kind of event -> its sentence. A test holds it against every kind that the code tells."""
