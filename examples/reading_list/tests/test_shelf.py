"""The reading list on several devices that part, crash and meet again.

`mesh` comes with Covey: installing it is all that these tests need. Each runs under the five seeds
that pyproject.toml asks for; `pytest --covey-seeds 200` runs them under two hundred.
"""

import asyncio

import pytest

from reading_list import Article, Shelf

LIGHTHOUSE = "https://example.org/lighthouse"
TEA = "https://example.org/tea"


async def titles(shelf):
    return [article.title for article in await shelf.unread()]


async def test_an_article_saved_on_one_device_is_on_the_others(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await Shelf(laptop).save(LIGHTHOUSE, "How lighthouses work")

    await mesh.settle()

    assert await Shelf(phone).unread() == [Article(LIGHTHOUSE, "How lighthouses work", read=False)]


async def test_an_article_saved_twice_is_one(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.partition(laptop, phone)
    await Shelf(laptop).save(LIGHTHOUSE, "How lighthouses work")
    await Shelf(phone).save(LIGHTHOUSE, "How lighthouses work, part 1")

    mesh.heal()
    await mesh.settle()

    (title,) = await titles(Shelf(laptop))
    assert await titles(Shelf(phone)) == [title]


async def test_what_was_read_stays_read_though_it_was_edited_elsewhere(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await Shelf(laptop).save(LIGHTHOUSE, "How lighthouses work")
    await mesh.settle()

    # On the train the phone has no network; at home somebody corrects the title.
    mesh.offline(phone)
    await Shelf(phone).finish(LIGHTHOUSE)
    mesh.advance(hours=2)
    await Shelf(laptop).save(LIGHTHOUSE, "How lighthouses really work")
    mesh.online(phone)
    await mesh.settle()

    assert await titles(Shelf(laptop)) == await titles(Shelf(phone)) == []
    mesh.assert_converged()


async def test_what_was_read_is_read_after_a_power_cut(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    shelf = Shelf(laptop)
    await shelf.save(LIGHTHOUSE, "How lighthouses work")
    await shelf.finish(LIGHTHOUSE)

    mesh.crash(laptop, power=True)
    mesh.advance(minutes=5)
    mesh.restart(laptop)
    await mesh.settle()

    assert await titles(shelf) == await titles(Shelf(phone)) == []


async def test_notes_written_apart_are_merged(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await Shelf(laptop).save(TEA, "Tea")
    await Shelf(laptop).note(TEA, "Try it.")
    await mesh.settle()

    mesh.partition(laptop, phone)
    await Shelf(laptop).note(TEA, "Do try it.")
    await Shelf(phone).note(TEA, "Try it. With milk.")
    mesh.heal()
    await mesh.settle()

    assert "With milk." in await Shelf(laptop).note_on(TEA)
    assert await Shelf(laptop).note_on(TEA) == await Shelf(phone).note_on(TEA)


async def test_a_borrowed_tablet_has_the_list_and_never_the_notes(mesh):
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet", levels={"tablet": "limited"})
    await Shelf(laptop).save(TEA, "Tea")
    await Shelf(laptop).note(TEA, "Ask Robin about this one")

    await mesh.settle()

    assert await titles(Shelf(tablet)) == ["Tea"]
    assert await Shelf(tablet).note_on(TEA) == ""
    mesh.assert_never_left(laptop, "Ask Robin about this one", shared_with=[phone])


async def test_a_screen_redraws_when_another_device_finishes_an_article(mesh):
    laptop, phone = mesh.devices("laptop", "phone")
    await Shelf(laptop).save(TEA, "Tea")
    await mesh.settle()
    changes = Shelf(phone).changes()
    drawing = asyncio.create_task(anext(changes))
    await asyncio.sleep(1)

    await Shelf(laptop).finish(TEA)
    async with asyncio.timeout(10):  # of virtual time: a test waits for nothing
        drawn = await drawing

    assert drawn == Article(TEA, "Tea", read=True)


@pytest.mark.covey_seeds(20)
async def test_devices_agree_whatever_people_do(mesh):
    shelves = [Shelf(device) for device in mesh.devices("laptop", "phone", "tablet")]
    laptop, phone, tablet = map(mesh.device, ("laptop", "phone", "tablet"))
    mesh.law("flaky-wifi")

    for number in range(30):
        mesh.partition(mesh.random.choice((laptop, phone, tablet)))
        shelf = mesh.random.choice(shelves)
        unread = await shelf.unread()
        if unread and mesh.random.random() < 0.4:
            await shelf.finish(mesh.random.choice(unread).address)
        else:
            await shelf.save(f"https://example.org/{mesh.random.randrange(5)}", f"Title {number}")
        mesh.advance(seconds=mesh.random.randrange(120))
        mesh.heal()
    await mesh.settle()

    mesh.assert_converged()
    assert await shelves[0].unread() == await shelves[1].unread() == await shelves[2].unread()
