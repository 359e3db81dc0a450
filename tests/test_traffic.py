"""Traffic: every byte of a session is counted under the type of its frame, and none is lost."""

from pathlib import Path

from covey.node.traffic import LinkTraffic

from .loopback import meet, nodes, until

GREETING, BATCH = 0x01, 0x05


def test_bytes_are_counted_under_the_first_byte_of_their_frame() -> None:
    """Whoever wants to know what costs so much needs to know what it was."""
    traffic = LinkTraffic()
    for frame in (b"\x01abc", b"\x05", b"\x01", b""):
        traffic.sent(frame)
    traffic.received(b"\x02ab")

    assert (traffic.sent_by_type, traffic.received_by_type) == ({1: 5, 5: 1}, {2: 3})
    assert (traffic.sent_bytes, traffic.received_bytes) == (6, 3)


def test_totals_take_everything_of_another_link() -> None:
    """A field left out would make the totals of a node a little too small, unnoticed."""
    total = LinkTraffic(1, 2, 3, 4, {1: 1}, {2: 2}, {b"s": 1})
    total.add(LinkTraffic(10, 20, 30, 40, {1: 4, 3: 6}, {5: 20}, {b"s": 2, b"t": 3}))

    expected = LinkTraffic(11, 22, 33, 44, {1: 5, 3: 6}, {2: 2, 5: 20}, {b"s": 3, b"t": 3})
    assert total == expected


async def test_what_a_link_carried_is_kept_after_its_end(tmp_path: Path) -> None:
    """A node that is asked what it sent must not forget every link that broke."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"x": 1}, id="r")
        await meet(laptop, phone)
        (link,) = laptop.engine.switchboard.links.values()
        await phone.close()
        await until(lambda: not laptop.engine.switchboard.links)

        ended = laptop.engine.switchboard.traffic_ended
        assert ended == link.traffic
        assert sum(ended.sent_by_type.values()) == ended.sent_bytes
        assert sum(ended.received_by_type.values()) == ended.received_bytes
        assert ended.sent_by_type[GREETING] > 0
        assert ended.sent_by_type[BATCH] > 0
        assert (ended.sent_entries, phone.engine.switchboard.traffic_ended.received_entries) == (
            link.traffic.sent_entries,
            link.traffic.sent_entries,
        )
