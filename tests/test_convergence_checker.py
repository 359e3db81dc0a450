"""When the world is at rest: what counts as something that still happens, and what as chatter."""

from types import SimpleNamespace
from typing import Any

import pytest

from covey.simulations.checkers import convergence


class _Searching:
    """A world of two devices, in which they go on meeting others for some minutes, or talking."""

    def __init__(self, meeting: int, talking: int) -> None:
        self.now_ms = 0
        self.watchers: list[Any] = []
        self.board = SimpleNamespace(latest={}, links={})
        self._meeting, self._talking = meeting, talking

    def running(self) -> list[Any]:
        member = SimpleNamespace(active=True)
        mesh = SimpleNamespace(registry=SimpleNamespace(devices={"a": member, "b": member}))
        return [
            SimpleNamespace(
                name=name,
                engine=SimpleNamespace(
                    switchboard=self.board, mesh=mesh, keys=SimpleNamespace(sig_pk=name)
                ),
            )
            for name in ("a", "b")
        ]

    async def wait_ms(self, duration_ms: float) -> None:
        self.now_ms += int(duration_ms)
        if duration_ms == convergence.QUIET_MS:
            self._meeting, self._talking = self._meeting - 1, self._talking - 1
            if self._meeting >= 0:
                self.board.latest[self._meeting] = None
            for _ in range(1_000 if self._talking >= 0 else 0):
                for hear in self.watchers:
                    hear("a", "b", b"")


@pytest.mark.parametrize(
    ("meeting", "talking", "told"), [(3, 3, 0), (3, 4, 1), (0, 1, 1), (99, 99, 1), (0, 0, 0)]
)
async def test_devices_that_look_for_one_another_are_not_at_rest(
    meeting: int, talking: int, told: int
) -> None:
    """Fifty devices try which address is whose for minutes; talk that leads nowhere is told."""
    told_of: list[str] = []
    world = _Searching(meeting, talking)
    run: Any = SimpleNamespace(world=world, spoiled={})
    checker = convergence.ConvergenceChecker(run)
    checker.violate = lambda *about: told_of.append(about[2])  # type: ignore[method-assign]
    await checker._quiet()

    assert len(told_of) == told
