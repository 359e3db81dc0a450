"""Pairings: a code that one device shows and others type, through the production code.

An attempt is what the people do: one runs `covey pair` and reads the code out, the others type it
on new devices, or scan the picture beside it. A thief saw that picture in part, or too late.
Whatever becomes of the devices meanwhile, the people go on to the end. What each side is told is
kept for `checkers/pairing.py`.

A new device has an empty home, in a mesh of its own. In the end, when the world is mended, who is
still not in tries again (`unfinished`): a pairing that broke off must not stand in the way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from contextvars import Context
from typing import Any

from .. import CoveyError
from ..crypto.pairing import TOKEN_BYTES
from ..crypto.secret import Secret
from ..crypto.words import make_code
from ..node.joining import Joiner
from ..node.pairing import PairingPausedError, PairingWindow
from ..node.ticket import Ticket, read_ticket
from .run import Run
from .sim_device import SimDevice
from .sim_entropy import SimEntropy

WINDOW_MS = 120_000
SEARCH_MS = 60_000
THINKS_MS_MAX = 59_000
"""A person who has not answered after a minute has said no."""
WHOLE = "whole"
THEFTS = ("no-token", "used")
PICTURES = (WHOLE, *THEFTS)
"""What a newcomer goes by instead of the code: the picture as it is shown, that picture without its
token, or one that was shown before."""
RETRIES_MAX = 3
"""Attempts for a device that is not in when the world is mended; one must do without faults."""


class Attempt:
    """One code: who shows it, who types it, and what they were told."""

    def __init__(
        self,
        run: Run,
        admin: str,
        newcomers: tuple[str, ...],
        level: str,
        *,
        wrong: bool = False,
        picture: str = "",
        by_address: bool = False,
        declines: str = "",
        gives_up: str = "",
        gives_up_ms: int = 0,
        after_ms: int = 0,
        thinks_ms: int = 0,
        window_ms: int = WINDOW_MS,
    ) -> None:
        """`declines`: whose person says no; `gives_up`: who ends the command, and how soon.

        Each newcomer types the code `after_ms` after the one before.
        """
        self.admin = admin
        self.newcomers = newcomers
        self.level = level
        self.wrong = picture in THEFTS if picture else wrong
        self.picture = picture
        self.is_over = False
        self.is_alone = True
        """No other attempt was going on at any time: what was heard comes of this one."""
        self.typed: list[str] = []
        """Who got as far as typing the code."""
        self.enrolled: list[str] = []
        """Ids of devices that the admin was told are in."""
        self.joined: list[str] = []
        """Who was told to be in."""
        self.declined: list[str] = []
        """Whose person was asked and said no."""
        self.refusals: list[str] = []
        self.failures: list[str] = []
        """Why the window closed, as the person at it was told."""
        self.is_paused = False
        """No code was shown, because too many were wrong."""
        self._run = run
        self._number = len(run.pairings)
        self._by_address = by_address
        self._declines = declines
        self._gives_up = gives_up
        self._gives_up_ms = gives_up_ms
        self._window_ms = window_ms
        self._after_ms = after_ms
        self._thinks_ms = min(thinks_ms, THINKS_MS_MAX)
        self._shown = asyncio.Event()
        self._code: dict[str, Any] = {}
        self._commands: dict[str, asyncio.Task[None]] = {}
        run.pairings.append(self)

    def begin(self) -> None:
        """The people begin; `is_over` tells when they are done."""
        for other in self._run.pairings:
            if other is not self and not other.is_over:
                other.is_alone = self.is_alone = False
        # In no context: people are no part of the process whose message may have led here.
        self._run.world.loop.create_task(self._go(), name="pairing", context=Context())

    async def _go(self) -> None:
        try:
            await self._show_and_type()
        finally:
            self.is_over = True

    async def _show_and_type(self) -> None:
        shows = self._in(self.admin, self._show)
        if shows is None:
            return
        shows.add_done_callback(lambda _: self._shown.set())
        await self._shown.wait()
        if self._gives_up:
            loop = asyncio.get_running_loop()
            loop.call_later(self._gives_up_ms / 1000, self._cancel, self._gives_up)
        tasks = [shows]
        for name in self.newcomers if self._code else ():
            await self._run.world.wait_ms(self._after_ms)
            joins = self._in(name, self._join)
            if joins is not None:
                self.typed.append(name)
                tasks.append(joins)
        await asyncio.wait(tasks)

    async def end(self, name: str) -> None:
        """The command of one side is ended, as when its node is stopped."""
        task = self._commands.get(name)
        if task is not None:
            self._cancel(name)
            await asyncio.wait([task])

    def _cancel(self, name: str) -> None:
        if name in self._commands:
            self._commands[name].cancel()

    def _in(
        self, name: str, work: Callable[[SimDevice], Coroutine[Any, Any, None]]
    ) -> "asyncio.Task[None] | None":
        """Work in the process of a device; None if nobody can use it now."""
        device = self._run.device(name)
        if device is None or device.process is None or device.process.frozen:
            return None
        task = self._commands[name] = device.process.spawn(work(device), "pairing")
        return task

    # What the two programs do ------------------------------------------------------------------

    async def _show(self, device: SimDevice) -> None:
        engine, ask = device.engine, self._asker(device)
        try:
            window = PairingWindow(engine, self.level, self._window_ms, ask)
            async with aclosing(window.run()) as told:  # type: ignore[type-var]
                async for event in told:
                    self._hear(device, event)
                    if event["event"] == "code":
                        self._code = event
                        self._shown.set()
                    elif event["event"] == "enrolled":
                        self.enrolled.append(event["device"]["id"])
                    elif event["event"] == "failed":
                        self.failures.append(event["reason"])
        except CoveyError as error:
            self.is_paused = isinstance(error, PairingPausedError)
            self._refuse(device, error)

    async def _join(self, device: SimDevice) -> None:
        engine, ask = device.engine, self._asker(device)
        admin = self._run.devices[self.admin]
        address = f"{admin.machine.host}:{admin.port}" if self._by_address else None
        try:
            joiner = Joiner(engine, self._words(), address, self._code["tag"], SEARCH_MS, ask)
            async with aclosing(joiner.run()) as told:  # type: ignore[type-var]
                async for event in told:
                    if event["event"] == "progress":
                        continue
                    self._hear(device, event)
                    if event["event"] == "joined":
                        self.joined.append(device.name)
        except CoveyError as error:
            self._refuse(device, error)

    def _words(self) -> str:
        """The code as it is typed, or the picture as it is scanned."""
        if self.picture:
            return self._scanned(read_ticket(self._code["qr"])).text()
        right: str = self._code["code"]
        words, entropy = right, SimEntropy(self._run.world.dice, "mistyped", self._number)
        while self.wrong and words == right:
            words = make_code(entropy.draw)
        return words

    def _scanned(self, now: Ticket) -> Ticket:
        """What a newcomer makes of the picture that is shown now."""
        if self.picture == WHOLE:
            return now
        earlier = [
            read_ticket(attempt._code["qr"])
            for attempt in (*self._run.pairings, *self._run.retries)
            if attempt is not self and attempt.is_over and attempt._code
        ]
        if self.picture == "used" and earlier:
            static, token = earlier[-1].static, earlier[-1].token
        else:
            entropy = SimEntropy(self._run.world.dice, "guessed token", self._number)
            static, token = now.static, Secret(entropy.draw(TOKEN_BYTES))
        return Ticket(now.mesh, static, token, now.addresses)

    def _asker(self, device: SimDevice) -> Callable[[], Awaitable[bool]]:
        async def ask() -> bool:
            await device.engine.clock.sleep_ms(self._thinks_ms)
            if device.name == self._declines:
                self.declined.append(device.name)
            return device.name != self._declines

        return ask

    def _hear(self, device: SimDevice, event: dict[str, Any]) -> None:
        reason = event.get("reason", "")
        self._run.world.note(device.name, "pairing", f"{event['event']} {reason}".strip())

    def _refuse(self, device: SimDevice, error: CoveyError) -> None:
        self.refusals.append(f"{device.name}: {error}")
        self._run.world.note(device.name, "refused", type(error).__name__)


# The end ---------------------------------------------------------------------------------------


def is_in(run: Run, name: str) -> bool:
    """Whether a device that runs belongs to the mesh of the cast."""
    ours, founder = run.device(name), run.device(run.plan.cast[0].name)
    return bool(ours and founder and ours.engine.mesh.id == founder.engine.mesh.id)


def unfinished(run: Run) -> str:
    """Why pairing has not come to its end in a mended world; empty if it has.

    Called over and over: whoever is not in tries again. A device that may not, because too many
    wrong codes were typed, is left out of all that is expected of members.
    """
    if not all(attempt.is_over for attempt in run.pairings):
        return "a pairing is under way"
    for name in run.newcomers:
        device = run.devices.get(name)
        if device is None or name in run.spoiled or is_in(run, name):
            continue
        admin = run.plan.cast[0].name
        if run.device(name) is None or run.device(admin) is None:
            return f"{name} or {admin} is not up"
        tried = [attempt for attempt in run.retries if name in attempt.newcomers]
        if tried and tried[-1].is_paused:
            run.spoiled[name] = "pairing is paused"
            run.witness.forget_places(name, lost=True)
            continue
        if len(tried) == RETRIES_MAX:
            return f"{name} cannot be paired: {tried[-1].refusals}"
        retry = Attempt(run, admin, (name,), "full")
        run.retries.append(retry)
        retry.begin()
        return f"{name} tries to join again"
    return ""
