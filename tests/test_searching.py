"""Search by words: the best first, with the piece that shows why, and bounded work."""

import pytest

from covey.node.data.ranking import SNIPPET_CHARACTERS, score, wanted
from covey.node.data.searching import CANDIDATES_MAX, search
from covey.storage.text_rows import typed_parts
from covey.sync.errors import BadValueError
from covey.sync.values import Text

from .memory_world import World


def hits(text: str, typed: str) -> tuple[float, list[str]]:
    """The score, and what is marked in the snippet."""
    points, snippet = score(text, [wanted(part, 1) for part in typed_parts(typed)])
    return points, [snippet.text[start:end] for start, end in snippet.marks]


@pytest.mark.parametrize(
    ("text", "typed", "marked"),
    [
        ("Green TEA and black tea", "tea", ["TEA", "tea"]),
        ("un café crème", "CAFE", ["café"]),
        ("cafe\u0301 noir", "cafe", ["café"]),
        ("teapot and steam", "tea", ["teapot"]),
        ("teapot and tea", "tea pot", ["tea"]),
        ("black tea, not tea black", '"black tea"', ["black tea"]),
        ("caf\u00e9 noir", "cafe\u0301", ["café"]),
        ("q\u0301a, then", "qa", ["q\u0301a"]),
        ("\u0130stanbul", "i\u0307stanbul", ["\u0130stanbul"]),
        ("one\u0301-two", '"one two"', ["oné-two"]),
        ("a b a b c", '"a b c"', ["a b c"]),
        ("b c", '"a b c"', []),
        ("snake_case", "case", ["case"]),
        ("\U0001f98a fox", "fox", ["fox"]),
        ("nothing of it", "tea", []),
        ("", "tea", []),
    ],
)
def test_hits_are_marked_as_the_index_finds_them(text: str, typed: str, marked: list[str]) -> None:
    """Without case, without diacritics; phrases in order, the last word as a beginning."""
    points, found = hits(text, typed)

    assert found == marked
    assert (points > 0) == bool(marked)


def test_more_hits_and_shorter_texts_answer_better_and_rare_words_count_more() -> None:
    assert hits("tea tea tea", "tea")[0] > hits("tea and coffee", "tea")[0]
    assert hits("tea time", "tea")[0] > hits("tea " + "word " * 200, "tea")[0]
    (part,) = typed_parts("tea")
    assert wanted(part, 1).rarity > wanted(part, 100).rarity > wanted(part, 10**9).rarity > 0


def test_a_snippet_of_a_long_text_shows_its_first_hit_on_one_line() -> None:
    text = "word " * 100 + "\n\ttea " + "word " * 100
    _, snippet = score(text, [wanted(part, 1) for part in typed_parts("tea")])

    ((start, end),) = snippet.marks
    assert snippet.text[start:end] == "tea"
    assert snippet.text.startswith("…") and snippet.text.endswith("…")
    assert len(snippet.text) <= SNIPPET_CHARACTERS + 2
    assert "\n" not in snippet.text and "\t" not in snippet.text


async def test_a_database_is_searched_as_a_whole_the_best_first() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection("facts").put({"text": "coffee, and once tea"}, id="once")
        await laptop.collection("notes").put({"title": "Tea", "body": Text("tea, tea")}, id="most")
        await laptop.collection("notes").put({"text": "water"}, id="none")
        await laptop.collection("facts", "other").put({"text": "tea"}, id="elsewhere")

        found = await search(laptop.engine, "memory", "tea")
        within = await laptop.collection("facts").search("tea")

        assert [(h.record.collection, h.record.id) for h in found] == [
            ("notes", "most"),
            ("facts", "once"),
        ]
        assert [h.record.id for h in within] == ["once"]
        assert within[0].snippet.text == "coffee, and once tea"


async def test_the_work_is_bounded_and_the_newest_are_looked_at() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        many = [(f"r{n:04}", {"text": "tea"}) for n in range(CANDIDATES_MAX + 50)]
        await laptop.collection().put_many(many)

        found = await search(laptop.engine, "memory", "tea", limit=10_000)

        assert len(found) == CANDIDATES_MAX
        assert found[0].record.id == many[-1][0]


async def test_long_texts_are_ranked_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other reads wait meanwhile: the newest are looked at, and the rest are left out."""
    monkeypatch.setattr("covey.node.data.searching.CHARACTERS_MAX", 1_000)
    async with World() as world:
        laptop = await world.founder("laptop")
        for n in range(5):
            await laptop.collection().put({"text": "tea " * 100}, id=f"r{n}")

        found = await search(laptop.engine, "memory", "tea")

        assert [hit.record.id for hit in found] == ["r4", "r3"]


@pytest.mark.parametrize("typed", ["", "  ", '"', "' OR 1=1 --", "NEAR(a b)", "*", "\ud800", "\0"])
async def test_whatever_is_typed_is_words(typed: str) -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"text": "tea"}, id="r")

        assert await search(laptop.engine, "memory", typed) == []


async def test_what_is_no_search_is_refused() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        for text, limit in ((None, 1), ("tea", -1), ("tea", True)):
            with pytest.raises(BadValueError):
                await search(laptop.engine, "memory", text, limit=limit)  # type: ignore[arg-type]
