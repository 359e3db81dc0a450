"""Paper pairing: the paper key admits a device that pairs with any member of its mesh.

Everything else may be lost: one device that reads the membership log, of any level and role, is
enough. The new device proves in the channel that it holds the paper key. The member checks that
against the mesh, and hands over the membership log with the control keys sealed to that key; what
the paper key then says (`paper_joining`) it takes in as it takes what any peer brings, and believes
what the fold makes of it. From there on the pairing goes on as every pairing does.

This is the member's side. Spec: docs/protocol.md, section 6, "With the paper key".
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..crypto.entry import CONTROL_SCOPE
from ..crypto.pairing import paper_is_proved
from ..sync.batch import Batch, decode_batch
from ..sync.errors import DecodeError
from ..sync.registry import Recovery, Registry
from .pairing_frames import (
    TYPE_LOG,
    TYPE_PAPER_WELCOME,
    TYPE_WORD,
    WORD_FRAMES_MAX,
    Bearer,
    Newcomer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
)
from .secure_channel import SecureChannel

if TYPE_CHECKING:
    from .engine import Engine

Receive = Callable[[], Awaitable[bytes]]
"""The next frame of the other side, within a time."""

OTHER_PAPER_KEY = "the other device has the words of another paper key"


def proved_paper(registry: Registry, bearer: Bearer, handshake_hash: bytes) -> Recovery:
    """The paper key of the mesh that this device holds. Raises PairingRefusedError."""
    for paper in registry.recovery:
        if paper.sig_pk == bearer.paper:
            device = bearer.newcomer.sig
            if paper_is_proved(paper.sig_pk, handshake_hash, device, bearer.paper_proof):
                return paper
            raise PairingRefusedError(Refusal.MALFORMED)
    raise PairingRefusedError(Refusal.NOT_THE_PAPER_KEY, OTHER_PAPER_KEY)


async def welcome_recovery(
    engine: "Engine",
    channel: SecureChannel,
    newcomer: Newcomer,
    paper: Recovery,
    receive: Receive,
) -> None:
    """Give the membership log to the paper key, and take in by what it admits the device.

    Raises PairingRefusedError for a paper key that was replaced meanwhile and unless the device is
    a member then, BatchRefusedError, StorageError.
    """
    if all(known.sig_pk != paper.sig_pk for known in engine.mesh.registry.recovery):
        # It was replaced while people thought: whoever has the old words may be a thief.
        raise PairingRefusedError(Refusal.NOT_THE_PAPER_KEY, OTHER_PAPER_KEY)
    genesis, keys, frames = await engine.mesh.welcome(paper.sig_pk)
    await channel.send(Welcome(genesis, keys, len(frames)).encode(TYPE_PAPER_WELCOME))
    for frame in frames:
        await channel.send(bytes((TYPE_LOG,)) + frame)
    (count,) = expect(await receive(), TYPE_WORD, 1)
    if not 1 <= count <= WORD_FRAMES_MAX:
        raise PairingRefusedError(Refusal.MALFORMED)
    said = [_said_by(paper, expect(await receive(), TYPE_LOG)) for _ in range(count)]
    for batch in said:
        prepared = await engine.ingest.prepare(batch)
        await engine.switchboard.store_unlinked(prepared)
    known = engine.mesh.registry.devices.get(newcomer.sig)
    if known is None or not known.active:
        raise PairingRefusedError(Refusal.MALFORMED)


def _said_by(paper: Recovery, frame: bytes) -> Batch:
    """Operations of the paper key and nothing else. Raises PairingRefusedError."""
    try:
        batch = decode_batch(frame)
    except DecodeError:
        raise PairingRefusedError(Refusal.MALFORMED) from None
    if batch.scope != CONTROL_SCOPE or any(run.author != paper.sig_pk for run in batch.runs):
        raise PairingRefusedError(Refusal.MALFORMED)
    return batch
