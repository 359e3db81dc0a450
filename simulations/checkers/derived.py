"""I25 to I29: what is made from records says what the records say.

Each answer that a device gave while the plan ran is held against the records that it had at that
moment, and at rest every device is asked every question of the plan once more.
"""

from typing import Any, ClassVar

from ...node.data.nearness import MissingVectorsError
from ...node.data.vectors import NotDeclaredError
from ..data_log import Asked, Held, of_collection
from ..doings.data_doings import asked_of
from ..sim_device import SimDevice
from .checker import Checker
from .data_model import mistake_in

PAGE = 7
CLAIM_OF = {"find": "I25", "view": "I26", "words": "I27", "walk": "I28", "near": "I29"}


class DerivedChecker(Checker):
    """Answers every question once more by walking through all records."""

    claims: ClassVar[dict[str, str]] = {
        "I25": "a query finds what a walk through all records finds, whatever indexes there are",
        "I26": "a view is what a replay from nothing makes, the same on devices with the same",
        "I27": "words find the records that hold them, and no others",
        "I28": "a walk along links, there or back, reaches what the records link to",
        "I29": "the nearest vectors are those that are nearest of all",
    }

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._judged = 0

    def at_tick(self) -> None:
        asked = self.run.data.asked
        for one in asked[self._judged :]:
            self._judge(one)
        self._judged = len(asked)

    async def at_rest(self) -> None:
        if not self.run.data.used:
            return
        questions = sorted(self.run.data.questions.items())
        for device in self.sound():
            for (database, _), question in questions:
                # Pages of another size, or an answer that was kept would be given once more.
                other = {"page": PAGE} if question["ask"] == "find" else {}
                try:
                    await asked_of(self.run, device, device.node, database, {**question, **other})
                except (NotDeclaredError, MissingVectorsError):
                    continue  # This device was never told of these vectors, or cannot compare.
                except Exception as error:
                    told = f"a question is not answered: {type(error).__name__}"
                    self.violate(CLAIM_OF[question["ask"]], device.name, told)
        first = self._judged
        self.at_tick()
        self._equal_views(self.run.data.asked[first:])
        await self._replays()

    def _judge(self, one: Asked) -> None:
        if one.device in self.run.spoiled:
            return
        what = mistake_in(one.database, one.question, one.content, one.answer)
        if what:
            told = f"{one.question['ask']} in {one.database}, asked at {one.at_ms} ms: {what}"
            self.violate(CLAIM_OF[one.question["ask"]], one.device, told)

    def _equal_views(self, asked: list[Asked]) -> None:
        """One digest for devices with one content."""
        digests: dict[Any, tuple[str, str]] = {}
        for one in asked:
            question = one.question
            if question["ask"] != "view":
                continue
            rows = of_collection(one.content.records, question["collection"])
            key = (one.database, question["name"], question["version"], _shared(rows))
            device, digest = digests.setdefault(key, (one.device, one.answer["digest"]))
            if digest != one.answer["digest"]:
                told = f"the view {question['name']} is another one than on {device}"
                self.violate("I26", one.device, told)

    async def _replays(self) -> None:
        """Made anew, every view is what it was."""
        for (name, about), (process, _, view) in sorted(
            self.run.data.views.items(), key=lambda item: item[0]
        ):
            device = self._alive(name)
            if device is None or device.process is not process:
                continue
            rebuilt = await view.rebuild()
            if rebuilt.before != rebuilt.after:
                told = f"a replay of the view {about} gives another one"
                self.violate("I26", name, told)

    def _alive(self, name: str) -> SimDevice | None:
        return next((device for device in self.sound() if device.name == name), None)


def _shared(rows: tuple[Held, ...]) -> frozenset[tuple[Any, ...]]:
    """Records in terms that all devices share."""
    return frozenset((row.id, row.privacy, row.bucket, row.value) for row in rows)
