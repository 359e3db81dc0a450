"""Policy: what a device wants of a database, and whether something may travel by that.

Settings are what people said, key by key: of everything, of one database, of one device, of one
device and one database. The nearest to the case counts; a key that nobody said has its default.
`Policy` is the outcome for one device and one database. `decide` is the whole rule of what
travels: everything that sends, takes or explains asks it, or what `sharing.py` computes of it.

The order of rules is the order of their weight: first who somebody is (membership, privacy,
consent), which no wish can widen; then what both devices want. Unknown means no: a privacy level,
a mode or a device that is not known is not sent anything.

What changes by the hour (metered, charging, quiet hours, intervals, caps) does not decide whether
something belongs on a device, only when it goes: see `covey.node.holding`.

Spec: docs/protocol.md, sections 4 and 12. Ids are 32 bytes, times milliseconds since 1970.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .registry import LEVELS

MODES = ("full", "summary", "metadata", "window", "on-demand", "periodic", "local-only")
DIRECTIONS = ("both", "send", "receive")
PRIORITIES = ("high", "medium", "low", "none")
"""Urgent first. `none`: whatever else wants to go, goes before."""
BLOB_RULES = ("all", "thumbnail", "on-demand")
NARROWED = ("keep", "remove")

WINDOW_DAYS_MAX = 36_500
INTERVAL_MINUTES_MAX = 60 * 24 * 366
BANDWIDTH_MAX = 2**40
BLOB_BYTES_MAX = 2**40
QUIET_BYTES_MAX = 11

DAY_MS = 86_400_000
BUCKET_DAYS = 30
"""Length of a time bucket. Bucket 0 is for records that were born without one."""
BUCKET_MAX = 4_095

Value = str | int | bool
Settings = Mapping[str, Value]


class Policy(NamedTuple):
    """What one device wants of one database."""

    mode: str = "full"
    direction: str = "both"
    priority: str = "medium"
    consent: bool = True
    """Whether a person agrees that this device has this database; an admin's word."""
    window_days: int = 90
    """How far back mode `window` reaches, in whole buckets."""
    interval_minutes: int = 360
    """How often mode `periodic` exchanges."""
    unmetered: bool = False
    """Only while the network costs nothing by volume."""
    charging: bool = False
    """Only on mains."""
    quiet: str = ""
    """Not between these hours of the device's own day: `HH:MM-HH:MM`, or empty."""
    bandwidth: int = 0
    """At most so many bytes a second, 0 for no cap."""
    blobs: str = ""
    """Which blobs come by themselves; empty: as the mode says (`blob_rule`)."""
    blob_bytes: int = 0
    """Larger blobs come only on demand; 0 for no limit."""
    narrowed: str = "keep"
    """What becomes of data that is here when this policy no longer wants it."""

    @property
    def blob_rule(self) -> str:
        """Which blobs come by themselves: `all`, `thumbnail` or `on-demand`."""
        if self.blobs:
            return self.blobs
        return "all" if self.mode in ("full", "window", "periodic") else "on-demand"


