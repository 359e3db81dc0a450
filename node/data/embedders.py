"""Embedders: callbacks of the application that embed a record with this device's model.

They are called for records whose embedding is of another model only. What they make stays in rows
of this device and is never written into the record: two devices with two models would else take
turns at writing over each other for ever.

They are other people's code. Whatever one raises costs its record the vector and nothing else. One
that does not answer within `ANSWER_MS_MAX` is left to itself, and after `SILENCES_MAX` of these it
is called no more until it is registered anew: each has a thread that nobody can end.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...storage.vector_rows import judge
from ...sync.values import Vector, from_json
from ..blobs import Beside
from ..deadline import DeadlinePassed, within
from ..ports import Clock
from .embedding import check_model

Embed = Callable[[dict[str, Any], str], Sequence[float] | Vector | None]
"""The record, and the name of the embedding field, to the vector; None for what it cannot embed."""

ANSWER_MS_MAX = 60_000
SILENCES_MAX = 3
SILENT = "no answer"
Model = tuple[str, str]


class Embedders:
    """The callbacks of one node, by model and version."""

    def __init__(self, clock: Clock, beside: Beside) -> None:
        self.clock = clock
        self.beside = beside
        """Runs a callback; neither the loop nor the end of the process should wait for it."""
        self._callbacks: dict[Model, Embed] = {}
        self._silences: dict[Model, int] = {}
        self.failures: dict[Model, str] = {}
        """The kind of the last failure of each: never its text, which may quote a content."""

    def register(self, model: str, version: str, callback: Embed) -> None:
        """A second callback for a model takes the first one's place. Raises BadValueError."""
        check_model(model, version)
        self._callbacks[model, version] = callback
        self._silences.pop((model, version), None)

    def __contains__(self, model: Model) -> bool:
        return model in self._callbacks and not self.is_given_up(model)

    def is_given_up(self, model: Model) -> bool:
        """Whether a callback is here that is called no more."""
        return self._silences.get(model, 0) >= SILENCES_MAX

    async def embed(
        self, model: Model, value: dict[str, Any], field: str, dimension: int
    ) -> bytes | None:
        """The vector of a record in JSON form; None if the callback made none that can be used."""
        callback = self._callbacks[model]

        async def ask() -> bytes | str | None:
            answer: bytes | str | None = await self.beside(
                lambda: _embedded(callback, value, field, dimension)
            )
            return answer

        try:
            made = await within(self.clock, ANSWER_MS_MAX, ask())
        except DeadlinePassed:
            made = SILENT
            if self._callbacks.get(model) is callback:
                self._silences[model] = self._silences.get(model, 0) + 1
        if isinstance(made, str):
            self.failures[model] = made
            return None
        return made


def _embedded(
    callback: Embed, value: dict[str, Any], field: str, dimension: int
) -> bytes | str | None:
    """What a callback makes of a record, or the kind of its failure."""
    try:
        made = callback(from_json(value), field)
        if made is None:
            return None
        vector = made if isinstance(made, Vector) else Vector([float(x) for x in made])
        standing, data = judge(vector.data, dimension)
    except BaseException as error:
        # SystemExit too, which would end the node: it is not the callback's to end.
        return type(error).__name__
    return standing.name.lower().replace("_", " ") if data is None else data
