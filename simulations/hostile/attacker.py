"""Attacker: who misbehaves, towards whom, and with what; the means of every misbehaviour.

It reaches the victim by the ports alone. The victim's engine is only read, for what an attacker may
know: the public key it was dialled by, digests and heads that it tells every member, the membership
and, as a stand-in for the attacker's own store, the keys of the mesh.

All randomness comes from `entropy` and `random`, all waiting from `clock`: equal beginnings have
equal ends. Every record that an attacker writes has an id that starts with `RECORD_PREFIX`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from ... import CoveyError
from ...crypto.entry import CONTROL_SCOPE
from ...crypto.grants import scope_tag, tag_key
from ...crypto.identity import DeviceKeys
from ...node.channel import ABORT
from ...node.engine import Engine
from ...node.ledger import Scope
from ...node.ports import Address, Clock, Entropy, Transport
from ...sync.digests import LogHead
from ...sync.sharing import NOTHING
from .forger import Forger
from .rogue import DIAL_MS, Rogue
from .stranger import Stranger

RECORD_PREFIX = "hostile-"
DEVICE, PRIVATE = 0, 1
"""Levels of privacy (docs/protocol.md, section 2)."""
_NUMBERS = 4
"""How many records of one word there can be: later acts write to those of earlier ones."""


class NothingToMisuseError(CoveyError):
    """The victim has not got what the misbehaviour is about. Nothing was done."""

    exit_code = 4


@dataclass
class Attacker:
    """One attacker and one victim. Holds no connection between two acts."""

    transport: Transport
    address: Address
    victim: Engine
    keys: DeviceKeys
    clock: Clock
    entropy: Entropy
    random: Random
    database: str = "memory"
    collection: str = "facts"
    accomplice: DeviceKeys | None = None
    """The keys of a second hostile member, of level limited."""
    removed: DeviceKeys | None = None
    """The keys of somebody who was an admin and was removed, if there is one to conspire with."""

    # Connections -------------------------------------------------------------------------------

    @asynccontextmanager
    async def knock(self) -> AsyncIterator[Stranger]:
        """A connection as a stranger's, for the length of the block."""
        connection = await self.transport.dial(self.address, DIAL_MS)
        try:
            yield Stranger(connection, self.clock)
        finally:
            await connection.close(ABORT)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Rogue]:
        """A channel in our name, before any greeting, for the length of the block."""
        rogue = await self.connect()
        try:
            yield rogue
        finally:
            await rogue.close()

    @asynccontextmanager
    async def session(self, **greeting: Any) -> AsyncIterator[Rogue]:
        """A session in our name, past the greetings, for the length of the block."""
        async with self.channel() as rogue:
            await rogue.greet(**greeting)
            yield rogue

    async def connect(self) -> Rogue:
        """A channel that the caller closes. Raises: UnreachableError, ChannelRefused."""
        return await Rogue.connect(
            self.transport,
            self.address,
            self.victim.keys.dh_pk,
            self.keys,
            clock=self.clock,
            entropy=self.entropy,
            heads=self.heads,
        )

    async def deliver(self, *frames: bytes) -> None:
        """Send batches in one session, each after the answer to the one before."""
        async with self.session() as rogue:
            for frame in frames:
                await rogue.send(frame)
                if await rogue.answer() is None:
                    return
            await rogue.leave()

    # What is known -----------------------------------------------------------------------------

    def heads(self) -> tuple[bytes, bytes]:
        """The digests that the victim would tell us: control, and the root of what we share."""
        mesh, holdings = self.victim.mesh, self.victim.ledger.holdings
        known = self.keys.sig_pk in mesh.registry.devices
        sharing = mesh.sharing_with(self.keys.sig_pk) if known else NOTHING
        return holdings.control_digest(), holdings.root(sharing)

    def scope(self, privacy: int = PRIVATE) -> Scope:
        """A scope of our database. Raises: NothingToMisuseError."""
        scope = self.victim.ledger.scope_named(self.database, privacy)
        if scope is None:
            raise NothingToMisuseError(f"the victim has no {self.database} of privacy {privacy}")
        current = self.victim.mesh.registry.writer_key(scope.tag)
        if current is None or self.victim.mesh.key(current[1]) is None:
            raise NothingToMisuseError(f"the victim has no key of {self.database} to look up")
        return scope

    def held(self) -> list[tuple[bytes, LogHead]]:
        """Instance and head of each log of our scope. Raises: NothingToMisuseError if none."""
        heads = sorted(self.victim.ledger.holdings.heads(self.scope().tag).items())
        if not heads:
            raise NothingToMisuseError(f"the victim holds nothing of {self.database}")
        return heads

    def tag(self, database: str, privacy: int) -> bytes:
        """The tag of any scope, as every member can compute it, whether it exists or not."""
        mesh = self.victim.mesh
        founders = next(g for g in mesh.registry.grants if g.scope == CONTROL_SCOPE)
        key = mesh.key(founders.key_id)
        assert key is not None, "every member holds the first control key"
        return scope_tag(tag_key(key), database, privacy)

    def removed_keys(self) -> DeviceKeys:
        """Those of a removed admin. Raises: NothingToMisuseError if there was none."""
        registry = self.victim.mesh.registry
        known = None if self.removed is None else registry.devices.get(self.removed.sig_pk)
        if self.removed is None or known is None or known.revoked_at is None:
            raise NothingToMisuseError("nobody was removed who would conspire with us")
        return self.removed

    def heads_before_removal(self) -> tuple[bytes, ...]:
        """What was known just before that removal. Raises: NothingToMisuseError."""
        membership = self.victim.mesh._membership
        known = membership.registry.devices[self.removed_keys().sig_pk]
        assert known.revoked_at is not None
        return membership._nodes[known.revoked_at].operation.parents

    # Logs --------------------------------------------------------------------------------------

    def log(self, instance: bytes = b"") -> Forger:
        """A new log of ours in the private scope of the database."""
        return self._forger(self.scope().tag, self.keys, instance)

    def control_log(self, keys: DeviceKeys | None = None) -> Forger:
        """A new log in the membership, ours or under other keys."""
        return self._forger(CONTROL_SCOPE, keys or self.keys, b"")

    def _forger(self, scope: bytes, keys: DeviceKeys, instance: bytes) -> Forger:
        draw = self.entropy.draw
        return Forger(self.victim, keys, scope, draw, instance, self.collection)

    # Things to make up -------------------------------------------------------------------------

    def record_id(self, word: str) -> str:
        """The id of a record that we may write."""
        return f"{RECORD_PREFIX}{word}-{self.random.randrange(_NUMBERS)}"

    def new_keys(self) -> DeviceKeys:
        """The keys of a device that nobody has heard of."""
        return DeviceKeys.decode(self.entropy.draw(96))

    def rubbish(self, size: int) -> bytes:
        return self.random.randbytes(size)
