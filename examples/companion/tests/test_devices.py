"""The companion on devices that part, crash and meet again; `mesh` comes with Covey."""

import asyncio

import pytest

import covey
from companion import Companion, Hear, Records
from companion.embedding import HashingEmbedding
from companion.records import place_of


def companion_on(mesh, device):
    records = Records.of_node(device)
    return Companion(records, HashingEmbedding(), lambda: int(mesh.now.timestamp() * 1000))


async def messages_on(device):
    return await Records.of_node(device).of("conversation", "messages").find(limit=1000)


async def test_what_is_told_to_one_device_is_found_by_the_other(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    told = await companion_on(mesh, laptop).hear("Remember that Robin drinks green tea")
    assert told.text == "I will remember: Robin drinks green tea"

    await mesh.settle()
    reply = await companion_on(mesh, phone).hear("Which tea for Robin?")

    assert "Robin drinks green tea" in reply.text
    assert (await companion_on(mesh, phone).hear("Where is my umbrella?")).text == (
        "I remember nothing like it, and I know only what I was told."
    )


async def test_a_reply_leads_to_what_it_rests_on(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await companion_on(mesh, laptop).hear("Remember that Robin drinks green tea")
    await mesh.settle()
    await companion_on(mesh, phone).hear("Which tea for Robin?")
    await mesh.settle()

    replies = [m for m in await messages_on(laptop) if m.text.startswith("You told me")]
    start = place_of("conversation", "messages", replies[0].id)
    steps = await Records.of_node(laptop).traverse(start, 2)

    assert [(step.kind, step.item.text) for step in steps] == [
        ("recalls", "Robin drinks green tea"),
        ("from", "Remember that Robin drinks green tea"),
    ]


async def test_uses_on_devices_that_are_apart_add_up(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    one, other = companion_on(mesh, laptop), companion_on(mesh, phone)
    await one.hear("Remember that Robin drinks green tea")
    await mesh.settle()
    mesh.partition(laptop, phone)
    for companion in (one, one, other):
        await companion.hear("Does Robin drink tea?")
    mesh.heal()
    await mesh.settle()

    for device in (laptop, phone):
        (memory,) = await Records.of_node(device).of("memory", "semantic").find()
        assert memory.uses.total == 3


async def test_a_deleted_conversation_goes_with_what_was_said_in_it_elsewhere_meanwhile(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    one, other = companion_on(mesh, laptop), companion_on(mesh, phone)
    buses = [covey.Bus(), covey.Bus()]
    one.join(buses[0])
    other.join(buses[1])
    async with buses[0], buses[1]:
        await buses[0].send(Hear("The code of the gate is 4711"))
        await mesh.settle()
        mesh.offline(phone)
        await buses[1].send(Hear("And that of the shed is 0815"))
        assert await one.forget_conversation() == 2
        mesh.online(phone)
        await mesh.settle()
        # What arrived is swept by who follows, and that travels in turn.
        await asyncio.sleep(5)
        await mesh.settle()

        for device in (laptop, phone):
            records = Records.of_node(device)
            assert await messages_on(device) == []
            assert await records.of("conversation", "conversations").find() == []
    mesh.assert_converged()


async def test_what_arrives_while_nobody_follows_is_swept_at_the_next_start(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    one, other = companion_on(mesh, laptop), companion_on(mesh, phone)
    await one.hear("The code of the gate is 4711")
    await mesh.settle()
    mesh.partition(laptop, phone)
    await other.hear("And that of the shed is 0815")
    await one.forget_conversation()
    mesh.heal()
    await mesh.settle()

    await companion_on(mesh, phone).start()
    await mesh.settle()

    assert await messages_on(laptop) == await messages_on(phone) == []


async def test_a_message_of_another_version_goes_with_its_conversation_as_well(mesh):
    """What this version cannot read must not stay for ever, nor keep it from starting."""
    laptop, phone = mesh.devices("laptop", "phone")
    one = companion_on(mesh, laptop)
    await one.hear("The code of the gate is 4711")
    (talk,) = await one.conversations.care.newest()
    foreign = {"conversation": talk.id, "text": 4711, "at_ms": "later"}
    await phone.database("conversations").collection("messages").put(foreign, id="foreign")
    await mesh.settle()

    assert await one.forget_conversation() == 3
    await phone.database("conversations").collection("messages").put(foreign, id="foreign")
    await phone.database("conversations").collection("graves").put({"odd": 1}, id="odd")
    await mesh.settle()
    await one.start()

    assert await laptop.database("conversations").collection("messages").get("foreign") is None


async def test_a_message_is_not_deleted_because_its_conversation_is_still_under_way(mesh):
    """Absence is not deletion: only a grave is."""
    laptop, _ = mesh.devices("laptop", "phone")
    companion = companion_on(mesh, laptop)
    stray = await companion.conversations.begin("talk", 0)
    await companion.hear("hello there")
    await companion.conversations.care.repository.delete(stray.id)

    await companion.start()

    assert len(await messages_on(laptop)) == 2


async def test_the_screen_of_one_device_shows_what_is_said_on_the_other(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    one, other = companion_on(mesh, laptop), companion_on(mesh, phone)
    bus = covey.Bus()
    other.join(bus)
    async with bus:
        conversation = await one.conversations.begin("talk", 0)
        await mesh.settle()
        assert await other.conversations.context(conversation.id) == []
        await one.conversations.say(conversation.id, "you", "hello", 1)
        await mesh.settle()
        await asyncio.sleep(1)

        (message,) = await other.conversations.context(conversation.id)
        assert message.text == "hello"


async def test_two_devices_that_tidy_apart_agree(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    one, other = companion_on(mesh, laptop), companion_on(mesh, phone)
    for _ in range(3):
        await one.hear("Robin is vegetarian")
    await one.hear("It rains a lot today")
    await mesh.settle()
    mesh.partition(laptop, phone)
    mesh.advance(days=8)
    await one.start()
    await other.start()
    mesh.heal()
    await mesh.settle()

    expected = {"semantic": 1, "episodic": 0, "procedural": 0, "working": 0}
    assert await one.memories.count() == await other.memories.count() == expected


async def test_what_was_remembered_is_there_after_a_power_cut(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    companion = companion_on(mesh, laptop)
    await companion.hear("Remember: the key is under the mat")

    mesh.crash(laptop, power=True)
    mesh.restart(laptop)
    await mesh.settle()

    reply = await companion_on(mesh, phone).hear("Where is the key?")
    assert "under the mat" in reply.text


async def test_a_guest_device_gets_nothing_of_it(mesh):
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet", levels={"tablet": "guest"})
    await companion_on(mesh, laptop).hear("Remember that the gate has code 4711")
    await mesh.settle()

    mesh.assert_never_left(laptop, "the gate has code 4711", shared_with=[phone])
    assert await Records.of_node(tablet).of("memory", "semantic").find() == []


@pytest.mark.parametrize("text", ["", "  ", "\n"])
async def test_nothing_is_not_heard(mesh, text):
    (laptop,) = mesh.devices("laptop")
    with pytest.raises(ValueError, match="nothing was said"):
        await companion_on(mesh, laptop).hear(text)
    assert await messages_on(laptop) == []


async def test_it_says_what_it_is(mesh):
    (laptop,) = mesh.devices("laptop")
    about = companion_on(mesh, laptop).about()

    assert about.startswith("I am not a language model.")
    assert "without the extra companion[meaning] I know no meanings" in about


async def test_what_is_forgotten_is_forgotten_everywhere(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await companion_on(mesh, laptop).hear("Remember that Robin drinks green tea")
    await mesh.settle()

    said = await companion_on(mesh, phone).forget("Robin and tea")
    await mesh.settle()

    assert said == "Forgotten, on all devices: Robin drinks green tea"
    (entry,) = await Records.of_node(laptop).of("system", "audit").find()
    assert entry.what == "forgotten" and "Robin" not in str(entry)
    assert await companion_on(mesh, laptop).forget("Robin and tea") == "I remember nothing like it."
