"""The domains in memory: no node, no network, no waiting."""

import asyncio
import dataclasses
import itertools
import re
from pathlib import Path

import pytest

import covey
from companion import domains
from companion.conversations import Conversations, NoConversationError
from companion.embedding import HashingEmbedding
from companion.library import CHUNK_WORDS, Library, chunks_of
from companion.links import DEPTH_MAX
from companion.memories import Memories
from companion.packs import PACKS, collections_of
from companion.records import Records, place_of

NOW = 1_773_000_000_000
EMBEDDING = HashingEmbedding()


def run(work):
    return asyncio.run(work)


def test_there_are_eight_domains_and_every_class_of_them_is_kept():
    kept = {kind for pack in PACKS for kind in pack.collections.values()}

    assert [pack.domain for pack in PACKS] == [
        *("identity", "conversation", "memory", "knowledge", "cognition", "persona"),
        *("provenance", "system"),
    ]
    assert {kind.__name__ for kind in kept} | {"TaskState"} == set(domains.__all__)
    assert {"working", "episodic", "semantic", "procedural"} == set(PACKS[2].collections)


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.domain)
def test_a_pack_names_fields_that_exist_and_classes_that_records_can_hold(pack):
    for collection, indexes in pack.indexes.items():
        fields = {field.name for field in dataclasses.fields(pack.collections[collection])}
        assert all(set(index) <= fields for index in indexes)
    for kind in collections_of(pack).values():
        covey.DataclassCodec(kind)


def test_the_domain_knows_no_database():
    """Of Covey it has the types that a field may have, and nothing that reads or writes."""
    folder = Path(domains.__file__).parent
    pure = [
        *sorted(folder.glob("*.py")),
        folder.parent / "forgetting.py",
        folder.parent / "links.py",
    ]
    sources = [path.read_text("utf-8") for path in pure]
    used = {name for source in sources for name in re.findall(r"\bcovey\.(\w+)", source)}
    modules = {
        m for source in sources for m in re.findall(r"^(?:from|import) ([\w.]+)", source, re.M)
    }

    assert used <= {"Vector", "Counter"}
    assert {module for module in modules if not module.startswith(".")} <= {
        *(
            "collections.abc",
            "dataclasses",
            "enum",
            "hashlib",
            "math",
            "operator",
            "typing",
            "covey",
        )
    }


EXAMPLES = {
    domains.Person: ("Mara", "sister"),
    domains.Account: ("p", "mail", "mara@example.org"),
    domains.Conversation: ("talk", NOW),
    domains.Message: ("c", "you", "hello", NOW, None, "", "companion", ("greeting",)),
    domains.ReadMark: (NOW,),
    domains.Grave: (NOW,),
    domains.Memory: ("likes tea", NOW, 0.9),
    domains.Skill: ("make tea", NOW),
    domains.Document: ("Tea", NOW, "en"),
    domains.Chunk: ("d", 0, "Tea is a plant"),
    domains.Shelf: ("plants",),
    domains.Agent: ("gardener", "waters"),
    domains.Task: ("water them", "a", domains.TaskState.DONE, NOW),
    domains.Reasoning: ("it is dry", NOW, "t"),
    domains.Persona: ("Ada", True, "Hello", {"warm": 0.5}),
    domains.Source: ("document", "knowledge/documents/d", NOW),
    domains.Citation: ("memory/semantic/m", "s", "is a plant"),
    domains.Setting: ("en",),
    domains.AuditEntry: (NOW, "deleted", "memory/semantic/m"),
    domains.Metric: ("messages", 3.0, NOW),
}


@pytest.mark.parametrize(
    ("domain", "collection", "kind"),
    [(p.domain, name, kind) for p in PACKS for name, kind in p.collections.items()],
)
def test_an_item_of_every_collection_comes_back(domain, collection, kind):
    repository = Records.in_memory().of(domain, collection)
    item = kind(*EXAMPLES[kind], id="x")

    run(repository.put(item))

    assert run(repository.get("x")) == item


def talk(count=3):
    records = Records.in_memory()
    conversations = Conversations(records, EMBEDDING)
    id = run(conversations.begin("talk", NOW)).id
    for number in range(count):
        run(conversations.say(id, "you", f"message {number}", NOW + number))
    return conversations, id


def test_the_context_is_the_last_messages_in_their_order():
    conversations, id = talk(30)

    assert [m.text for m in run(conversations.context(id))] == [
        f"message {n}" for n in range(10, 30)
    ]
    assert [m.text for m in run(conversations.context(id, 2))] == ["message 28", "message 29"]
    for count in (0, -1, 100_000):
        with pytest.raises(ValueError, match="1 to 1000 allowed"):
            run(conversations.context(id, count))


