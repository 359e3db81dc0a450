"""`covey similar`: what a person sees of a search by meaning, with real homes and processes."""

import asyncio
import base64
import json
from pathlib import Path
from struct import pack

import covey

from .processes import Device

PLACE = ("memory", "facts")


def declare(device: Device) -> None:
    """What an application does once; the command line has no model of its own."""

    async def job() -> None:
        async with covey.open(device.home, unlock=covey.KeyFile(device.key)) as node:
            facts = node.database("memory").collection("facts")
            await facts.vectors("embedding", model="minilm", version="2", dimension=2)

    asyncio.run(job())


def put(device: Device, id: str, numbers: list[float], model: str = "minilm@2") -> None:
    embedding = {model: {"$vector": base64.b64encode(pack("<2f", *numbers)).decode()}}
    value = {"text": id, "far": numbers[0] < 0, "embedding": embedding}
    device.run("put", *PLACE, id, "-", stdin=json.dumps(value))


def test_similar_finds_by_a_record_by_a_vector_and_by_conditions(tmp_path: Path) -> None:
    """With a running node and without one it is the same."""
    device = Device(tmp_path, "laptop")
    device.init()
    for id, numbers in (("tea", [1.0, 0.0]), ("coffee", [1.0, 1.0]), ("snow", [-1.0, 0.1])):
        put(device, id, numbers)
    put(device, "other", [1, 0], "other@1")
    undeclared = device.attempt("similar", *PLACE, "tea")
    declare(device)

    unknown = device.attempt("similar", *PLACE, "tea", "--model", "minilm@9")
    named = device.run("similar", *PLACE, "tea", "--model", "minilm@2")
    nameless = device.attempt("similar", *PLACE, "tea", "--model", "minilm")
    alone = device.run("similar", *PLACE, "tea", "--limit", "2")
    shown = device.attempt("similar", *PLACE, "tea", "far=false")
    device.up("--no-mdns")
    try:
        asked = device.run("similar", *PLACE, "-", "--field", "embedding", stdin="[-1, 0]")
        wrong = [
            device.attempt("similar", *PLACE, "-", stdin=text)
            for text in ("[1, NaN]", "{}", "[1", "[1, 2, 3]", "[0, 0]", '["1", "2"]')
        ]
        gone = device.attempt("similar", *PLACE, "nobody")
    finally:
        device.down()

    assert unknown.returncode == 1 and "not of that model" in unknown.stderr
    assert len(named["records"]) == 2
    assert nameless.returncode == 2 and "such as minilm@2" in nameless.stderr
    assert undeclared.returncode == 1 and "collection.vectors" in undeclared.stderr
    assert [hit["id"] for hit in alone["records"]] == ["coffee", "snow"]
    assert alone["left_out"][0]["count"] == 1 and alone["model"] == "minilm"
    assert shown.stdout == '0.707  coffee  {"far": false, "text": "coffee"}\n'
    assert "left out: 1 that have an embedding of another model" in shown.stderr
    assert [hit["id"] for hit in asked["records"]] == ["snow", "coffee", "tea"]
    assert [done.returncode for done in wrong] == [2] * len(wrong)
    assert "NaN is not in JSON" in wrong[0].stderr
    assert (gone.returncode, "no record facts/nobody" in gone.stderr) == (1, True)
