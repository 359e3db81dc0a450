"""Ticket: the text of the picture reads back as it was, and nothing else is ever read."""

from base64 import b32encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.crypto.errors import FormatError
from covey.crypto.pairing import qr_check, qr_psk
from covey.crypto.secret import Secret
from covey.node.ports import Address
from covey.node.ticket import (
    ADDRESSES_MAX,
    CHARACTERS_MAX,
    PREFIX,
    Ticket,
    for_ticket,
    is_ticket,
    read_ticket,
)

MESH, STATIC, TOKEN = b"m" * 16, b"s" * 32, b"t" * 16
HERE = Address("192.0.2.7", 7654)
SIMPLE = Ticket(MESH, STATIC, Secret(TOKEN), (HERE,))

ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
addresses = st.lists(
    st.builds(lambda ip, port: Address(str(ip), port), ips, st.integers(1, 65_535)),
    max_size=ADDRESSES_MAX,
    unique=True,
).map(tuple)
tickets = st.builds(
    Ticket,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16).map(Secret),
    addresses,
)


def parts(ticket: Ticket) -> tuple[Any, ...]:
    return ticket.mesh, ticket.static, ticket.token.reveal(), ticket.addresses


def sealed(content: bytes) -> str:
    """A text with the right check over any content."""
    return PREFIX + b32encode(content + qr_check(content)).decode().rstrip("=")


@given(tickets)
def test_every_ticket_reads_back_as_it_was(ticket: Ticket) -> None:
    """What A shows is what B goes by."""
    text = ticket.text()

    assert is_ticket(text) and len(text) <= 239 < CHARACTERS_MAX
    assert parts(read_ticket(text)) == parts(ticket)


@given(tickets, st.integers(0, 300))
def test_capitals_and_broken_lines_are_read_alike(ticket: Ticket, at: int) -> None:
    """Pictures hold capitals, terminals break lines, and people copy both."""
    text = ticket.text()
    for spelling in (text.upper(), text.lower(), f"  {text[:at]}\r\n {text[at:]}\n"):
        if spelling.strip().lower().startswith(PREFIX):
            assert parts(read_ticket(spelling)) == parts(ticket)


@given(tickets, st.data())
def test_a_text_with_one_character_changed_is_never_read_as_another(
    ticket: Ticket, data: st.DataObject
) -> None:
    """A slip must be told as a slip, not as somebody in between."""
    text = ticket.text()
    at = data.draw(st.integers(len(PREFIX), len(text) - 1))
    other = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
    changed = text[:at] + other + text[at + 1 :]
    if changed != text:
        with pytest.raises(FormatError):
            read_ticket(changed)


@given(tickets, st.integers(0, 238))
def test_a_text_that_was_cut_is_not_read(ticket: Ticket, length: int) -> None:
    """A line that scrolled out of the window is the commonest slip."""
    text = ticket.text()
    if length < len(text):
        with pytest.raises(FormatError):
            read_ticket(text[:length])


@given(
    st.text(max_size=600) | st.binary(max_size=400).map(lambda b: PREFIX + b32encode(b).decode())
)
def test_rubbish_is_refused_and_never_repeated(text: str) -> None:
    """Whatever is pasted ends as a ticket or as one error, in which nothing of it stands."""
    with pytest.raises(FormatError) as caught:
        read_ticket(text)

    assert text.strip() == "" or len(text) < 20 or text not in str(caught.value)


@given(st.binary(max_size=400))
def test_content_with_a_right_check_is_still_held_to_every_bound(content: bytes) -> None:
    """The check is no signature: anybody can make one."""
    text = sealed(content)
    try:
        ticket = read_ticket(text)
    except FormatError:
        return
    assert ticket.text() == text and len(ticket.addresses) <= ADDRESSES_MAX


FIXED = MESH + STATIC + TOKEN
V4 = bytes((4, 192, 0, 2, 7)) + (7654).to_bytes(2, "big")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        FIXED,
        FIXED[:-1] + b"\0",
        FIXED + b"\1",
        FIXED + b"\1" + V4[:-1],
        FIXED + b"\0" + V4,
        FIXED + b"\1" + V4 + b"\0",
        FIXED + b"\2" + V4 + V4,
        FIXED + b"\1" + b"\5" + V4[1:],
        FIXED + b"\1" + V4[:-2] + b"\0\0",
        FIXED + b"\5" + b"".join(V4[:-1] + bytes((port,)) for port in range(5)),
        FIXED + b"\xff" + V4,
    ],
    ids=lambda content: content[64:].hex()[:24] or "short",
)
def test_a_malformed_content_is_refused(content: bytes) -> None:
    """Each bound by name."""
    with pytest.raises(FormatError):
        read_ticket(sealed(content))


def test_padding_and_unused_bits_are_no_second_spelling() -> None:
    """One ticket has one text, so that two readers cannot disagree."""
    text = SIMPLE.text()
    with pytest.raises(FormatError):
        read_ticket(text + "=")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".index(text[-1])
    for bit in range(5):
        with pytest.raises(FormatError):
            read_ticket(text[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[last ^ (1 << bit)])


def test_a_ticket_shows_no_token() -> None:
    """A trace or a log line must not be able to hold it."""
    assert repr(TOKEN) not in repr(SIMPLE) and "secret" in repr(SIMPLE)


def test_the_key_of_a_token_is_the_one_of_the_specification() -> None:
    """Another implementation reads the same pictures."""
    assert qr_psk(Secret(bytes(range(16)))).reveal().hex() == (
        "fe083455d927f4b7795e8c3527f319d2031fd2fda728d9779ab95e5ca4a7b44f"
    )
    assert SIMPLE.text() == (
        "covey1:NVWW23LNNVWW23LNNVWW23LNNVZXG43TONZXG43TONZXG43TONZXG43TONZXG43TONZXG43TO"
        "NZXG5DUOR2HI5DUOR2HI5DUOR2HI5ABATAAAAQHDXTLRSXHJI"
    )


def test_addresses_that_mean_something_here_only_are_left_out() -> None:
    """A scope is the number of an interface of this machine."""
    found = for_ticket(
        Address(host, 7654)
        for host in (
            "192.0.2.7",
            "fe80::1%2",
            "fe80::1",
            "2001:db8::1%2",
            "localhost",
            "::",
            "ff02::fb",
            "192.0.2.7",
            "2001:db8::7",
            "127.0.0.1",
            "10.0.0.1",
            "10.0.0.2",
        )
    )

    assert [str(address) for address in found] == [
        "192.0.2.7:7654",
        "[2001:db8::7]:7654",
        "127.0.0.1:7654",
        "10.0.0.1:7654",
    ]
