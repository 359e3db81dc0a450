"""What people decide of what was written apart, and take back.

Which conflict that is turns out when the moment comes: `pick` counts through those that the device
has then. Of a decision on one field of text the witness knows what it writes. What else is decided
(inside of a field, of a record as a whole, and whatever is taken back) depends on rules that may
change meanwhile; of that it only knows that somebody did.
"""

import json
from typing import Any

from ...node.api import Node
from ...node.conflict_methods import STANDING
from ...node.inbox import PAGE_MAX, Take, Value
from ...node.ledger import PRIVACY_NAMES
from ...storage.conflict_rows import ConflictState, Found
from ..run import Run
from ..sim_device import SimDevice
from ..witness import RecordName, Write
from .fault import Doing
from .user_doings import in_device, witnessed


def resolve(run: Run, args: dict[str, Any]) -> None:
    """Let the value of one candidate (`take`) count in a standing conflict, or another `value`."""

    async def act(node: Node) -> None:
        found = await _picked(node, args, STANDING)
        if found is None:
            return
        choice, written = _choice(found, args)

        def try_it(device: SimDevice) -> Write:
            if written is None or not _is_known(run, found):
                return _tries_anything(run, device, found)
            return run.witness.tries(
                device.name,
                device.engine,
                _record(found),
                {found.field: written},
                privacy=PRIVACY_NAMES[found.privacy],
                repeats=isinstance(choice, Take),
            )

        async def decide() -> bool:
            await node.engine.inbox.resolve(found.conflict_id, choice)
            return True

        await witnessed(run, args["device"], [try_it], decide)

    in_device(run, args["device"], act)


def undo(run: Run, args: dict[str, Any]) -> None:
    """Take back what a rule or a person decided."""

    async def act(node: Node) -> None:
        found = await _picked(node, args, (ConflictState.SETTLED, ConflictState.RESOLVED))
        if found is None:
            return

        async def decide() -> bool:
            await node.engine.inbox.undo(found.conflict_id)
            return True

        tries = [lambda device: _tries_anything(run, device, found)]
        await witnessed(run, args["device"], tries, decide)

    in_device(run, args["device"], act)


async def _picked(
    node: Node, args: dict[str, Any], states: tuple[ConflictState, ...]
) -> Found | None:
    found = await node.engine.inbox.page(states, args["database"], PAGE_MAX)
    return found[args["pick"] % len(found)] if found else None


def _choice(found: Found, args: dict[str, Any]) -> tuple[Take | Value, str | None]:
    """What is chosen, and the text that is written then, if it is one."""
    if "value" in args:
        return Value(args["value"]), args["value"]
    candidates = json.loads(found.body)["candidates"]
    taken = candidates[args.get("take", 0) % len(candidates)]
    text = taken["value"] if isinstance(taken["value"], str) else None
    return Take(bytes.fromhex(taken["device"])), text


def _is_known(run: Run, found: Found) -> bool:
    """Whether the witness knows what others wrote to this field."""
    writes = run.witness.by_record.get(_record(found), ())
    return any(found.field in write.fields for write in writes)


def _tries_anything(run: Run, device: SimDevice, found: Found) -> Write:
    privacy = PRIVACY_NAMES[found.privacy]
    return run.witness.tries(
        device.name, device.engine, _record(found), {}, privacy=privacy, is_vague=True
    )


def _record(found: Found) -> RecordName:
    return found.database, found.collection, found.id


CONFLICT_DOINGS: dict[str, Doing] = {"resolve": resolve, "undo": undo}
