"""Joining: the side that types the code and becomes a member.

Finds the window by mDNS or goes to an address, proves the code, shows the person which mesh and
by whom, and hands over its certificate. Instead of a code it takes the text of the picture beside
it, which says where to go; then the handshake is the proof, and only that window answers.

What comes back is believed only after the fold of the membership log says so: the genesis hashes to
the mesh id that was offered, the admitting device is an admin in it, and our own enrolment is in
it. Then the store changes meshes in one transaction.

What this device wrote before stays: its records are carried over and written again in the new
mesh, under its keys (`covey.node.carrying`). A device whose mesh has other members refuses.

Spec: docs/protocol.md, section 6; this is "B".
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from .. import CoveyError
from ..crypto.entry import auth_ref
from ..crypto.errors import CryptoError
from ..crypto.identity import make_certificate
from ..crypto.pairing import PairingFailed, PakeInitiator, WrongCodeError, prove_key
from ..crypto.secret import Secret
from ..crypto.words import normalise_code
from ..storage.peer_rows import AddressSource
from .addresses import parse_address
from .adopting import Adoption, check_adoption
from .channel import ChannelRefused, SecureChannel
from .channel import Refusal as Handshake
from .deadline import DeadlinePassed, within
from .pairing import CODE_STEP_MS, HUMAN_STEP_MS, Ask, Event, public_of
from .pairing_frames import (
    TYPE_CERTIFICATE,
    TYPE_CONFIRM_A,
    TYPE_CONFIRM_B,
    TYPE_DONE,
    TYPE_LOG,
    TYPE_OFFER,
    TYPE_POINT_A,
    TYPE_POINT_B,
    TYPE_WELCOME,
    Newcomer,
    Offer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
    refusal_frame,
)
from .ports import (
    SERVICE_PAIRING,
    Address,
    ConnectionLostError,
    Sighting,
    UnreachableError,
)
from .rekeying import current_keys
from .ticket import is_ticket, read_ticket
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine

DIAL_TIMEOUT_MS = 3_000
SECOND_WINDOW_MS = 300
"""How long a second window is waited for, after the first was seen."""
TAG_CHARACTERS = 4
PROGRESS_EVERY_MS = 200
FIRST_SYNC_IDLE_MS = 10_000


class NobodyWaitingError(CoveyError):
    """No pairing window was found. Nothing was tried and no code was used up."""

    exit_code = 4


class SeveralWaitingError(CoveyError):
    """More than one device waits for a joiner; guessing would burn the wrong one's code."""

    exit_code = 2


