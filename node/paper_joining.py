"""Paper joining: a new device joins with a code and the words of the paper key, and is an admin.

Any member may show the code: what admits this device is the paper key. It reads the membership log
with the control keys that the member sealed to the paper key, and writes in it, in a log of its
own, that this device is a full admin and gets every key of the mesh (`offer_recovery`); all of them
are sealed to the paper key. That is sent to the member, and then the pairing goes on as any does.

The other side is `paper_pairing`. Spec: docs/protocol.md, section 6, "With the paper key".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_MEMBERSHIP,
    SALT_BYTES,
    ZERO_ID,
    Heading,
    auth_ref,
    key_id,
    seal,
    sign_entry,
)
from ..crypto.grants import scope_tag, tag_key
from ..crypto.identity import DeviceKeys
from ..crypto.pairing import prove_paper
from ..sync.batch import Run, Segment, encode_batch
from ..sync.hlc import tick
from ..sync.membership import Operation, encode_operation
from ..sync.registry import Grant, Registry
from .adopting import Opened, open_welcome
from .directory import UnknownDeviceError, find_device
from .granting import grant_details, granted_keys, missing_grants, recipients_of
from .joining import Joiner
from .mesh import INSTANCE_BYTES, KEY_BYTES
from .outgoing import PUSH_BYTES_MAX
from .pairing import CODE_STEP_MS, HUMAN_STEP_MS, Ask
from .pairing_frames import (
    TYPE_LOG,
    TYPE_PAPER_WELCOME,
    TYPE_WORD,
    WORD_FRAMES_MAX,
    Bearer,
    Newcomer,
    Offer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
)
from .ports import Entropy
from .rotation import next_epoch, old_control_key
from .secure_channel import SecureChannel

if TYPE_CHECKING:
    from .engine import Engine


class PaperJoiner(Joiner):
    """One attempt to join with the paper key. Its keys are held for this one attempt."""

    COMMAND = "covey recovery use"

    def __init__(
        self,
        engine: "Engine",
        paper: DeviceKeys,
        code: str,
        address: str | None,
        tag: str | None,
        timeout_ms: int,
        ask: Ask,
        lost: Sequence[str] = (),
    ) -> None:
        """`lost` are names or ids of devices that must be in the mesh, or nothing is said."""
        super().__init__(engine, code, address, tag, timeout_ms, ask)
        self._paper = paper
        self._lost = lost

    def _introduction(self, newcomer: Newcomer, handshake_hash: bytes) -> bytes:
        proof = prove_paper(self._paper.sign, handshake_hash, newcomer.sig)
        return Bearer(newcomer, self._paper.sig_pk, proof).encode()

    async def _welcome(self, channel: SecureChannel, offer: Offer, certificate: bytes) -> Welcome:
        frame = await self._next(channel, HUMAN_STEP_MS)
        if frame[:1] != bytes((TYPE_PAPER_WELCOME,)):
            return self._welcomed(frame)  # We were a member already, and had forgotten it.
        welcome = Welcome.decode(expect(frame, TYPE_PAPER_WELCOME))
        frames = await self._log(channel, welcome)
        opened = open_welcome(self._paper, offer.mesh, offer.sig, welcome, frames)
        try:
            for name in self._lost:
                find_device(opened.membership.registry, name)
        except UnknownDeviceError as error:
            await self._refuse(channel, Refusal.FAILED)
            raise UnknownDeviceError(f"{error}; nothing was changed") from None
        engine, us = self._engine, self._engine.our_device()
        enrolment = {
            "cert": certificate,
            "name": us.name,
            "type": us.type,
            "level": "full",
            "role": "admin",
        }
        word = offer_recovery(
            self._paper, opened, enrolment, engine.clock.wall_ms(), engine.entropy
        )
        await channel.send(bytes((TYPE_WORD, len(word))))
        for said in word:
            await channel.send(bytes((TYPE_LOG,)) + said)
        return self._welcomed(await self._next(channel, CODE_STEP_MS))


def offer_recovery(
    paper: DeviceKeys, opened: Opened, enrolment: dict[str, Any], now_ms: int, entropy: Entropy
) -> list[bytes]:
    """What the paper key says to admit a device: batch frames of a new log in the control scope.

    `enrolment` is the details of the `enroll`. Grants of every key that the paper key has follow,
    to whoever is entitled to it and lacks it. Raises PairingRefusedError if it is not the paper
    key of that mesh.
    """
    registry = opened.membership.registry
    if all(known.sig_pk != paper.sig_pk for known in registry.recovery):
        raise PairingRefusedError(Refusal.NOT_THE_PAPER_KEY)
    keys = {control.key_id: control.key for control in opened.control.values()}
    tagging = _tag_key(registry, keys)

    def is_rightly_named(grant: Grant) -> bool:
        if grant.scope == CONTROL_SCOPE:
            return True
        return grant.scope == scope_tag(tagging, grant.database, grant.privacy)

    sealed = granted_keys(registry.mesh, registry.grants, paper, keys, is_rightly_named)
    keys |= {granted.key_id: granted.key for granted in sealed}
    speech = _Speech(paper, opened, keys, now_ms, entropy, entropy.draw(INSTANCE_BYTES))
    if registry.writer_key(CONTROL_SCOPE, keys) is None:
        speech.renew_control_key()
    speech.say("enroll", enrolment)
    for details in missing_grants(speech.registry, keys, None, entropy):
        speech.say("grant", details)
    frames = list(speech.frames())
    if len(frames) > WORD_FRAMES_MAX:
        raise PairingRefusedError(Refusal.FAILED, "the mesh has more keys than fit a pairing")
    return frames


@dataclass(frozen=True, slots=True)
class _Said:
    segment: Segment
    id: bytes


class _Speech:
    """Operations of one author in a log that begins here, each resting on all before it."""

    def __init__(
        self,
        paper: DeviceKeys,
        opened: Opened,
        keys: dict[bytes, bytes],
        now_ms: int,
        entropy: Entropy,
        instance: bytes,
    ) -> None:
        self._paper = paper
        self._membership = opened.membership
        self._keys = keys
        self._now_ms = now_ms
        self._entropy = entropy
        self._instance = instance
        self._hlc = 0
        self._said: list[_Said] = []

    @property
    def registry(self) -> Registry:
        return self._membership.registry

    def renew_control_key(self) -> None:
        """Nothing may be written under a key that a removed device has."""
        readers = recipients_of(self.registry, CONTROL_SCOPE, 0)
        _, under = old_control_key(self.registry, self._keys, [one.sig_pk for one in readers])
        key = self._entropy.draw(KEY_BYTES)
        name = (CONTROL_SCOPE, "", 0, next_epoch(self.registry, CONTROL_SCOPE))
        details = grant_details(self.registry.mesh, name, key, readers, self._entropy)
        self._keys[key_id(key)] = key
        self.say("grant", details, under)

    def say(self, kind: str, details: dict[str, Any], under: bytes | None = None) -> None:
        """Append one operation, under the control key that is good now unless another is named."""
        heads = self.registry.heads
        if under is None:
            current = self.registry.writer_key(CONTROL_SCOPE, self._keys)
            assert current is not None, "a control key that is not good was renewed first"
            under = current[1]
        self._hlc = tick(self._hlc, self._now_ms)
        operation = Operation(kind, heads, self._hlc, details)
        heading = Heading(
            KIND_MEMBERSHIP,
            self.registry.mesh,
            CONTROL_SCOPE,
            self._paper.sig_pk,
            self._instance,
            auth_ref(heads),
            under,
        )
        salt, seq = self._entropy.draw(SALT_BYTES), len(self._said) + 1
        prev = self._said[-1].id if self._said else ZERO_ID
        body = encode_operation(operation)
        sealed, id = seal(heading, self._keys[under], seq, prev, salt, body)
        self._said.append(_Said(Segment(KIND_MEMBERSHIP, under, heads, [(salt, sealed)]), id))
        self._membership.add({id: (self._paper.sig_pk, operation)})

    def frames(self) -> Iterator[bytes]:
        """All of it as batches, each signed at its end."""
        first = size = 0
        for at, said in enumerate(self._said):
            size += len(said.segment.entries[0][1])
            if size >= PUSH_BYTES_MAX or at + 1 == len(self._said):
                part = self._said[first : at + 1]
                run = Run(
                    self._paper.sig_pk,
                    self._instance,
                    first + 1,
                    self._said[first - 1].id if first else ZERO_ID,
                    tuple(one.segment for one in part),
                    sign_entry(self._paper, part[-1].id),
                )
                yield encode_batch(CONTROL_SCOPE, [run])
                first, size = at + 1, 0


def _tag_key(registry: Registry, keys: dict[bytes, bytes]) -> bytes:
    """Raises PairingRefusedError if the first control key, which names the scopes, is missing."""
    for grant in registry.grants:
        if grant.scope == CONTROL_SCOPE and grant.key_id in keys:
            return tag_key(keys[grant.key_id])
        if grant.scope == CONTROL_SCOPE:
            break
    raise PairingRefusedError(Refusal.MALFORMED)
