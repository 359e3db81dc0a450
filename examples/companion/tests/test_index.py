"""With Covey's schemas and its index of vectors: the same answers as without."""

import pytest

import covey
from companion import Records
from companion.domains import Memory
from companion.embedding import HashingEmbedding
from companion.memories import Memories

NOW = 1_773_000_000_000


class Other(HashingEmbedding):
    model = "other@1"

    def embed(self, texts):
        return [vector[::-1] for vector in super().embed(texts)]


async def test_the_schemas_of_all_domains_hold_and_refuse_what_is_none(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    for device in (laptop, phone, laptop):
        await Records.install(device)
    await mesh.settle()

    assert len(await laptop.schemas()) == 8
    await Records.of_node(laptop).of("memory", "semantic").put(Memory("tea", NOW))
    with pytest.raises(covey.CoveyError, match="text"):
        await laptop.database("memory").collection("semantic").put({"text": 5})


@pytest.mark.parametrize("writer", [HashingEmbedding(), Other()])
async def test_what_is_near_is_the_same_with_the_index_and_without(mesh, writer):
    laptop, phone = mesh.devices("laptop", "phone")
    told = Memories(Records.of_node(laptop), writer)
    for text in ("Robin drinks green tea", "The car needs tyres", "Tea is grown in the hills"):
        await told.keep(text, NOW)
    await mesh.settle()
    records = Records.of_node(phone)
    memories = Memories(records, HashingEmbedding())
    before = await memories.recall("green tea in the hills", NOW)

    await records.declare(phone, HashingEmbedding())
    await mesh.settle()
    mesh.advance(seconds=10)
    after = await memories.recall("green tea in the hills", NOW)

    assert len(before) == 2
    assert [one.place for one in after] == [one.place for one in before]
    for one, other in zip(after, before, strict=True):
        assert one.likeness == pytest.approx(other.likeness, abs=1e-4)
