"""What people decide about devices: who is removed, limited, made admin or adopted, and new keys.

Whether a device may decide that is its own to say; what it refuses stands in the trace. A target is
known by its public key, whatever it is called by then, as soon as it has been up once.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ...crypto.entry import CONTROL_SCOPE
from ...node.api import Node
from ...node.trust import Trust
from ...sync.operations import ADOPT, REVOKE
from ..run import Cut, Run
from ..sim_device import SimDevice
from .fault import Doing
from .user_doings import in_device

Decision = Callable[[Trust, bytes], Awaitable[Any]]


def revoke(run: Run, args: dict[str, Any]) -> None:
    """An admin removes a device."""
    _decide(run, args["device"], args["target"], "removes", Trust.revoke, REVOKE)


def set_level(run: Run, args: dict[str, Any]) -> None:
    """An admin lets a device read more, or less."""
    level = args["level"]
    told = f"as {level} keeps"
    _decide(run, args["device"], args["target"], told, lambda trust, id: trust.set_level(id, level))


def set_role(run: Run, args: dict[str, Any]) -> None:
    """An admin lets a device decide about others, or not any more."""
    role = args["role"]
    told = f"as {role} keeps"
    _decide(run, args["device"], args["target"], told, lambda trust, id: trust.set_role(id, role))


def adopt(run: Run, args: dict[str, Any]) -> None:
    """An admin lets count what a removed device wrote, as far as the admin's device has it."""
    _decide(run, args["device"], args["target"], "adopts from", Trust.adopt, ADOPT)


def rotate_keys(run: Run, args: dict[str, Any]) -> None:
    """Somebody asks for new keys."""
    _decide(run, args["device"], args["device"], "rotates keys", lambda trust, _: trust.rotate())


def leave(run: Run, args: dict[str, Any]) -> None:
    """A device removes itself."""
    _decide(run, args["device"], args["device"], "leaves", Trust.revoke, REVOKE)


def _decide(run: Run, name: str, target: str, told: str, decide: Decision, cuts: str = "") -> None:
    """`cuts`: the kind of operation that is to say what of the target's logs is here."""
    device, id = run.device(name), run.ids.get(target)
    if device is None or id is None:
        return
    trust = device.engine.trust
    run.world.note(name, "decides", told if target == name else f"{told} {target}")

    async def act(_: Node) -> None:
        seen = _logs_of(device, id)
        await decide(trust, id)
        if cuts:
            run.cuts.append(Cut(device.engine.keys.sig_pk, id, cuts, seen))

    in_device(run, name, act)


def _logs_of(device: SimDevice, author: bytes) -> dict[tuple[bytes, bytes], int]:
    """How far a device holds the logs that a cut is about: (scope, instance) -> seq."""
    return {
        (log.scope.tag, log.instance): log.head_seq
        for log in device.engine.ledger.logs()
        if log.author == author and log.head_seq and log.scope.tag != CONTROL_SCOPE
    }


TRUST_DOINGS: dict[str, Doing] = {
    "revoke": revoke,
    "set-level": set_level,
    "set-role": set_role,
    "adopt": adopt,
    "rotate-keys": rotate_keys,
    "leave": leave,
}