def test_a_conversation_goes_with_its_messages():
    conversations, id = talk()
    other = run(conversations.begin("other", NOW + 1)).id
    run(conversations.say(other, "you", "stays", NOW))

    assert run(conversations.delete(id, NOW)) == 3

    assert run(conversations.context(id)) == []
    assert [c.id for c in run(conversations.care.newest())] == [other]
    assert [m.text for m in run(conversations.messages.repository.find())] == ["stays"]
    with pytest.raises(NoConversationError):
        run(conversations.say(id, "you", "late", NOW))


def test_a_conversation_of_more_messages_than_one_change_set_holds_goes_whole(monkeypatch):
    monkeypatch.setattr("companion.cascade.WRITES_MAX", 2)
    conversations, id = talk(7)

    assert run(conversations.delete(id, NOW)) == 7

    assert run(conversations.messages.repository.find()) == []


def test_what_a_power_cut_left_of_a_deletion_is_swept():
    conversations, id = talk()
    run(conversations.cascade.graves.put(domains.Grave(NOW, id)))

    assert run(conversations.sweep()) == 4

    assert run(conversations.messages.repository.find()) == []
    assert run(conversations.care.newest()) == []


def test_conversations_have_whole_numbers_or_texts_as_ids():
    conversations, _ = talk()
    run(conversations.care.repository.put(domains.Conversation("numbered", NOW, id="7")))
    run(conversations.say(7, "you", "one", NOW))
    run(conversations.say("7", "you", "two", NOW + 1))

    assert [m.text for m in run(conversations.context(7))] == ["one", "two"]
    run(conversations.care.rename(7, "renamed"))
    assert run(conversations.care.repository.get("7")).title == "renamed"
    assert run(conversations.delete(7, NOW)) == 2
    assert run(conversations.context("7")) == []


def test_hot_reads_are_kept_only_while_changes_are_followed():
    async def work():
        conversations, id = Conversations(Records.in_memory(), EMBEDDING), None
        id = (await conversations.begin("talk", NOW)).id
        for _ in range(3):
            await conversations.context(id)
        assert (conversations.hot.hits, conversations.hot.misses) == (0, 3)
        bus = covey.Bus()
        conversations.follow(bus)
        async with bus:
            for _ in range(10):
                await conversations.context(id)
            assert (conversations.hot.hits, conversations.hot.misses) == (9, 4)
            await conversations.say(id, "you", "new", NOW)
            assert [m.text for m in await conversations.context(id)] == ["new"]
            # Not through the conversations: as another part of the program, or another device.
            await conversations.messages.repository.put(
                domains.Message(id, "you", "other", NOW + 1)
            )
            for _ in range(5):
                await asyncio.sleep(0)
            assert [m.text for m in await conversations.context(id)] == ["new", "other"]

    run(work())


def test_links_are_walked_to_a_depth_each_place_once_and_no_end_is_a_fault():
    records = Records.in_memory()
    places = [place_of("memory", "semantic", n) for n in range(5)]
    for n in range(4):
        run(records.of("memory", "semantic").put(domains.Memory(f"m{n}", NOW, id=str(n))))
    for one, other in itertools.pairwise(places):
        run(records.link(one, "then", other))
    run(records.link(places[2], "again", places[0]))
    run(records.link(places[0], "then", places[1]))
    person = place_of("identity", "people", 1)
    run(records.link(places[1], "about", person))

    steps = run(records.traverse(places[0], 3))

    assert [(step.place, step.depth, step.kind) for step in steps] == [
        (places[1], 1, "then"),
        (person, 2, "about"),
        (places[2], 2, "then"),
        (places[3], 3, "then"),
    ]
    assert steps[1].item is None and steps[0].item.text == "m1"
    assert [s.place for s in run(records.traverse(places[0], 9, "then"))] == places[1:]
    assert run(records.traverse(places[0], 0)) == []
    assert run(records.unlink(places[0], "then", places[1]))
    assert run(records.traverse(places[0], 3)) == []


@pytest.mark.parametrize("place", ["", "memory", "memory/semantic", "memory/semantic/", "//x"])
def test_what_is_no_place_is_refused(place):
    records = Records.in_memory()
    for work in (records.at(place), records.traverse(place, 1), records.link(place, "a", "m/s/x")):
        with pytest.raises(ValueError, match="a place is domain/collection/id"):
            run(work)
    with pytest.raises(ValueError, match="no such collection"):
        run(records.at("memory/nothing/x"))
    for depth in (-1, DEPTH_MAX + 1):
        with pytest.raises(ValueError, match="allowed"):
            run(records.traverse("memory/semantic/x", depth))


def test_many_links_are_walked_as_few_are():
    records = Records.in_memory()
    hub = place_of("cognition", "agents", "hub")
    for n in range(30):
        task = place_of("cognition", "tasks", n)
        run(records.link(hub, "does", task))
        run(records.link(task, "needs", place_of("cognition", "tasks", n + 100)))

    steps = run(records.traverse(hub, 2))

    assert [sum(step.depth == depth for step in steps) for depth in (1, 2)] == [30, 30]


