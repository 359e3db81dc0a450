"""I16: pairing lets in who typed the right code, one for each code, and nobody half."""

from typing import ClassVar

from ..pairings import Attempt, is_in
from ..run import Run
from ..sim_device import SimDevice
from .checker import Checker


class PairingChecker(Checker):
    """Holds what people at both devices were told against who is a member."""

    claims: ClassVar[dict[str, str]] = {
        "I16": "a right code or picture lets in one device, a wrong one none, who was told is in",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._judged: dict[Attempt, None] = {}
        self._keys: dict[str, bytes] = {}
        """Newcomer -> by which key a registry would know it."""
        self._told: dict[str, None] = {}

    def at_start(self, device: SimDevice) -> None:
        if device.name in self.run.newcomers:
            self._keys[device.name] = device.engine.keys.sig_pk

    def at_tick(self) -> None:
        for attempt in self.run.pairings:
            if attempt.is_over and attempt not in self._judged:
                self._judged[attempt] = None
                self._judge(attempt)
        self._only_by_a_code()
        self._as_told()

    async def at_rest(self) -> None:
        """Who is a member is one for everybody, of the level that was said beside its code."""
        self.at_tick()
        for name, key in self._keys.items():
            if name in self.run.spoiled:
                continue
            levels = [attempt.level for attempt in self._right_codes(name)]
            for device in self.sound():
                entry = device.engine.mesh.registry.devices.get(key)
                if entry is None or not entry.active:
                    self._tell(device.name, f"does not know {name}, which joined")
                elif entry.level not in levels:
                    self._tell(device.name, f"{name} has level {entry.level}, none of {levels}")

    def _judge(self, attempt: Attempt) -> None:
        """What was told in the course of one attempt."""
        if attempt.wrong and (attempt.enrolled or attempt.joined):
            self._tell(attempt.admin, "a wrong code let a device in")
        if attempt.picture and attempt.is_alone and "wrong-code" in attempt.failures:
            self._tell(attempt.admin, "a wrong picture used up the code")
        if len({*attempt.enrolled}) > 1 or len({*attempt.joined}) > 1:
            self._tell(attempt.admin, "one code let two devices in")
        if attempt.declined and (attempt.enrolled or attempt.joined):
            self._tell(attempt.admin, f"{attempt.declined} said no, and was not heard")

    def _only_by_a_code(self) -> None:
        """Nobody is enrolled who did not type a right code."""
        for device in self.run.world.running():
            for name, key in self._keys.items():
                known = device.name != name and key in device.engine.mesh.registry.devices
                if known and not self._right_codes(name):
                    self._tell(device.name, f"{name} is enrolled, and typed no right code")

    def _as_told(self) -> None:
        """What people were told stays so, whatever crashes."""
        for attempt in self.run.pairings:
            admin = self.run.device(attempt.admin)
            if admin is None:
                continue
            engine = admin.engine
            known = {engine.shown_id(key) for key in engine.mesh.registry.devices}
            if not known.issuperset(attempt.enrolled):
                self._tell(attempt.admin, "a device that was told to be enrolled is not")
            for name in attempt.joined:
                if self.run.device(name) and not is_in(self.run, name):
                    self._tell(name, "was told to be a member, and is none")
                if self._keys[name] not in engine.mesh.registry.devices:
                    self._tell(attempt.admin, f"does not know {name}, which was told to be in")

    def _right_codes(self, name: str) -> list[Attempt]:
        return [a for a in self.run.pairings if name in a.typed and not a.wrong]

    def _tell(self, device: str, message: str) -> None:
        """Once: what is wrong stays wrong at each tick."""
        if message not in self._told:
            self._told[message] = None
            self.violate("I16", device, message)
