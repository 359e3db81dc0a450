"""Forger: a log written by hand, sealed and signed as well as any, and wrong wherever it should be.

A `Forger` appends entries to a log of its own and puts them into runs and batch frames. Whatever is
given by name is used in place of what would be right: a number, a predecessor, a key, heads, a
signer. What is not given is as an honest member would have it.

An honest member's engine stands for what a member knows: the heads of the membership, the scope
keys, the wall clock. It is only read. Salts, and the instance if none is given, come from `draw`;
so the same draws make the same bytes.

Spec: docs/protocol.md, sections 2 to 4 and 8. Sizes are bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...crypto.aead import TAG_BYTES, encrypt
from ...crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    SALT_BYTES,
    ZERO_ID,
    Heading,
    auth_ref,
    entry_id,
    key_id,
    sign_entry,
)
from ...crypto.identity import DeviceKeys
from ...crypto.padding import pad
from ...node.engine import Engine
from ...sync.changeset import RecordChange, encode_change_set
from ...sync.crdt import create
from ...sync.membership import Operation, encode_operation
from ...sync.messages import Run, Segment, encode_batch

Draw = Callable[[int], bytes]

INSTANCE_BYTES = 16


@dataclass(slots=True)
class Entry:
    """One entry of a forged log, with all that a run or a vector says of it; also to be changed."""

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
    """A log that somebody writes by hand. `entry` appends to it; `run` and `frame` send it."""

    engine: Engine
    """Whoever knows the keys of the mesh; a full member knows the same."""
    keys: DeviceKeys
    scope: bytes
    draw: Draw
    instance: bytes = b""
    collection: str = "facts"
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instance = self.instance or self.draw(INSTANCE_BYTES)

    def heads(self) -> tuple[bytes, ...]:
        """The membership heads that an entry written now refers to."""
        return self.engine.mesh.registry.heads

    def scope_key(self) -> bytes:
        """The key under which honest members write to this scope now, or the last that they did.

        Where somebody has just left, the next one is still to be made.
        """
        mesh = self.engine.mesh
        ids = [g.key_id for g in mesh.registry.grants if g.scope == self.scope]
        held = [id for id in ids if mesh.key(id)]
        current = mesh.registry.writer_key(self.scope, held)
        key = mesh.key(current[1] if current else held[-1])
        assert key is not None, "whoever knows a scope holds a key of it"
        return key

    # Writing -----------------------------------------------------------------------------------

    def entry(
        self,
        body: bytes,
        *,
        key: bytes | None = None,
        named: bytes | None = None,
        salt: bytes | None = None,
        seq: int | None = None,
        prev: bytes | None = None,
        **wrong: Any,
    ) -> Entry:
        """Append one entry. `named` is the id of a key, if the header names another one."""
        key = key or self.scope_key()
        seq, prev = self._place(seq, prev)
        heading, heads = self._heading(named or key_id(key), wrong.get("heads"), wrong.get("mesh"))
        salt = self.draw(SALT_BYTES) if salt is None else salt
        plain = pad(body)
        # The additional data depend on the length of the ciphertext alone.
        _, ad, nonce = entry_id(heading, seq, prev, salt, bytes(len(plain) + TAG_BYTES))
        ct = encrypt(key, nonce, plain, ad)
        return self._append(heading, heads, seq, prev, salt, ct, wrong.get("signer"))

    def transplanted(self, salt: bytes, ct: bytes, named: bytes) -> Entry:
        """Append a ciphertext that was made elsewhere, by whomever, as if it were ours."""
        seq, prev = self._place(None, None)
        heading, heads = self._heading(named, None, None)
        return self._append(heading, heads, seq, prev, salt, ct, None)

    def record(self, id: str, value: Mapping[str, Any], **wrong: Any) -> Entry:
        """Append a change set that makes one record, as any application might."""
        tail = create(self.instance, dict(value), entry_seq=1).tail
        return self.changes([self.change(id, tail)], **wrong)

    def change(
        self,
        id: str,
        tail: bytes,
        past: tuple[tuple[bytes, int], ...] = (),
        fields: tuple[str, ...] | None = None,
    ) -> RecordChange:
        """One change of one record of our collection."""
        return RecordChange(self.collection, id, past, tail, fields)

    def changes(
        self, changes: Sequence[RecordChange], *, hlc: int | None = None, **wrong: Any
    ) -> Entry:
        """Append a change set."""
        stamp = self._now() if hlc is None else hlc
        return self.entry(encode_change_set(stamp, changes), **wrong)

    def operation(
        self,
        kind: str,
        details: Mapping[str, Any],
        *,
        parents: tuple[bytes, ...] | None = None,
        hlc: int | None = None,
        **wrong: Any,
    ) -> Entry:
        """Append a membership operation that rests on all that the mesh knows, or on `parents`."""
        parents = self.heads() if parents is None else parents
        stamp = self._now() if hlc is None else hlc
        body = encode_operation(Operation(kind, parents, stamp, details))
        return self.entry(body, **{"heads": parents, **wrong})

    # Sending -----------------------------------------------------------------------------------

    def run(self, *entries: Entry, **other: Any) -> Run:
        """A run of these entries, or of all there are; `other` replaces fields of it."""
        chosen = entries or tuple(self.entries)
        segments = tuple(
            Segment(e.heading.kind, e.heading.key_id, e.heads, [(e.salt, e.ct)]) for e in chosen
        )
        first, last = chosen[0], chosen[-1]
        run = Run(self.keys.sig_pk, self.instance, first.seq, first.prev, segments, last.signature)
        return replace(run, **other)

    def frame(self, *entries: Entry, **other: Any) -> bytes:
        """A batch of one run."""
        return encode_batch(self.scope, [self.run(*entries, **other)])

    def row(self, entry: Entry | None = None) -> tuple[bytes, bytes, int, bytes]:
        """This log's row of a vector."""
        last = entry or self.entries[-1]
        return self.instance, self.keys.sig_pk, last.seq, last.id

    # Parts -------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self.engine.clock.wall_ms() << 16

    def _place(self, seq: int | None, prev: bytes | None) -> tuple[int, bytes]:
        last = self.entries[-1] if self.entries else None
        next_seq = seq or (last.seq + 1 if last else 1)
        return next_seq, prev or (last.id if last else ZERO_ID)

    def _heading(
        self, named: bytes, heads: tuple[bytes, ...] | None, mesh: bytes | None
    ) -> tuple[Heading, tuple[bytes, ...]]:
        kind = KIND_MEMBERSHIP if self.scope == CONTROL_SCOPE else KIND_CHANGE_SET
        heads = self.heads() if heads is None else heads
        author, mesh, ref = self.keys.sig_pk, mesh or self.engine.mesh.id, auth_ref(heads)
        return Heading(kind, mesh, self.scope, author, self.instance, ref, named), heads

    def _append(
        self,
        heading: Heading,
        heads: tuple[bytes, ...],
        seq: int,
        prev: bytes,
        salt: bytes,
        ct: bytes,
        signer: DeviceKeys | None,
    ) -> Entry:
        id, _, _ = entry_id(heading, seq, prev, salt, ct)
        signature = sign_entry(signer or self.keys, id)
        entry = Entry(seq, prev, salt, ct, id, signature, heading, heads)
        self.entries.append(entry)
        return entry
