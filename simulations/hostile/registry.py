"""Registry: all misbehaviours by name, in a fixed order, and the one way to commit them.

`KNOWN_TO_HARM` holds those whose claim does not hold yet: known weaknesses of the node, each with a
test that is expected to fail.
"""

from itertools import chain

from ...node.channel import ChannelRefused
from ...node.deadline import DeadlinePassed, within
from ...node.ports import ConnectionLostError, UnreachableError
from .attacker import Attacker, NothingToMisuseError
from .misbehaviour import Misbehaviour
from .misbehaviours_batches import BATCHES
from .misbehaviours_changes import CHANGES
from .misbehaviours_flooding import FLOODING
from .misbehaviours_handshake import HANDSHAKE
from .misbehaviours_logs import LOGS
from .misbehaviours_members import MEMBERS
from .misbehaviours_messages import MESSAGES
from .misbehaviours_removed import REMOVED
from .misbehaviours_session import SESSION
from .misbehaviours_trust import TRUST
from .misbehaviours_weaknesses import WEAKNESSES

ACT_MS_MAX = 30_000

SUBJECTS = (
    *(HANDSHAKE, MESSAGES, SESSION, BATCHES, LOGS, CHANGES, MEMBERS),
    *(TRUST, REMOVED, FLOODING),
)

MISBEHAVIOURS: dict[str, Misbehaviour] = {
    each.name: each for each in chain.from_iterable(s.misbehaviours for s in SUBJECTS)
}

KNOWN_TO_HARM: dict[str, Misbehaviour] = {each.name: each for each in WEAKNESSES.misbehaviours}


async def run(attacker: Attacker, name: str) -> bool:
    """Commit one misbehaviour. False if the attacker was cut off, or there was nothing to misuse.

    Ends within `ACT_MS_MAX` of the attacker's clock, and leaves no connection.
    """
    misbehaviour = MISBEHAVIOURS.get(name) or KNOWN_TO_HARM[name]
    try:
        await within(attacker.clock, ACT_MS_MAX, _commit(misbehaviour, attacker))
    except (
        ChannelRefused,
        ConnectionLostError,
        DeadlinePassed,
        NothingToMisuseError,
        UnreachableError,
    ):
        return False
    return True


async def _commit(misbehaviour: Misbehaviour, attacker: Attacker) -> None:
    await misbehaviour.act(attacker)
