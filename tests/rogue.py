"""A peer that speaks real Noise and says whatever a test wants: a stranger, or a full member.

`Rogue` is one connection to a victim. It can stop being polite at every layer: WebSocket messages,
hellos, Noise messages, frames of the channel, messages of the session. `Forger` makes logs of its
own: entries that are sealed and signed as well as those of any member, with whatever content, and
with whatever is to be wrong about them.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from covey.crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    ZERO_ID,
    Heading,
    auth_ref,
    key_id,
    seal,
    sign_entry,
)
from covey.crypto.identity import DeviceKeys
from covey.node.channel import ABORT, ChannelKeys, Purpose, SecureChannel, open_channel
from covey.node.counters import Counters
from covey.node.ports import Address, ConnectionLostError
from covey.node.system_clock import SystemClock
from covey.node.system_entropy import SystemEntropy
from covey.node.websocket import WebSocketTransport
from covey.sync.changeset import RecordChange, encode_change_set
from covey.sync.crdt import create
from covey.sync.membership import Operation, encode_operation
from covey.sync.messages import (
    Goodbye,
    Greeting,
    Message,
    Reason,
    Run,
    Segment,
    decode,
    encode,
    encode_batch,
)

from .loopback import PATIENCE_S, Device

CREDIT = 4_194_304


def new_keys() -> DeviceKeys:
    return DeviceKeys.generate(os.urandom)


@dataclass
class Rogue:
    """One connection to a victim, made with somebody's keys."""

    victim: Device
    keys: DeviceKeys
    transport: WebSocketTransport
    channel: SecureChannel

    @classmethod
    async def connect(cls, victim: Device, keys: DeviceKeys) -> "Rogue":
        """Finish the handshake of a member. The victim acts on it after our first message."""
        transport = WebSocketTransport(SystemClock(), Counters())
        connection = await transport.dial(Address("127.0.0.1", victim.engine.port or 0), 5_000)
        channel = await open_channel(
            connection,
            Purpose.MEMBER,
            ChannelKeys(keys.dh_secret()),
            victim.keys.dh_pk,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            counters=Counters(),
        )
        return cls(victim, keys, transport, channel)

    async def greet(self, **other: Any) -> Greeting:
        """Greet as if we held exactly what the victim holds, and hear its greeting."""
        control, root = self.victim.heads()
        greeting = Greeting(1, (), {}, CREDIT, control, root)
        await self.say(replace(greeting, **other))
        heard = await self.hear()
        assert isinstance(heard, Greeting)
        return heard

    async def say(self, *messages: Message) -> None:
        for message in messages:
            await self.channel.send(encode(message))

    async def send(self, frame: bytes) -> None:
        await self.channel.send(frame)

    async def hear(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return decode(await self.channel.receive())

    async def hear_all(self) -> list[Message]:
        """Everything up to the end of the connection."""
        heard: list[Message] = []
        with suppress(ConnectionLostError):
            while True:
                heard.append(await self.hear())
        return heard

    async def hear_kind(self, kind: type[Message]) -> Any:
        """The next message of one kind; others are passed over."""
        while not isinstance(message := await self.hear(), kind):
            pass
        return message

    async def goodbye(self) -> Goodbye | None:
        """How the victim ended it; None if it closed without a word."""
        heard = await self.hear_all()
        return next((message for message in heard if isinstance(message, Goodbye)), None)

    async def leave(self) -> None:
        """Say goodbye as an honest peer does, and wait until the victim has let go."""
        with suppress(ConnectionLostError):
            await self.say(Goodbye(Reason.DONE, ""))
            await self.hear_all()
        await self.close()

    async def close(self) -> None:
        await self.channel.close(ABORT)
        await self.transport.close()


@dataclass
class Entry:
    seq: int
    prev: bytes
    salt: bytes
    ct: bytes
    id: bytes
    signature: bytes
    heading: Heading
    heads: tuple[bytes, ...]


@dataclass
class Forger:
    """A log that one member writes by hand. `entry` appends to it; `run` and `frame` send it."""

    mesh: Device
    """Whoever knows the keys of the mesh; a full member knows the same."""
    keys: DeviceKeys
    scope: bytes
    kind: int = KIND_CHANGE_SET
    instance: bytes = field(default_factory=lambda: os.urandom(16))
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def of_data(cls, mesh: Device, keys: DeviceKeys, **other: Any) -> "Forger":
        """A log in the scope of memory/private, which the mesh must know."""
        scope = mesh.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        return cls(mesh, keys, scope.tag, **other)

    @classmethod
    def of_control(cls, mesh: Device, keys: DeviceKeys, **other: Any) -> "Forger":
        return cls(mesh, keys, CONTROL_SCOPE, KIND_MEMBERSHIP, **other)

    def scope_key(self) -> bytes:
        current = self.mesh.engine.mesh.registry.writer_key(self.scope)
        assert current is not None
        key = self.mesh.engine.mesh.key(current[1])
        assert key is not None
        return key

    def entry(
        self,
        body: bytes,
        *,
        seq: int | None = None,
        prev: bytes | None = None,
        key: bytes | None = None,
        heads: tuple[bytes, ...] | None = None,
        kind: int | None = None,
        signer: DeviceKeys | None = None,
    ) -> Entry:
        """Append one entry. What is given is used in place of what would be right."""
        key = key or self.scope_key()
        heads = self.mesh.engine.mesh.registry.heads if heads is None else heads
        heading = Heading(
            self.kind if kind is None else kind,
            self.mesh.engine.mesh.id,
            self.scope,
            self.keys.sig_pk,
            self.instance,
            auth_ref(heads),
            key_id(key),
        )
        last = self.entries[-1] if self.entries else None
        seq = seq or (last.seq + 1 if last else 1)
        prev = prev or (last.id if last else ZERO_ID)
        salt = os.urandom(8)
        ct, id = seal(heading, key, seq, prev, salt, body)
        entry = Entry(seq, prev, salt, ct, id, sign_entry(signer or self.keys, id), heading, heads)
        self.entries.append(entry)
        return entry

    def record(self, id: str, value: dict[str, Any], **wrong: Any) -> Entry:
        """Append a change set that makes one record, as any application might."""
        change = create(self.instance, value, entry_seq=1)
        return self.changes([RecordChange("facts", id, (), change.tail, None)], **wrong)

    def changes(
        self, changes: Sequence[RecordChange], *, hlc: int | None = None, **wrong: Any
    ) -> Entry:
        stamp = hlc if hlc is not None else self.mesh.engine.clock.wall_ms() << 16
        return self.entry(encode_change_set(stamp, changes), **wrong)

    def operation(self, kind: str, details: dict[str, Any], **wrong: Any) -> Entry:
        """Append a membership operation that rests on all that the mesh knows."""
        heads = self.mesh.engine.mesh.registry.heads
        stamp = self.mesh.engine.clock.wall_ms() << 16
        return self.entry(encode_operation(Operation(kind, heads, stamp, details)), **wrong)

    def run(self, *entries: Entry, **other: Any) -> Run:
        """A run of these entries, or of all there are."""
        chosen = entries or tuple(self.entries)
        segments = tuple(
            Segment(e.heading.kind, e.heading.key_id, e.heads, [(e.salt, e.ct)]) for e in chosen
        )
        first, last = chosen[0], chosen[-1]
        run = Run(self.keys.sig_pk, self.instance, first.seq, first.prev, segments, last.signature)
        return replace(run, **other)

    def frame(self, *entries: Entry) -> bytes:
        return encode_batch(self.scope, [self.run(*entries)])

    def row(self, entry: Entry | None = None) -> tuple[bytes, bytes, int, bytes]:
        """This log's row of a vector."""
        last = entry or self.entries[-1]
        return self.instance, self.keys.sig_pk, last.seq, last.id
