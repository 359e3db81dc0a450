"""Real processes: a phone was in other hands for an hour, and somebody copied its home.

The copy is opened with the phone's own key file, as whoever made it would.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes, pair, up


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    with homes(tmp_path, "laptop", "phone", "copy") as made:
        made[2].key = made[1].key
        yield made


def test_a_copy_of_the_phone_reads_nothing_that_is_written_after_it_has_a_new_key(
    devices: list[Device],
) -> None:
    laptop, phone, copy = devices
    laptop.init()
    phone.init("phone")
    up(laptop)
    pair(laptop, phone)
    laptop.run("put", "memory", "facts", "tea", '{"name": "kukicha"}')
    up(phone, laptop)
    phone.run("sync", "--wait")
    phone.down()
    shutil.copytree(phone.home, copy.home)

    up(phone, laptop)
    answer = phone.run("devices", "rekey")
    assert (answer["device_name"], answer["scopes"]) == ("phone", 2)
    phone.run("sync", "--wait")
    laptop.run("put", "memory", "facts", "secret", '{"door": "4711"}')
    laptop.run("sync", "--wait")
    assert phone.run("get", "memory", "facts", "secret") == {"door": "4711"}
    assert "phone has a new key to receive with" in laptop.attempt("log").stdout
    phone.down()

    up(copy, laptop)
    copy.wait_for("connected")
    copy.attempt("sync", "--timeout", "5")
    copy.run("get", "memory", "facts", "secret", code=1)
    assert copy.run("get", "memory", "facts", "tea") == {"name": "kukicha"}
    told = copy.attempt("status").stdout
    assert "before the key of this device was renewed" in " ".join(told.split())
    copy.down()

    # The phone itself goes on after a restart, and after what others sealed to its former key.
    up(phone, laptop)
    laptop.run("devices", "rotate-keys")
    laptop.run("put", "memory", "facts", "more", '{"door": "4712"}')
    phone.run("sync", "--wait")
    assert phone.run("get", "memory", "facts", "more") == {"door": "4712"}
    assert phone.run("status")["outdated_key"] is False
