"""Runner: one plan from its start to its verdict.

The devices of the cast start from copies of a template; the steps are done at their moments; then
the world is mended (cuts undone, disks healed, everybody started and at home) and has to settle;
then every checker looks. The same plan gives the same run, whatever the process.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from ..node.links import FEATURES
from ..node.traffic import LinkTraffic
from ..sync.blob_messages import ASK, CHUNK, HAVE, NONE, WANT
from ..sync.rulings import RULING
from .checkers import CHECKERS, Checker
from .checkers.convergence import (
    LOOK_MS,
    SETTLE_MS_MAX,
    spoil_forked_members,
    unsettled,
)
from .checkers.copies import spoil_parted_copies
from .doings import DOINGS
from .doings.conflict_doings import CONFLICT_DOINGS
from .doings.data_doings import DATA_DOINGS
from .doings.pairing_doings import PAIRING_DOINGS
from .doings.policy_doings import POLICY_DOINGS
from .doings.process_doings import begin
from .doings.schema_doings import SCHEMA_DOINGS
from .doings.surroundings_doings import AT_HOME
from .doings.trust_doings import TRUST_DOINGS
from .doings.user_doings import USER_DOINGS
from .outcome import Outcome
from .pairings import unfinished
from .plan import Plan, PlanError, Step
from .run import Run
from .sim_device import SimDevice
from .sim_disk import SimDisk
from .sodium import remembered
from .templates import VARIANTS, Part, mesh_disks
from .virtual_loop import DeadlockError, LivelockError
from .world import World, collect_garbage, garbage_apart, rarely_collected

TICKS = 40
TICK_MS_MIN = 500
SOON_MS = 2_000
SOON_LOOK_MS = 100
"""Between two looks whether the mended world has settled; after `SOON_MS`, `LOOK_MS`."""

Progress = Callable[[int, int], None]
"""Told of virtual milliseconds done and to do."""

_OF_PEOPLE = (
    *(USER_DOINGS, TRUST_DOINGS, POLICY_DOINGS, CONFLICT_DOINGS, PAIRING_DOINGS),
    *(DATA_DOINGS, SCHEMA_DOINGS),
)
_BY_PEOPLE = {name for doings in _OF_PEOPLE for name in doings}
_SHOWN = DOINGS.keys() - _BY_PEOPLE - {"start", "wake", "keep-image"}
"""Doings of fate that the trace tells as such; of the others it tells what came of them."""
_UNTOLD = ("device", "group", "when")
"""Arguments of a fault that the trace tells otherwise, or not."""


def run_plan(plan: Plan, progress: Progress | None = None) -> Outcome:
    """Run a plan. Never raises for what the program under test does; that is a violation."""
    unknown = sorted({step.do for step in plan.steps} - DOINGS.keys())
    if unknown:
        raise PlanError(f"the plan asks for what this version cannot do: {', '.join(unknown)}")
    began_s = time.process_time()
    with remembered(), rarely_collected():
        outcome = _run(plan, progress)
    outcome.cpu_s = time.process_time() - began_s
    return outcome


def _run(plan: Plan, progress: Progress | None) -> Outcome:
    # Before the world: a template is made in a world of its own.
    disks = mesh_disks(
        plan.cast, plan.seed % VARIANTS, hostile=any(s.do == "attack" for s in plan.steps)
    )
    newcomers = _homes_of_newcomers(plan)
    # Around the world, which can be collected only when nobody holds it any more.
    with garbage_apart():
        return _in_a_world(plan, disks, newcomers, progress)


def _in_a_world(
    plan: Plan,
    disks: dict[str, SimDisk],
    newcomers: dict[str, SimDisk],
    progress: Progress | None,
) -> Outcome:
    with World(plan.seed, plan.law) as world:
        running = _Running(Run(plan, world, newcomers=newcomers), disks, progress)
        try:
            world.run(running.go())
        except (DeadlockError, LivelockError) as stuck:
            world.violate("I2", "", f"{type(stuck).__name__}: {stuck}")
        outcome = running.outcome()
    # What was found while the world was closed counts as well.
    collect_garbage()
    outcome.violations = world.violations
    outcome.digest = world.trace.digest
    return outcome


def _homes_of_newcomers(plan: Plan) -> dict[str, SimDisk]:
    """A home in a mesh of its own for each device that comes while the plan runs."""
    homes = {}
    for step in plan.steps:
        if step.do == "newcomer":
            part = Part(str(step.args["device"]), str(step.args["kind"]))
            homes[part.name] = mesh_disks((part,), plan.seed % VARIANTS)[part.name]
    return homes


class _Running:
    """A plan under way."""

    def __init__(self, run: Run, disks: dict[str, SimDisk], progress: Progress | None) -> None:
        self.run = run
        self._disks = disks
        self.world = run.world
        self.checkers: list[Checker] = [kind(run) for kind in CHECKERS]
        self._progress = progress
        self._waiting: list[Step] = []
        """Steps whose moment has come and whose phase has not."""
        self._instances: dict[str, bytes] = {}
        self._traffic = LinkTraffic()
        self._settled_ms: int | None = None

    async def go(self) -> None:
        self._set_up()
        # Looked up once: most runs have one checker or two that want every message.
        hooks = [
            c.at_message for c in self.checkers if type(c).at_message is not Checker.at_message
        ]
        self.world.watchers += hooks
        self.world.watchers.append(self._at_message)
        ticking = asyncio.ensure_future(self._tick())
        for step in sorted(self.run.plan.steps, key=lambda step: step.at_ms):
            await self.world.wait_until_ms(step.at_ms)
            self._come(step)
        await self.world.wait_until_ms(self.run.plan.end_ms)
        await self._mend()
        ticking.cancel()
        for checker in self.checkers:
            checker.at_tick()
        self._count_traffic()
        if self._settled_ms is not None:
            for checker in self.checkers:
                await checker.at_rest()
            await self._close()

    def _set_up(self) -> None:
        plan, world = self.run.plan, self.world
        for part, place in zip(plan.cast, plan.places, strict=True):
            disk = self._disks[part.name].copy(part.name, 1)
            world.add(part.name, self.run.prepared(disk), place)
        world.added = self._watch_device
        for device in list(world.devices.values()):
            self._watch_device(device)
            device.begin()

    def _watch_device(self, device: SimDevice) -> None:
        device.started.append(self._at_start)
        device.wired += [checker.at_wired for checker in self.checkers]

    def _at_start(self, device: SimDevice) -> None:
        before = self._instances.get(device.name)
        logs = {log.instance for log in device.engine.ledger.logs()}
        if device.kept_instance or before not in logs:
            # It may have gone over to another instance just before it died.
            self._note_instance(device)
        self._instances[device.name] = device.engine.instance
        self.run.ids[device.name] = device.engine.keys.sig_pk
        for checker in self.checkers:
            checker.at_start(device)

    # Steps -------------------------------------------------------------------------------------

    def _come(self, step: Step) -> None:
        """The moment of a step has come."""
        if self.run.over:
            return
        phase = step.args.get("when")
        device = self.run.device(str(step.args.get("device")))
        if phase is None or device is None or phase in self.run.phases(device.name):
            self._do(step)
        else:
            self._waiting.append(step)

    def _do(self, step: Step) -> None:
        if step.fault:
            # What touches no device by name, such as the weather on the air, touches all.
            everybody = [device.name for device in self.world.running()]
            for name in [*self._touched(step)] or everybody:
                for phase in self.run.phases(name):
                    self.run.coverage[step.fault, phase] += 1
        if step.do in _SHOWN:
            self._note_fault(step)
        self.run.done[step.do] += 1
        DOINGS[step.do](self.run, step.args)

    def _note_fault(self, step: Step) -> None:
        told = [f"{key}={value}" for key, value in step.args.items() if key not in _UNTOLD]
        for name in [*self._touched(step)] or [""]:
            self.world.note(name, "fault", " ".join([step.do, *told]))

    @staticmethod
    def _touched(step: Step) -> Iterator[str]:
        for key in ("device", "source", "one"):
            if isinstance(step.args.get(key), str):
                yield step.args[key]
                return
        yield from step.args.get("group", ())

    def _at_message(self, source: str, target: str, message: bytes) -> None:
        if not self._waiting or self.run.over:
            return
        for step in list(self._waiting):
            name = step.args["device"]
            if name in (source, target) and step.args["when"] in self.run.phases(name):
                self._waiting.remove(step)
                # Not now: a message is just being sent, and its sender must not die inside of it.
                self.world.loop.call_soon(self._do, step)

    async def _tick(self) -> None:
        pause_ms = max(self.run.plan.end_ms // TICKS, TICK_MS_MIN)
        while True:
            await self.world.wait_ms(pause_ms)
            self._note_instances()
            for checker in self.checkers:
                checker.at_tick()
            if self._progress is not None:
                self._progress(min(self.world.now_ms, self.run.plan.end_ms), self.run.plan.end_ms)

    def _note_instances(self) -> None:
        for device in self.world.running():
            self._note_instance(device)

    def _note_instance(self, device: SimDevice) -> None:
        """A store that went over to another instance has taken its old log out."""
        engine, before = device.engine, self._instances.get(device.name)
        if before is not None and before != engine.instance:
            # What a new member may not share, or not yet, it keeps for itself.
            lost = device.name in self.run.newcomers and engine.our_device().level != "full"
            self.run.witness.forget_places(device.name, before, lost=lost)
        self._instances[device.name] = engine.instance

    # The end -----------------------------------------------------------------------------------

    async def _mend(self) -> None:
        """Everything that fate did is over; wait until everybody has everything."""
        run, world = self.run, self.world
        run.over = True
        world.note("", "mended")
        world.network.mend()
        world.network.end_tampering()
        world.network.set_law(None, "lan")
        world.end_outsiders()
        for device in list(world.devices.values()):
            device.disk.heal()
            device.wake()
            self._restore_program(device)
            device.surround(AT_HOME)
            device.machine.reads_bytes_per_ms, device.machine.mdns = None, True
            if device.machine.place != "home":
                world.network.move(device.name, "home")
        mended_ms = world.now_ms
        why = ""
        while world.now_ms < mended_ms + SETTLE_MS_MAX:
            for device in list(world.devices.values()):
                if device.name not in run.spoiled:
                    begin(device)
            is_soon = world.now_ms < mended_ms + SOON_MS
            await world.wait_ms(SOON_LOOK_MS if is_soon else LOOK_MS)
            spoil_forked_members(run)
            spoil_parted_copies(run)
            why = unfinished(run) or unsettled(run)
            if not why:
                self._settled_ms = world.now_ms - mended_ms
                world.note("", "settled")
                self._note_instances()
                return
        world.violate("I2", "", f"not settled after {SETTLE_MS_MAX // 1000} s: {why}")

    def _restore_program(self, device: SimDevice) -> None:
        """Everybody runs this version again."""
        if device.versions is not None and 1 not in device.versions:
            device.crash()
            device.versions, device.features = None, FEATURES

    async def _close(self) -> None:
        for device in self.world.running():
            await device.stop()

    def _count_traffic(self) -> None:
        for device in self.world.running():
            board = device.engine.switchboard
            for traffic in (board.traffic_ended, *(link.traffic for link in board.links.values())):
                self._traffic.add(traffic)

    def outcome(self) -> Outcome:
        run, world = self.run, self.world
        writes = run.witness.writes
        return Outcome(
            run.plan,
            world.violations,
            world.trace.digest,
            world.loop.turns_total,
            world.now_ms,
            self._settled_ms,
            world.trace.messages,
            world.trace.message_bytes,
            {
                KINDS.get(kind, str(kind)): count
                for kind, count in sorted(self._traffic.sent_by_type.items())
            },
            len(writes),
            sum(write.acknowledged for write in writes),
            run.witness.refused,
            run.witness.conflicts(),
            run.high_water,
            run.coverage,
            run.done,
            world.trace.events,
        )


KINDS = {
    1: "greeting", 2: "digests", 3: "vector", 4: "want", 5: "batch",
    6: "ack", 7: "have", 8: "root", 9: "goodbye", 10: "hold", 12: "ask", 13: "question",
    14: "answer",
    ASK: "blob-ask", HAVE: "blob-have", WANT: "blob-want", CHUNK: "chunk", NONE: "blob-none",
    RULING: "ruling",
}  # fmt: skip
"""Frames between members by their type byte (docs/protocol.md, sections 7 and 14)."""
