"""Happenings: listeners hear everything, or how much they missed, and an end is an end."""

import asyncio

import pytest

from covey.node import happenings
from covey.node.happenings import Board, EventsLost, Happening, NodeEvent, RecordChanged

from .fake_clock import settle


def event(number: int) -> NodeEvent:
    return NodeEvent("event", {"number": number})


RECORD = RecordChanged("memory", "facts", "tea", bytes(32), {})


async def test_every_listener_hears_every_event_of_its_kinds_in_order() -> None:
    """`watch` and `covey up` look at one board; neither may take the other's news."""
    board = Board()
    everything, records = board.subscribe(NodeEvent, RecordChanged), board.subscribe(RecordChanged)
    for news in (event(1), RECORD, event(2)):
        board.post(news)
    board.close()

    assert [news async for news in everything] == [event(1), RECORD, event(2)]
    assert [news async for news in records] == [RECORD]


async def test_a_listener_that_was_too_slow_is_told_how_many_were_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application that believes it saw everything shows wrong records for ever."""
    monkeypatch.setattr(happenings, "BACKLOG_EVENTS_MAX", 3)
    board = Board()
    listener = board.subscribe(NodeEvent)
    for number in range(8):
        board.post(event(number))
    board.close()

    assert [news async for news in listener] == [EventsLost(5), event(5), event(6), event(7)]


async def test_a_listener_that_is_always_behind_hears_of_each_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who never catches up needs to know most."""
    monkeypatch.setattr(happenings, "BACKLOG_EVENTS_MAX", 3)
    board = Board()
    listener = board.subscribe(NodeEvent)
    for number in range(3):
        board.post(event(number))
    heard: list[Happening] = []

    async for news in listener:
        heard.append(news)
        if len(heard) == 6:
            break
        for number in range(2):
            board.post(event(number))
    lost = [news.count for news in heard if isinstance(news, EventsLost)]
    assert len(lost) >= 2 and all(lost)


async def test_closing_ends_an_iteration_that_waits() -> None:
    """A watch that never ends keeps a program from ending."""
    board = Board()
    listener = board.subscribe(NodeEvent)

    async def listen() -> list[Happening]:
        return [news async for news in listener]

    listening = asyncio.ensure_future(listen())
    await settle()
    board.post(event(1))
    listener.close()

    assert await asyncio.wait_for(listening, 10) == [event(1)]


async def test_a_closed_listener_costs_nothing_and_may_be_closed_again() -> None:
    """Rows for watchers are built only while somebody watches."""
    board = Board()
    assert not board.wants_records
    listener = board.subscribe(RecordChanged)
    assert board.wants_records
    listener.close()
    listener.close()
    board.post(RECORD)

    assert not board.wants_records
    assert [news async for news in listener] == []
