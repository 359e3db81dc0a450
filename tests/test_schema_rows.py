"""Schema rows: what is installed, and a history that outlives it and stays bounded."""

import pytest

from covey.storage import schema_rows
from covey.storage.schema_rows import Done, Installed, add_history, history, installed

from .store_rows import memory_conn


def test_a_schema_is_replaced_by_name_and_its_history_outlives_it() -> None:
    conn = memory_conn()
    row = Installed("b", "{}", 1, 0, None, 5)
    schema_rows.put(conn, row)
    schema_rows.put(conn, Installed("a", "{}", 1, 0, None, 5))
    schema_rows.put(conn, row._replace(at_version=2, running="{}"))
    add_history(conn, Done(7, "b", "up", "{}"))

    assert [(one.name, one.at_version) for one in installed(conn)] == [("a", 1), ("b", 2)]
    schema_rows.remove(conn, "b")

    assert schema_rows.get(conn, "b") is None
    assert history(conn, "b", 10) == [Done(7, "b", "up", "{}")]


def test_the_oldest_history_of_a_schema_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_rows, "HISTORY_MAX", 3)
    conn = memory_conn()
    add_history(conn, Done(0, "other'; --", "up", "{}"))
    for at in range(6):
        add_history(conn, Done(at, "a", "up", "{}"))

    assert [one.time_ms for one in history(conn, "a", 10)] == [5, 4, 3]
    assert [one.name for one in history(conn, None, 10)] == ["a", "a", "a", "other'; --"]
