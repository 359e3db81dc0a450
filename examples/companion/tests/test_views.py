"""Views: the same whether they followed all along, or are begun anew."""

import asyncio
import random

import pytest

import covey
from companion import Records
from companion.domains import Message, ReadMark
from companion.views import ReadSide, Views


@pytest.mark.parametrize("seed", range(30))
def test_a_replay_in_any_order_says_what_following_said(seed):
    dice, followed = random.Random(seed), Views("you")
    messages, marks = {}, {}
    for at in range(dice.randrange(60)):
        id, talk = str(dice.randrange(20)), dice.choice("ab")
        match dice.randrange(4):
            case 0:
                messages.pop(id, None)
                followed.apply_message(id, None)
            case 1:
                marks[talk] = ReadMark(dice.randrange(60), talk)
                followed.apply_mark(talk, marks[talk])
            case _:
                messages[id] = Message(talk, dice.choice(["you", "robin"]), "text", at, id=id)
                followed.apply_message(id, messages[id])
    anew = Views("you")
    anew.apply_message("gone", Message("a", "robin", "from before", 1, id="gone"))
    anew.replay(
        dice.sample(sorted(messages.values(), key=lambda m: m.id), len(messages)), marks.values()
    )

    assert anew == followed
    assert anew.by_conversation() == followed.by_conversation()
    assert sum(anew.by_author().values()) == len(messages)
    assert sum(anew.unread().values()) == sum(
        message.author != "you"
        and message.at_ms > getattr(marks.get(message.conversation), "until_ms", -1)
        for message in messages.values()
    )


async def test_what_was_read_on_one_device_is_read_on_the_other(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    records, bus = Records.of_node(laptop), covey.Bus()
    here, there = ReadSide(records, "you"), ReadSide(Records.of_node(phone), "you")
    for at, author in enumerate(["robin", "you", "robin"]):
        await records.of("conversation", "messages").put(Message("7", author, "hello", at))
    await mesh.settle()
    await there.follow(bus)
    async with bus:
        assert there.views.unread() == {"7": 2}
        assert there.views.by_author() == {"robin": 2, "you": 1}
        await here.read(7, 1)
        await here.read(7, 0)
        await mesh.settle()
        await asyncio.sleep(1)
        assert there.views.unread() == {"7": 1}
        await records.of("conversation", "messages").put(Message("7", "mara", "new", 9))
        await mesh.settle()
        await asyncio.sleep(1)
        assert there.views.unread() == {"7": 2}
        assert there.views.by_conversation() == {"7": 4}
