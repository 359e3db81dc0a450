"""The phases of a session as a table, from which the machine moves and the drawing is made.

A phase says what we know of the peer; a cause is what we have just learnt. A pair that is
not in the table does not happen: to meet one is a fault of ours, whatever the peer sends.

What the table cannot show: a peer's frame is accepted in every phase after GREETING, with one
exception. Until the control digests have matched once, anything about a data scope is a violation;
later it may simply have crossed our news of a membership operation on the way.

Spec: docs/protocol.md, section 7, "Order".
"""

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """What a session is about at the moment."""

    GREETING = "greeting"
    """We have greeted, they have not."""
    MEMBERSHIP = "membership"
    """The control digests differ: only the membership log is exchanged."""
    COMPARING = "comparing"
    """Digests descend to the vectors of the scopes that differ; what is known already streams."""
    STREAMING = "streaming"
    """The peer's vectors are known: batches flow both ways, new entries at once."""
    CLOSED = "closed"
    """For good. Every event is ignored."""


class Cause(Enum):
    """Why a session moves from one phase to another."""

    CONTROL_DIFFERS = "control digests differ"
    ROOTS_DIFFER = "control digests equal, roots differ"
    ROOTS_EQUAL = "control digests and roots equal"
    VECTORS_KNOWN = "every vector known"
    ROUNDS_SPENT = "too many comparisons without a change"
    ENDED = "goodbye, violation or loss"


TRANSITIONS: Mapping[Phase, Mapping[Cause, Phase]] = {
    Phase.GREETING: {
        Cause.CONTROL_DIFFERS: Phase.MEMBERSHIP,
        Cause.ROOTS_DIFFER: Phase.COMPARING,
        Cause.ROOTS_EQUAL: Phase.STREAMING,
        Cause.ENDED: Phase.CLOSED,
    },
    Phase.MEMBERSHIP: {
        Cause.ROOTS_DIFFER: Phase.COMPARING,
        Cause.ROOTS_EQUAL: Phase.STREAMING,
        Cause.VECTORS_KNOWN: Phase.STREAMING,
        Cause.ROUNDS_SPENT: Phase.STREAMING,
        Cause.ENDED: Phase.CLOSED,
    },
    Phase.COMPARING: {
        Cause.CONTROL_DIFFERS: Phase.MEMBERSHIP,
        Cause.VECTORS_KNOWN: Phase.STREAMING,
        Cause.ROOTS_EQUAL: Phase.STREAMING,
        Cause.ROUNDS_SPENT: Phase.STREAMING,
        Cause.ENDED: Phase.CLOSED,
    },
    Phase.STREAMING: {
        Cause.CONTROL_DIFFERS: Phase.MEMBERSHIP,
        Cause.ROOTS_DIFFER: Phase.COMPARING,
        Cause.ENDED: Phase.CLOSED,
    },
    Phase.CLOSED: {},
}


def transition_table() -> tuple[tuple[Phase, Cause, Phase], ...]:
    """Every transition as (from, because, to), in the order of the table."""
    return tuple(
        (phase, cause, after)
        for phase, causes in TRANSITIONS.items()
        for cause, after in causes.items()
    )


def diagram() -> str:
    """The table as the text of a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.GREETING.name}"]
    lines += [
        f"    {phase.name} --> {after.name}: {cause.value}"
        for phase, cause, after in transition_table()
    ]
    lines.append(f"    {Phase.CLOSED.name} --> [*]")
    return "\n".join(lines) + "\n"