class Joiner:
    """One attempt to join. `run` yields what the person is to be told."""

    COMMAND: ClassVar[str] = "covey join"

    def __init__(
        self,
        engine: "Engine",
        code: str,
        address: str | None,
        tag: str | None,
        timeout_ms: int,
        ask: Ask,
    ) -> None:
        self._engine = engine
        self._ticket = read_ticket(code) if is_ticket(code) else None
        self._code = "" if self._ticket else normalise_code(code)
        self._address = None if address is None else parse_address(address)
        self._tag = None if tag is None else tag.lower()
        self._timeout_ms = timeout_ms
        self._ask = ask
        self._static = Secret(engine.entropy.draw(32))

    async def run(self) -> AsyncIterator[Event]:
        """Raises PairingRefusedError, NobodyWaitingError, SeveralWaitingError, UnreachableError."""
        engine = self._engine
        if len(engine.mesh.registry.active()) > 1:
            raise PairingRefusedError(
                Refusal.OTHER_MESH,
                "this device is already in a mesh with other devices: use another --home,"
                " or a code shown by a device that is not",
            )
        yield {"event": "searching", "address": None if not self._address else str(self._address)}
        channel = await self._reach()
        try:
            if self._ticket is None:
                await self._prove_code(channel)
            offer = await self._introduce(channel)
            yield self._confirmation(offer)
            if self._ask is not None and not await self._ask():
                raise PairingRefusedError(Refusal.DECLINED, "you said no: nothing was changed")
            adoption = await self._receive(channel, offer)
            await engine.adopt(adoption)
            await channel.send(bytes((TYPE_DONE,)) + auth_ref(adoption.heads))
        except PairingRefusedError as error:
            await self._refuse(channel, error.refusal)
            raise self._explained(error) from None
        except WrongCodeError:
            await self._refuse(channel, Refusal.WRONG_CODE)
            raise PairingRefusedError(
                Refusal.WRONG_CODE,
                "the other side does not know this code: it was mistyped, or someone is in between;"
                " ask for a new one with `covey pair`",
            ) from None
        except (PairingFailed, CryptoError) as error:
            raise PairingRefusedError(Refusal.MALFORMED, f"pairing broke off: {error}") from None
        except DeadlinePassed:
            raise PairingRefusedError(
                Refusal.EXPIRED,
                f"the other device did not answer in time: run `{self.COMMAND}` again",
            ) from None
        except ConnectionLostError:
            raise PairingRefusedError(
                Refusal.FAILED, "the other device went away: run `covey pair` there again"
            ) from None
        finally:
            await channel.close()
        sponsor = engine.mesh.registry.devices[offer.sig]
        until_ms = engine.our_device().expires_ms
        yield {
            "event": "joined",
            "mesh": engine.mesh.id.hex(),
            "enrolled_by": {
                "name": sponsor.name,
                "short_id": engine.short_id(sponsor.sig_pk),
                "id": engine.shown_id(sponsor.sig_pk),
            },
            "expires_at": None if until_ms is None else iso_time(until_ms),
        }
        async for event in self._first_sync(offer.sig, channel.remote):
            yield event

    def _explained(self, error: PairingRefusedError) -> PairingRefusedError:
        """What the person at this device has to know beside what the other side said."""
        if error.refusal is not Refusal.PENDING:
            return error
        us = self._engine.shown_id(self._engine.keys.sig_pk)
        return PairingRefusedError(
            Refusal.PENDING,
            f"an admin of the mesh has to approve this device, whose id is {us}: compare it there,"
            " then join again",
        )

    async def _reach(self) -> SecureChannel:
        """A channel to where the code is shown: at the address given, read, or announced."""
        known = [self._address] if self._address else []
        if self._ticket is not None and not known:
            known = list(self._ticket.addresses)
        if not known:
            return await self._connect(await self._search())
        try:
            return await self._connect(known)
        except CoveyError:
            # What the picture said may be out of date by now, and another address announced.
            if self._address or self._engine.discovery is None:
                raise
            with suppress(NobodyWaitingError):
                known = await self._search()
            return await self._connect(known)

    async def _search(self) -> list[Address]:
        """Every address of the one window that is announced on this network.

        With a picture in hand, of every window that is.
        """
        found: dict[str, Sighting] = {}
        news = asyncio.Event()

        def seen(sighting: Sighting) -> None:
            found[sighting.instance] = sighting
            news.set()

        browsing = await self._engine.reach.browse(SERVICE_PAIRING, seen)
        try:
            await within(self._engine.clock, self._timeout_ms, self._settled(found, news))
        except DeadlinePassed:
            raise NobodyWaitingError(
                "no device on this network shows a code: run `covey pair` on the other device, or"
                " give its address with --address HOST:PORT"
            ) from None
        finally:
            await browsing.close()
        windows = list(self._matching(found))
        if self._ticket is not None:
            # Only one of them can answer, and asking another costs it nothing.
            return [address for window in windows for address in window.addresses]
        if len(windows) > 1:
            tags = ", ".join(sorted(pairing_tag(s) or "?" for s in windows))
            raise SeveralWaitingError(
                f"{len(windows)} devices show a code (tags {tags}): say which with --tag, as shown"
                " beside the code"
            )
        return list(windows[0].addresses)

    async def _settled(self, found: dict[str, Sighting], news: asyncio.Event) -> None:
        """Wait for a window, then a little longer, in case there is a second one.

        A window may close meanwhile, and its device show another code under another tag.
        """
        while not self._matching(found):
            while not self._matching(found):
                news.clear()
                await news.wait()
            await self._engine.clock.sleep_ms(SECOND_WINDOW_MS)

    def _matching(self, found: dict[str, Sighting]) -> list[Sighting]:
        return [
            sighting
            for sighting in found.values()
            if sighting.addresses
            and (tag := pairing_tag(sighting)) is not None
            and self._tag in (None, tag)
        ]

    async def _connect(self, candidates: list[Address]) -> SecureChannel:
        last: CoveyError | None = None
        for address in candidates:
            try:
                return await self._engine.reach.open_pairing_channel(
                    address, self._static, self._ticket, DIAL_TIMEOUT_MS
                )
            except (UnreachableError, ConnectionLostError) as error:
                last = UnreachableError(
                    f"{error}: is `covey pair` still running there, and is that its address?"
                )
            except ChannelRefused as error:
                if error.reason is Handshake.NO_SHARED_VERSION:
                    # It does show a code, and another one would help as little.
                    last = PairingRefusedError(Refusal.MALFORMED, str(error))
                    continue
                shows = "no code, or it" if self._ticket is None else "another picture, or this one"
                last = PairingRefusedError(
                    Refusal.EXPIRED,
                    f"{address} shows {shows} has expired: run `covey pair` there ({error})",
                )
        assert last is not None
        raise last

    async def _prove_code(self, channel: SecureChannel) -> None:
        """Steps 1 to 4."""
        engine = self._engine
        pake = PakeInitiator(
            self._code,
            channel.handshake_hash,
            channel.remote_static,
            public_of(self._static),
            engine.entropy.draw,
        )
        await channel.send(bytes((TYPE_POINT_B,)) + pake.start())
        point = expect(await self._next(channel, CODE_STEP_MS), TYPE_POINT_A)
        await channel.send(bytes((TYPE_CONFIRM_B,)) + pake.confirm(point))
        pake.finish(expect(await self._next(channel, CODE_STEP_MS), TYPE_CONFIRM_A))

    async def _introduce(self, channel: SecureChannel) -> Offer:
        """Steps 5 and 6."""
        engine = self._engine
        us = engine.our_device()
        proof = prove_key(engine.keys.sign, channel.handshake_hash)
        newcomer = Newcomer(us.sig_pk, us.dh_pk, us.seal_pk, us.name, us.type, proof)
        await channel.send(self._introduction(newcomer, channel.handshake_hash))
        offer = Offer.decode(expect(await self._next(channel, CODE_STEP_MS), TYPE_OFFER))
        if self._ticket is not None and offer.mesh != self._ticket.mesh:
            raise PairingRefusedError(
                Refusal.MALFORMED, "the other device offers another mesh than its picture did"
            )
        return offer

    def _introduction(self, newcomer: Newcomer, handshake_hash: bytes) -> bytes:
        return newcomer.encode()

    def _confirmation(self, offer: Offer) -> Event:
        return {
            "event": "confirm",
            "id": self._engine.shown_id(self._engine.keys.sig_pk),
            "mesh_name": offer.name,
            "level": offer.level,
            "enrolled_by": {
                "name": offer.name,
                "short_id": self._engine.short_id(offer.sig),
                "id": self._engine.shown_id(offer.sig),
            },
        }

    async def _receive(self, channel: SecureChannel, offer: Offer) -> Adoption:
        """Steps 7 and 8, and every check before we believe them."""
        engine = self._engine
        certificate = make_certificate(current_keys(engine), offer.mesh, engine.clock.wall_ms())
        await channel.send(bytes((TYPE_CERTIFICATE,)) + certificate)
        welcome = await self._welcome(channel, offer, certificate)
        frames = await self._log(channel, welcome)
        return check_adoption(engine.keys, offer.mesh, offer.sig, welcome, frames)

    async def _welcome(self, channel: SecureChannel, offer: Offer, certificate: bytes) -> Welcome:
        return self._welcomed(await self._next(channel, HUMAN_STEP_MS))

    def _welcomed(self, frame: bytes) -> Welcome:
        return Welcome.decode(expect(frame, TYPE_WELCOME))

    async def _log(self, channel: SecureChannel, welcome: Welcome) -> list[bytes]:
        return [
            expect(await self._next(channel, CODE_STEP_MS), TYPE_LOG) for _ in range(welcome.frames)
        ]

    async def _next(self, channel: SecureChannel, timeout_ms: int) -> bytes:
        return await within(self._engine.clock, timeout_ms, channel.receive())

    async def _refuse(self, channel: SecureChannel, refusal: Refusal) -> None:
        with suppress(ConnectionLostError):
            await channel.send(refusal_frame(refusal))

    async def _first_sync(self, sponsor: bytes, address: Address) -> AsyncIterator[Event]:
        """Fetch what the mesh has, most recent first, while the other side is there."""
        engine = self._engine
        engine.remember_address(sponsor, address, AddressSource.PAIRING)
        await engine.go_online()
        idle_ms, last = 0, None
        while idle_ms < FIRST_SYNC_IDLE_MS:
            standing = engine.standing_with(sponsor)
            if standing.proved:
                yield {"event": "synced"}
                return
            now: dict[str, Any] = {"behind": standing.behind, "bytes_left": standing.bytes_left}
            idle_ms = idle_ms + PROGRESS_EVERY_MS if now == last else 0
            if now != last:
                last = now
                yield {"event": "progress", **now}
            await engine.clock.sleep_ms(PROGRESS_EVERY_MS)
        yield {"event": "later", "message": "the rest follows when both devices are up"}


def pairing_tag(sighting: Sighting) -> str | None:
    """The tag of somebody's pairing window, or None if it is none we understand."""
    properties = dict(sighting.properties)
    tag = properties.get("t", "")
    plain = len(tag) == TAG_CHARACTERS and tag.isascii() and tag.isalnum()
    return tag if properties.get("v") == "1" and plain else None
