"""Ties: two devices that dialled each other close the same one of the two connections."""

from hypothesis import assume, given
from hypothesis import strategies as st

from covey.node.ties import newcomer_stays, store_key

keys = st.builds(
    store_key, st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16)
)


@given(keys, keys, st.booleans(), st.booleans(), st.booleans())
def test_both_ends_keep_the_same_of_two_connections(
    a: bytes, b: bytes, old_by_a: bool, new_by_a: bool, other_order: bool
) -> None:
    """If they disagreed they would close both and dial again, for ever."""
    assume(a != b)
    kept_by_a = (
        new_by_a
        if newcomer_stays(a, b, old_dialled_by_us=old_by_a, new_dialled_by_us=new_by_a)
        else old_by_a
    )
    # The two ends may have got to know the connections in different order.
    if other_order and old_by_a != new_by_a:
        old_by_a, new_by_a = new_by_a, old_by_a
    kept_by_b = (
        new_by_a
        if newcomer_stays(b, a, old_dialled_by_us=not old_by_a, new_dialled_by_us=not new_by_a)
        else old_by_a
    )

    assert kept_by_a == kept_by_b


def test_a_second_call_from_the_same_side_replaces_the_first() -> None:
    """The caller lost the first one, even if we have not noticed."""
    ours, theirs = b"\1" * 48, b"\2" * 48

    for by_us in (True, False):
        assert newcomer_stays(ours, theirs, old_dialled_by_us=by_us, new_dialled_by_us=by_us)


def test_two_stores_of_one_device_have_two_keys() -> None:
    """A cloned home must not push the original's connection out, and be pushed out in turn."""
    device = b"\1" * 32

    assert store_key(device, b"\1" * 16) != store_key(device, b"\2" * 16)
