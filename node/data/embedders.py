"""Embedders: callbacks of the application that embed a record with this device's model.

They are called for records whose embedding is of another model only. What they make stays in rows
of this device and is never written into the record: two devices with two models would else take
turns at writing over each other for ever.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...storage.vector_rows import judge
from ...sync.values import Vector, from_json
from .embedding import check_model

Embed = Callable[[dict[str, Any], str], Sequence[float] | Vector | None]
"""The record, and the name of the embedding field, to the vector; None for what it cannot embed."""


class Embedders:
    """The callbacks of one node, by model and version."""

    def __init__(self) -> None:
        self._callbacks: dict[tuple[str, str], Embed] = {}
        self.failures: dict[tuple[str, str], str] = {}
        """The kind of the last failure of each: never its text, which may quote a content."""

    def register(self, model: str, version: str, callback: Embed) -> None:
        """A second callback for a model takes the first one's place. Raises BadValueError."""
        check_model(model, version)
        self._callbacks[model, version] = callback

    def __contains__(self, model: tuple[str, str]) -> bool:
        return model in self._callbacks

    def embed(
        self, model: tuple[str, str], value: dict[str, Any], field: str, dimension: int
    ) -> bytes | None:
        """The vector of a record in JSON form; None if the callback made none that can be used.

        Whatever the callback raises costs this record its vector and nothing else.
        """
        try:
            made = self._callbacks[model](from_json(value), field)
            if made is None:
                return None
            vector = made if isinstance(made, Vector) else Vector([float(x) for x in made])
            standing, data = judge(vector.data, dimension)
        except Exception as error:
            self.failures[model] = type(error).__name__
            return None
        if data is None:
            self.failures[model] = standing.name.lower().replace("_", " ")
        return data