def _one_of(words: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and value in words


def _within(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_yes_or_no(value: Any) -> bool:
    return type(value) is bool


def _is_quiet(value: Any) -> bool:
    return value == "" or (type(value) is str and quiet_minutes(value) is not None)


def quiet_minutes(text: str) -> tuple[int, int] | None:
    """First and last minute of the day of `HH:MM-HH:MM`; None if it is no such text.

    The end is not part of it. It may lie on the next day, and is never the beginning.
    """
    if len(text) != QUIET_BYTES_MAX or text[2] != ":" or text[5] != "-" or text[8] != ":":
        return None
    digits = text[:2] + text[3:5] + text[6:8] + text[9:]
    if not (digits.isascii() and digits.isdecimal()):
        return None
    hours, minutes = (int(digits[:2]), int(digits[4:6])), (int(digits[2:4]), int(digits[6:]))
    if max(hours) > 23 or max(minutes) > 59:
        return None
    start, end = hours[0] * 60 + minutes[0], hours[1] * 60 + minutes[1]
    return None if start == end else (start, end)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "mode": _one_of(MODES),
    "direction": _one_of(DIRECTIONS),
    "priority": _one_of(PRIORITIES),
    "consent": _is_yes_or_no,
    "window_days": _within(1, WINDOW_DAYS_MAX),
    "interval_minutes": _within(1, INTERVAL_MINUTES_MAX),
    "unmetered": _is_yes_or_no,
    "charging": _is_yes_or_no,
    "quiet": _is_quiet,
    "bandwidth": _within(0, BANDWIDTH_MAX),
    "blobs": _one_of(("", *BLOB_RULES)),
    "blob_bytes": _within(0, BLOB_BYTES_MAX),
    "narrowed": _one_of(NARROWED),
}
KEYS = tuple(_CHECKS)
ADMIN_KEYS = frozenset({"consent"})
"""Keys that only an admin's word counts for; of all others a device may speak for itself."""
TAG = "tag."
"""`tag.NAME` of everything or of a database: the least private level for records tagged NAME."""
SUMMARY = "summary."
"""`summary.COLLECTION` of a database or of everything: the fields that are its summary, joined by
commas. Of the others those that are large stand beside the record, as blobs."""
RULE = "rule"
"""`rule.COLLECTION.FIELD`, `rule.COLLECTION` or `rule` of a database or of everything: how what
was written apart is decided (rules.py). A name that is not known means that a person decides."""
TAG_PRIVACIES = ("device", "private", "family", "public")


def is_setting(key: str, value: Any) -> bool:
    """Whether a key of this version has a value that it may have. False for unknown keys."""
    if key.startswith(SUMMARY):
        return len(key) > len(SUMMARY) and type(value) is str and all(value.split(","))
    if is_rule(key):
        return type(value) is str and value != ""
    if key.startswith(TAG):
        return len(key) > len(TAG) and type(value) is str and value in TAG_PRIVACIES
    return key in _CHECKS and _CHECKS[key](value)


def is_rule(key: str) -> bool:
    """Whether a key names the rule of a field, a collection or everything."""
    return key == RULE or key.startswith(f"{RULE}.")


def is_for_admins(device: bytes, key: str) -> bool:
    """Whether only an admin may say this: what is about every device, consent, tags, and rules."""
    return not device or key in ADMIN_KEYS or key.startswith((TAG, SUMMARY)) or is_rule(key)


def policy_of(layers: Sequence[Settings]) -> Policy:
    """The policy that settings give, the nearest first. Values are `is_setting`."""
    chosen: dict[str, Any] = {}
    for layer in reversed(layers):
        chosen.update(layer)
    return Policy(**{key: chosen[key] for key in KEYS if key in chosen})


Said = Mapping[tuple[bytes, str], Settings]
"""(device or b"" for every one, database or "" for every one) to what was said."""


def layers_for(said: Said, profile: Said, device: bytes, database: str) -> list[Settings]:
    """What counts for one device and database, the nearest first.

    The nearest is what was said of both, then of the database, then of the device, then of
    everything. The profile stands behind all that people said.
    """
    names = (device, database), (b"", database), (device, ""), (b"", "")
    return [layer for source in (said, profile) for name in names if (layer := source.get(name))]


class Party(NamedTuple):
    """One of two devices, and what it wants of the database in question."""

    id: bytes
    level: str
    """Its trust level; empty if it is no active member."""
    policy: Policy
    floor: int = 0
    """The oldest time bucket that it takes (mode `window`); 0 for all."""


class Item(NamedTuple):
    """Something that may travel."""

    privacy: int
    """0 device, 1 private, 2 family, 3 public."""
    author: bytes
    """The device that wrote it."""
    bucket: int = 0
    """Its time bucket; 0 for none."""


class Decision(NamedTuple):
    """Whether something travels, the name of the rule that says so, and the reason in words."""

    allowed: bool
    rule: str
    because: str


def decide(item: Item, giver: Party, taker: Party) -> Decision:
    """Whether `giver` sends an item that it holds to `taker` by itself, and by which rule.

    Symmetric but for who asks: what may go one way may come back the other, because devices
    compare what they have in common. Pure; everything it knows is in its arguments.
    """
    for party in (giver, taker):
        refused = _by_standing(item, party) or _by_agreement(party.policy)
        if refused is not None:
            return refused
    for party in (giver, taker):
        refused = _by_wishes(item, party)
        if refused is not None:
            return refused
    if "periodic" in (giver.policy.mode, taker.policy.mode):
        return Decision(True, "periodic", "it goes at the next interval")
    return Decision(True, taker.policy.mode, "nothing stands against it")


def decide_asked(item: Item, giver: Party, taker: Party) -> Decision:
    """Whether `giver` hands out one item because `taker` asked for it.

    Asking widens what a device takes: modes `on-demand` and `window` and its own direction. It
    changes nothing about membership, levels, consent and what is to stay where it was written.
    """
    for party in (giver, taker):
        refused = _by_standing(item, party) or _by_agreement(party.policy)
        if refused is not None:
            return refused
    if item.author == giver.id and giver.policy.direction == "receive":
        return Decision(False, "direction", "what this device writes stays there: receive")
    return Decision(True, "on-demand", "it was asked for")


def when_asked(policy: Policy) -> Policy:
    """What a device wants of a database while it asks for all of it."""
    return policy._replace(mode="full") if policy.mode in ("on-demand", "window") else policy


def _by_standing(item: Item, party: Party) -> Decision | None:
    if party.level not in LEVELS:
        return Decision(False, "membership", "a device that is no active member gets nothing")
    if item.privacy in LEVELS[party.level]:
        return None
    if item.privacy == 0:
        return Decision(False, "privacy", "records of privacy device never leave their device")
    because = f"a device of level {party.level} may not hold records of this privacy"
    return Decision(False, "trust-level", because)


def _by_agreement(policy: Policy) -> Decision | None:
    if not policy.consent:
        return Decision(False, "consent", "consent for this database was withdrawn")
    if policy.mode == "local-only":
        return Decision(False, "local-only", "this database stays on the device that wrote it")
    if policy.mode not in MODES or policy.direction not in DIRECTIONS:
        return Decision(False, "unknown", "this version does not know the policy, so sends nothing")
    return None


def _by_wishes(item: Item, party: Party) -> Decision | None:
    mode, direction = party.policy.mode, party.policy.direction
    is_own = item.author == party.id
    if is_own and direction == "receive":
        return Decision(False, "direction", "what this device writes stays there: receive")
    if not is_own and direction == "send":
        return Decision(False, "direction", "one of the devices takes nothing of others: send")
    if not is_own and mode == "on-demand":
        return Decision(False, "on-demand", "one of the devices takes it when it asks for it")
    if item.bucket and item.bucket < party.floor:
        return Decision(False, "window", "it is older than one of the devices keeps")
    return None


def blob_comes(policy: Policy, size: int, is_variant: bool) -> bool:
    """Whether a blob of so many bytes comes without being asked for.

    `is_variant`: it is a small stand-in of another blob, such as a thumbnail.
    """
    if policy.blob_bytes and size > policy.blob_bytes:
        return False
    rule = policy.blob_rule
    return rule == "all" or (rule == "thumbnail" and is_variant)


def bucket_at(wall_ms: int) -> int:
    """The time bucket of a moment, 1 to BUCKET_MAX."""
    return min(max(wall_ms // (BUCKET_DAYS * DAY_MS) + 1, 1), BUCKET_MAX)


def bucket_start_ms(bucket: int) -> int:
    """The first moment of a time bucket, milliseconds since 1970."""
    return (bucket - 1) * BUCKET_DAYS * DAY_MS


def floor_at(policy: Policy, wall_ms: int) -> int:
    """The oldest bucket that a device with this policy takes at this moment of its clock."""
    if policy.mode != "window":
        return 0
    return bucket_at(wall_ms - policy.window_days * DAY_MS)
