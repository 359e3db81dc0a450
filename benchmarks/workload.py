"""The records that every benchmark writes: 300 bytes of JSON in 6 fields, all different."""

import json
from random import Random
from typing import Any

RECORD_BYTES = 300
_WORDS = (
    "lamp garden kettle window river letter orange Tuesday quiet barrel tomato station harbour"
    " pencil winter mother engine ladder velvet copper island market ribbon saddle thunder basket"
).split()


def record(number: int) -> dict[str, Any]:
    """Record `number`: exactly `RECORD_BYTES` of compact ASCII JSON, its id included."""
    random = Random(number)
    fields: dict[str, Any] = {
        "id": f"m{number:07d}",
        "author": random.choice(("mara", "assistant")),
        "thread": f"thread-{number % 97}",
        "at": 1_773_000_000_000 + number * 1000,
        "importance": round(random.random(), 3),
        "text": "",
    }
    text = ""
    while len(text) < RECORD_BYTES:
        text += random.choice(_WORDS) + " "
    room = RECORD_BYTES - len(json.dumps(fields, separators=(",", ":")))
    fields["text"] = text[: room - 1] + "."
    return fields