def test_memories_are_found_strengthened_and_let_go():
    memories = Memories(Records.in_memory(), EMBEDDING)
    tea = run(memories.keep("I like green tea", NOW))
    run(memories.note("The garden needs water on Monday", NOW))

    (found,) = run(memories.recall("which tea is it?", NOW))
    assert (found.place, found.memory.text) == (tea, "I like green tea")
    run(memories.use(tea, NOW + 5))
    assert run(memories.keep("i like GREEN tea!", NOW + 9)) == tea
    kept = run(memories.of("semantic").get(tea.split("/")[2]))
    assert (kept.uses.total, kept.used_ms) == (2, NOW + 9)

    week = 7 * 86_400_000
    assert run(memories.recall("water for the garden", NOW + week)) == []
    assert run(memories.tidy(NOW + week - 1)) == (0, 0)
    assert run(memories.tidy(NOW + week)) == (0, 1)
    assert run(memories.count()) == {"semantic": 1, "episodic": 0, "procedural": 0, "working": 0}
    assert run(memories.forget(tea)) and not run(memories.forget(tea))


def test_what_comes_up_again_is_kept_and_adds_to_what_is_there():
    memories = Memories(Records.in_memory(), EMBEDDING)
    semantic = run(memories.keep("Robin is vegetarian", NOW))
    run(memories.use(semantic, NOW))
    for n in range(3):
        place = run(memories.note("Robin is vegetarian", NOW + n))
        run(memories.use(place, NOW))

    assert run(memories.tidy(NOW)) == (1, 3)

    (one,) = run(memories.of("semantic").find())
    assert one.uses.total == 4
    skill = run(memories.learn("make tea", ("boil water", "wait"), NOW))
    assert run(memories.of("procedural").get(skill.split("/")[2])).steps == ("boil water", "wait")


class Other(HashingEmbedding):
    """Another model, on another device."""

    model = "other@1"

    def embed(self, texts):
        return [vector[::-1] for vector in super().embed(texts)]


def test_vectors_of_another_model_are_never_compared_and_their_texts_are_found_all_the_same():
    records = Records.in_memory()
    run(Memories(records, Other()).keep("I like green tea", NOW))
    before = run(records.of("memory", "semantic").find())

    (found,) = run(Memories(records, EMBEDDING).recall("green tea", NOW))

    assert found.likeness > 0.5
    assert run(records.of("memory", "semantic").find()) == before


def test_documents_and_messages_are_searched_together_with_filters():
    records = Records.in_memory()
    library, conversations = Library(records, EMBEDDING), Conversations(records, EMBEDDING)
    talk = run(conversations.begin("talk", NOW)).id
    run(conversations.say(talk, "you", "Lighthouses have strong lamps", NOW))
    run(conversations.say(talk, "robin", "The lighthouse lamp is broken", NOW))
    book = run(library.add("Lamps", "A lighthouse has a lamp. " + "And a stair. " * 60, NOW))
    run(library.add("Cooking", "Soup needs salt.", NOW))

    def places(**filters):
        hits = run(library.search("lighthouse lamp", k=10, **filters))
        assert [hit.likeness for hit in hits] == sorted((h.likeness for h in hits), reverse=True)
        return [hit.place.rsplit("/", 1)[0] for hit in hits]

    assert sorted(places()).count("conversation/messages") == 2
    assert "knowledge/chunks" in places()
    assert places(messages={"author": "robin"}, chunks=False) == ["conversation/messages"]
    assert set(places(chunks={"document": book}, messages=False)) == {"knowledge/chunks"}
    count = len(run(library.chunks.find({"document": book})))
    assert run(library.remove(book, NOW)) == count > 1
    assert places(messages=False) == []


def test_a_document_that_does_not_fit_one_change_set_is_refused_in_words():
    library = Library(Records.in_memory(), EMBEDDING)
    with pytest.raises(ValueError, match=r"Long: .* chunks, 300 allowed: split it"):
        run(library.add("Long", "word " * 40_000, NOW))
    assert run(library.chunks.find()) == run(library.documents.find()) == []


@pytest.mark.parametrize("words", [0, 1, CHUNK_WORDS, CHUNK_WORDS + 1, 500])
def test_chunks_lose_no_word(words):
    text = " ".join(f"w{n}" for n in range(words))
    pieces = chunks_of(text)

    assert {word for piece in pieces for word in piece.split()} == set(text.split())
    assert all(0 < len(piece.split()) <= CHUNK_WORDS for piece in pieces)


@pytest.mark.parametrize("text", ["", "   ", "?!", "the of and", "\x00", "\ud800", "x" * 100_000])
def test_any_text_has_a_vector(text):
    (vector,) = EMBEDDING.embed([text])

    assert len(vector) == 256 and covey.Vector(vector)
    assert sum(x * x for x in vector) == pytest.approx(1) or not any(vector)
