"""Ties: which of two connections between the same two stores is one too many.

Two devices that find each other at the same moment both dial. Both must close the same one of the
two connections without asking, or they close both and begin again, for ever.

A *store key* is a device id followed by what names its store, drawn anew for a copy. Two stores
of one device, such as a home that was cloned, have different keys: connections to them are not
two of the same and both stay, so that neither pushes the other out.
"""


def store_key(device: bytes, store: bytes) -> bytes:
    """What links are kept by: the device's 32-byte id and its store's 16-byte name."""
    assert len(device) == 32 and len(store) == 16
    return device + store


def newcomer_stays(
    our_key: bytes, their_key: bytes, *, old_dialled_by_us: bool, new_dialled_by_us: bool
) -> bool:
    """Whether to keep the new of two connections with `their_key`, and close the old one.

    Dialled from both sides, the one stays that the smaller key dialled: both ends see the same.
    Dialled from one side twice, the new one stays: that side would not have dialled again if the
    old one still worked.
    """
    if old_dialled_by_us == new_dialled_by_us:
        return True
    return new_dialled_by_us == (our_key < their_key)
