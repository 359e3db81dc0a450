"""Lookup: a shorter way to the same result."""

import pytest

from companion import Records
from companion.domains import Message
from companion.lookup import find

IDS = ["c1", "c12", "c1-2", "c1 2", "C1", "1", "-", "", "é", 'c"1', "c1' OR 1=1", "x" * 50]


@pytest.mark.parametrize("order", [{}, {"order": "at_ms"}, {"order": "at_ms", "descending": True}])
async def test_it_finds_what_the_filter_alone_finds(mesh, order):
    (laptop,) = mesh.devices("laptop")
    repository = Records.of_node(laptop).of("conversation", "messages")
    for at, id in enumerate(IDS * 3):
        text = mesh.random.choice(IDS) + " is mentioned"
        author = mesh.random.choice(["you", "robin", "c1"])
        await repository.put(Message(id, author, text, mesh.random.randrange(9), id=f"m{at}"))

    for id in IDS:
        for more in ({}, {"author": "you"}, {"author": "c1"}):
            where = {"conversation": id, **more}
            assert await find(repository, where, **order) == await repository.find(where, **order)
            if order:
                few = await find(repository, where, limit=2, **order)
                assert few == await repository.find(where, limit=2, **order)
    assert await find(repository, None) == await repository.find()
    assert await find(repository, {"conversation": None}) == []
