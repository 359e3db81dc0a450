"""The real transport is made by the first who needs the network, and by nobody else."""

from covey.node.late_transport import LateTransport
from covey.node.ports import Accept, Address, Connection, Listener, UnreachableError


class Counting:
    """A transport that reaches nobody and says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        raise AssertionError("nobody listens here")

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        self.asked.append((address, timeout_ms))
        raise UnreachableError(f"{address}: nobody is there")

    async def close(self) -> None:
        self.asked.append("close")


async def failing_dial(late: LateTransport, port: int) -> None:
    try:
        await late.dial(Address("127.0.0.1", port), 5)
    except UnreachableError:
        return
    raise AssertionError("somebody was reached")


async def test_a_transport_that_nobody_used_is_never_made() -> None:
    """A command that reads one record would pay for the network."""

    def make() -> Counting:
        raise AssertionError("it was made")

    await LateTransport(make).close()


async def test_one_transport_is_made_for_all_dials_and_is_closed() -> None:
    """Each has a session of its own, which would be left open."""
    made: list[Counting] = []

    def make() -> Counting:
        made.append(Counting())
        return made[-1]

    late = LateTransport(make)
    await failing_dial(late, 1)
    await failing_dial(late, 2)
    await late.close()

    (one,) = made
    assert one.asked == [(Address("127.0.0.1", 1), 5), (Address("127.0.0.1", 2), 5), "close"]
