"""Embedding: what an embedding is in a record, and which names a model may have.

    await facts.put({"text": "likes tea", "embedding": embedding("minilm", "2", numbers)}, id="tea")

The field is a map from the model that made it to the vector (`covey.storage.vector_rows`). Another
model's vector has another name in it, so they never meet.
"""

from collections.abc import Sequence

from ...storage.vector_rows import model_key
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX
from ...sync.values import Vector

DIMENSION_MAX = 8_192
"""Numbers of one vector: 32 KiB."""


def embedding(
    model: str, version: str, numbers: bytes | Sequence[float] | Vector
) -> dict[str, Vector]:
    """The value of an embedding field. Raises BadValueError for bad names, NaN or infinity."""
    check_model(model, version)
    vector = numbers if isinstance(numbers, Vector) else Vector(numbers)
    return {model_key(model, version): vector}


def check_model(model: str, version: str) -> None:
    """Whether a model can be named in a record. Raises BadValueError."""
    for what, name in (("model", model), ("version", version)):
        if not isinstance(name, str) or not name:
            raise BadValueError(f"the {what} of an embedding is a text that is not empty")
    if "@" in version:
        raise BadValueError("the version of a model has no @ in it: it stands behind one")
    if model[:1] == "$":
        raise BadValueError("the name of a model does not start with $")
    try:
        size = len(model_key(model, version).encode())
    except UnicodeEncodeError:
        raise BadValueError("the name of a model has half a surrogate pair in it") from None
    if size > NAME_BYTES_MAX:
        raise BadValueError(f"a model and its version have at most {NAME_BYTES_MAX} bytes")


def check_dimension(dimension: int) -> None:
    """Raises BadValueError."""
    if type(dimension) is not int or not 0 < dimension <= DIMENSION_MAX:
        raise BadValueError(f"a dimension is a number from 1 to {DIMENSION_MAX}")
