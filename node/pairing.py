"""Pairing window: the side that is in a mesh, shows a code, and admits one device.

A window has one code, one guess and one joiner. It lives at most five minutes. Whoever connects
meanwhile is answered one at a time; the others are closed and do not burn the code. A wrong
confirmation kills the code at once and both sides say so. Three burned codes within ten minutes
switch pairing off for ten minutes, also across restarts.

Beside the code stands a picture (`ticket`), with a token that cannot be guessed. Whoever has read
it needs no code: the handshake itself proves it, and who has not read all of it gets no channel,
burns nothing and is told nothing. Either way in ends both.

Both people answer before anything is admitted. The enrolment and all key grants become durable
in one transaction, before the new device is told.

Spec: docs/protocol.md, section 6; this is "A".
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nacl.bindings import crypto_scalarmult_base

from .. import CoveyError
from ..crypto.errors import CryptoError
from ..crypto.identity import read_certificate
from ..crypto.pairing import (
    TOKEN_BYTES,
    PairingFailed,
    PakeResponder,
    WrongCodeError,
    key_is_proved,
    qr_psk,
)
from ..crypto.secret import Secret
from ..crypto.words import make_code
from ..storage import meta_rows
from ..storage.errors import StorageError
from ..sync.registry import Recovery
from .channel import ChannelKeys, Purpose, SecureChannel
from .deadline import DeadlinePassed, within
from .pairing_frames import (
    LEVELS,
    TYPE_BEARER,
    TYPE_CERTIFICATE,
    TYPE_CONFIRM_A,
    TYPE_CONFIRM_B,
    TYPE_DEVICE,
    TYPE_DONE,
    TYPE_LOG,
    TYPE_POINT_A,
    TYPE_POINT_B,
    Bearer,
    Newcomer,
    Offer,
    PairingRefusedError,
    Refusal,
    Welcome,
    expect,
    refusal_frame,
)
from .paper_pairing import proved_paper, welcome_recovery
from .parameters import DAY_MS
from .ports import SERVICE_PAIRING, ConnectionLostError
from .ticket import Ticket, for_ticket

if TYPE_CHECKING:
    from .engine import Engine

CODE_LIFETIME_MS = 300_000
CODE_STEP_MS = 10_000
HUMAN_STEP_MS = 60_000
ANSWER_WAIT_MS = 50_000
"""How long a member that is no admin waits for one; the new device waits a `HUMAN_STEP_MS`."""
BURNED_WINDOW_MS = 600_000
BURNED_CODES_MAX = 3
FIRST_SYNC_WAIT_MS = 60_000
LINK_WAIT_MS = 10_000
TAG_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

Event = dict[str, Any]
Ask = Callable[[], Awaitable[bool]] | None


class PairingPausedError(CoveyError):
    """Too many wrong codes were tried; pairing is off for a while. Nothing else is affected."""

    exit_code = 3


def public_of(static: Secret) -> bytes:
    """The public X25519 key of a Noise static secret."""
    public: bytes = crypto_scalarmult_base(static.reveal())
    return public


class PairingWindow:
    """One code and the wait for one device. `run` yields what the person is to be told."""

    def __init__(
        self, engine: "Engine", level: str, timeout_ms: int, ask: Ask, days: int | None = None
    ) -> None:
        """`days` is for how long the device is admitted, if not for good."""
        self._engine = engine
        self._level = level
        self._days = days
        self._lifetime_ms = min(timeout_ms, CODE_LIFETIME_MS)
        self._ask = ask
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._busy = False
        self._spent = False
        self._admitting = False
        self._closed = False
        self._code = make_code(engine.entropy.draw)
        self._token = Secret(engine.entropy.draw(TOKEN_BYTES))
        self.static = Secret(engine.entropy.draw(32))
        """The Noise static secret of this window; nothing identifies us to a stranger."""

    def offers(self) -> dict[Purpose, ChannelKeys]:
        """What whoever knocks now may open a channel for. A token that was used opens none."""
        offers = {Purpose.PAIRING: ChannelKeys(self.static)}
        if not self._spent:
            offers[Purpose.QR] = ChannelKeys(self.static, qr_psk(self._token))
        return offers

    async def run(self) -> AsyncIterator[Event]:
        """Open the window; ends after one device was admitted, or none.

        Raises PairingPausedError, and what going online raises. A window that admits nobody
        ends with an event `failed`.
        """
        engine = self._engine
        if self._level not in LEVELS:
            raise PairingRefusedError(Refusal.FAILED, f"no level {self._level!r}: {LEVELS}")
        self._refuse_who_may_not_ask()
        await self._refuse_while_paused()
        await engine.go_online()
        engine.open_window(self)
        tag = "".join(TAG_ALPHABET[byte & 31] for byte in engine.entropy.draw(4))
        announcement = None
        timer = asyncio.ensure_future(self._expire())
        try:
            engine.tell("pairing_opened", {"level": self._level})
            announcement = await engine.reach.announce(SERVICE_PAIRING, {"v": "1", "t": tag})
            yield {
                "event": "code",
                "code": self._code,
                "qr": self._ticket().text(),
                "port": engine.port,
                "expires_in": self._lifetime_ms // 1000,
                "tag": tag,
                "addresses": [str(a) for a in engine.own_addresses()],
                "mdns": announcement is not None,
            }
            while (event := await self._events.get()) is not None:
                yield event
        finally:
            # Whoever ended the command early does not want anybody to be admitted any more.
            if not self._spent:
                engine.tell("pairing_closed", {})
            self._spent = self._closed = True
            timer.cancel()
            engine.close_window(self)
            if announcement is not None:
                await announcement.close()

    def _ticket(self) -> Ticket:
        addresses = for_ticket(self._engine.own_addresses())
        return Ticket(self._engine.mesh.id, public_of(self.static), self._token, addresses)

    async def handle(self, channel: SecureChannel) -> None:
        """One connection that finished its handshake. Never raises for what the other side does."""
        if self._busy or self._spent:
            await self._turn_away(channel, Refusal.BUSY)
            return
        self._busy = True
        try:
            if channel.purpose is Purpose.QR:
                self._spent = self._admitting = True
            else:
                await self._prove_code(channel)
            await self._admit(channel, *await self._introduced(channel))
        except WrongCodeError:
            self._spent = True
            # A disk that takes no note must not keep a window open that admits nobody any more.
            with suppress(StorageError):
                await self._burned()
            await self._turn_away(channel, Refusal.WRONG_CODE)
            self._fail(
                "wrong-code",
                "A wrong code was tried, so this code is used up. If that was"
                " not you, someone on the network tried. Run `covey pair` again",
            )
        except PairingRefusedError as error:
            await self._turn_away(channel, error.refusal)
            self._end_if_admitting("refused", str(error))
        except (PairingFailed, CryptoError, ConnectionLostError, DeadlinePassed):
            # Nothing was guessed: the code stays good, unless it was proved already.
            await channel.close()
            self._end_if_admitting(
                "interrupted", "the other device went away: run `covey pair` again"
            )
        except CoveyError as error:
            await self._turn_away(channel, Refusal.FAILED)
            self._end_if_admitting("failed", str(error))
        finally:
            self._busy = False

    async def _prove_code(self, channel: SecureChannel) -> None:
        """Steps 1 to 4."""
        engine = self._engine
        pake = PakeResponder(
            self._code,
            channel.handshake_hash,
            public_of(self.static),
            channel.remote_static,
            engine.entropy.draw,
        )
        point = expect(await self._next(channel, CODE_STEP_MS), TYPE_POINT_B)
        await channel.send(bytes((TYPE_POINT_A,)) + pake.answer(point))
        confirmation = expect(await self._next(channel, CODE_STEP_MS), TYPE_CONFIRM_B)
        if self._spent:
            raise PairingRefusedError(Refusal.EXPIRED)
        own = pake.finish(confirmation)
        self._spent = self._admitting = True
        channel.admit()
        await channel.send(bytes((TYPE_CONFIRM_A,)) + own)

    async def _introduced(self, channel: SecureChannel) -> tuple[Newcomer, Recovery | None]:
        """Step 5: who it is, and the paper key, if it brings that."""
        frame = await self._next(channel, CODE_STEP_MS)
        paper = None
        if frame[:1] == bytes((TYPE_BEARER,)):
            bearer = Bearer.decode(frame[1:])
            newcomer = bearer.newcomer
            paper = proved_paper(self._engine.mesh.registry, bearer, channel.handshake_hash)
        else:
            newcomer = Newcomer.decode(expect(frame, TYPE_DEVICE))
        if not key_is_proved(newcomer.sig, channel.handshake_hash, newcomer.proof):
            raise PairingRefusedError(Refusal.MALFORMED)
        return newcomer, paper

    async def _admit(
        self, channel: SecureChannel, newcomer: Newcomer, paper: Recovery | None
    ) -> None:
        """Steps 6 to 9."""
        engine = self._engine
        known = engine.mesh.registry.devices.get(newcomer.sig)
        # One that was removed is nobody: a person is asked as for any other.
        already = known if known is not None and known.active else None
        us = engine.our_device()
        level = "full" if paper is not None else self._level
        if already is not None:
            level = already.level
        offer = Offer(engine.mesh.id, us.name, us.sig_pk, level)
        await channel.send(offer.encode())
        device = {
            "name": newcomer.name,
            "short_id": engine.short_id(newcomer.sig),
            "id": engine.shown_id(newcomer.sig),
            "type": newcomer.type,
            "level": level,
            "days": self._days if already is None and paper is None else None,
            "paper_key": paper is not None,
        }
        if already is None and self._ask is not None:
            self._events.put_nowait({"event": "confirm", "device": device})
            if not await self._ask():
                raise PairingRefusedError(Refusal.DECLINED, "you said no: nobody was admitted")
        answer = expect(await self._next(channel, HUMAN_STEP_MS), TYPE_CERTIFICATE, 188)
        certificate = read_certificate(answer)
        if (certificate.mesh, certificate.sig_pk, certificate.dh_pk, certificate.seal_pk) != (
            engine.mesh.id,
            newcomer.sig,
            newcomer.dh,
            newcomer.seal,
        ):
            raise PairingRefusedError(Refusal.MALFORMED)
        if self._closed:
            raise PairingRefusedError(Refusal.EXPIRED, "the command was ended: nobody was admitted")
        if already is None and paper is not None:
            await welcome_recovery(
                engine, channel, newcomer, paper, lambda: self._next(channel, CODE_STEP_MS)
            )
        elif already is None and engine.mesh.registry.is_admin(us.sig_pk):
            about = newcomer.name, newcomer.type, self._level
            await engine.mesh.enroll(answer, *about, self._expires_ms())
        elif already is None:
            await self._ask_an_admin(answer, newcomer, device)
        genesis, keys, frames = await engine.mesh.welcome(newcomer.sig)
        await channel.send(Welcome(genesis, keys, len(frames)).encode())
        for frame in frames:
            await channel.send(bytes((TYPE_LOG,)) + frame)
        self._admitting = False
        engine.tell("enrolled", device)
        self._events.put_nowait({"event": "enrolled", "device": device})
        try:
            await self._see_off(channel, newcomer.sig)
        finally:
            self._events.put_nowait(None)

    def _expires_ms(self) -> int | None:
        return None if self._days is None else self._engine.clock.wall_ms() + self._days * DAY_MS

    async def _ask_an_admin(self, certificate: bytes, newcomer: Newcomer, device: Event) -> None:
        """We may not admit: carry the request, and wait a little for an admin who answers now."""
        engine = self._engine
        await engine.requests.carry(certificate, newcomer, self._level, self._expires_ms())
        self._events.put_nowait({"event": "requested", "device": device})

        def is_member() -> bool:
            known = engine.mesh.registry.devices.get(newcomer.sig)
            return known is not None and known.active

        try:
            await within(engine.clock, ANSWER_WAIT_MS, engine.patience.until(is_member))
        except DeadlinePassed:
            raise PairingRefusedError(
                Refusal.PENDING,
                f"an admin has to approve {device['id']} (`covey devices approve` there); then run"
                " `covey pair` here again",
            ) from None

    def _refuse_who_may_not_ask(self) -> None:
        """An admin admits; a member that reads the membership log carries requests to one."""
        us = self._engine.our_device()
        if not us.active or us.level == "mailbox":
            self._engine.mesh.require_admin()

    async def _see_off(self, channel: SecureChannel, device: bytes) -> None:
        """Hear that the new device is done, and stay until it has what we have, heard or not.

        A node that closes waits for neither: it ends this task, and would wait for its end.
        """
        try:
            expect(await self._next(channel, CODE_STEP_MS), TYPE_DONE, 32)
        except Exception:
            await self._stay(channel, device)
            raise
        await self._stay(channel, device)

    async def _stay(self, channel: SecureChannel, device: bytes) -> None:
        await channel.close()
        await self._engine.patience.after_admission(device, LINK_WAIT_MS, FIRST_SYNC_WAIT_MS)

    async def _next(self, channel: SecureChannel, timeout_ms: int) -> bytes:
        return await within(self._engine.clock, timeout_ms, channel.receive())

    async def _turn_away(self, channel: SecureChannel, refusal: Refusal) -> None:
        with suppress(ConnectionLostError):
            await channel.send(refusal_frame(refusal))
        await channel.close()

    def _fail(self, reason: str, message: str) -> None:
        self._engine.tell("pairing_failed", {"reason": reason})
        self._events.put_nowait({"event": "failed", "reason": reason, "message": message})
        self._events.put_nowait(None)

    def _end_if_admitting(self, reason: str, message: str) -> None:
        """A code that was proved is spent, so the window has nothing left to wait for."""
        if self._admitting:
            self._fail(reason, message)

    async def _expire(self) -> None:
        await self._engine.clock.sleep_ms(self._lifetime_ms)
        if not self._spent:
            self._spent = True
            self._fail("expired", "nobody joined in time: run `covey pair` again")

    async def _refuse_while_paused(self) -> None:
        burned = await self._burned_times()
        if len(burned) < BURNED_CODES_MAX or burned[-1] - burned[0] >= BURNED_WINDOW_MS:
            return
        since_ms = self._engine.clock.wall_ms() - burned[-1]
        if 0 <= since_ms < BURNED_WINDOW_MS:
            minutes = (BURNED_WINDOW_MS - since_ms) // 60_000 + 1
            raise PairingPausedError(
                f"{len(burned)} wrong codes were tried in ten minutes: pairing is off for another"
                f" {minutes} min; if that was not you, someone on the network is trying"
            )

    async def _burned_times(self) -> list[int]:
        text = await self._engine.database.read(lambda c: meta_rows.get_meta(c, "pairing_burned"))
        return [int(t) for t in text.decode().split(",")] if text else []

    async def _burned(self) -> None:
        times = [*await self._burned_times(), self._engine.clock.wall_ms()][-BURNED_CODES_MAX:]
        text = ",".join(map(str, times)).encode()
        await self._engine.database.write(lambda c: meta_rows.set_meta(c, "pairing_burned", text))
