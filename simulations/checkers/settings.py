"""Settings: whether what counts of policies was said by who may, and is the last word.

Looked up in the operations one by one, like names: a fold that hears whom it should not, or takes
an earlier word for a later one, would do so twice. A word is later than another if whoever said it
had seen that other; of words that nobody had seen of each other any may count, on all devices the
same.
"""

from collections.abc import Collection, Iterator

from ...sync.operations import POLICY, Operation, is_well_formed
from ...sync.registry import Registry
from .operations import Operations

FOR_ADMINS = ("consent",)
"""What a device may not say of itself, as docs/protocol.md says; nor tags and rules."""
GROUPS_FOR_ADMINS = ("tag", "rule")
"""What comes before the first dot of such a key, or is all of it."""

Place = tuple[bytes, str, str]
"""Device, database and key."""


def wrong_settings(
    registry: Registry, operations: Operations, admins: Collection[bytes]
) -> Iterator[str]:
    """What must not count, and what must and does not, a line each."""
    words: dict[Place, dict[bytes, object]] = {}
    for id, (author, operation) in operations.items():
        if operation.kind != POLICY or not is_well_formed(operation) or id in registry.ignored:
            continue
        details = operation.details
        for key, value in details["set"].items():
            if author in admins or _is_its_own(author, details["device"], key):
                place = (details["device"], details["database"], key)
                words.setdefault(place, {})[id] = value
    counts = {
        (device, database, key): value
        for (device, database), said in registry.settings.items()
        for key, value in said.items()
    }
    for place in sorted(words.keys() | counts.keys()):
        last = _last(words.get(place, {}), operations)
        if not last and place in counts:
            yield f"{place[2]} of a policy counts, and was said by nobody who may"
        elif last and counts.get(place) not in last:
            yield f"{place[2]} of a policy is {counts.get(place)}, which is not the last word on it"


def _is_its_own(author: bytes, device: bytes, key: str) -> bool:
    return (
        author == device
        and key not in FOR_ADMINS
        and key.partition(".")[0] not in GROUPS_FOR_ADMINS
    )


def _last(words: dict[bytes, object], operations: Operations) -> list[object]:
    """The values of those words that no other of them was said after."""
    before: set[bytes] = set()
    for id in words:
        before |= _past(operations, id)
    return [value for id, value in words.items() if id not in before]


def _past(operations: Operations, id: bytes) -> set[bytes]:
    """The operations that whoever said this one had seen."""
    found: set[bytes] = set()
    line = [id]
    while line:
        known = operations.get(line.pop())
        for parent in _parents(known[1] if known else None):
            if parent not in found:
                found.add(parent)
                line.append(parent)
    return found


def _parents(operation: Operation | None) -> tuple[bytes, ...]:
    return () if operation is None else tuple(operation.parents)
