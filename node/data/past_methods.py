"""Past methods: what the command line and the local API ask of the past of a record."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...sync.values import to_json
from ..demand_methods import NotFoundError
from ..parameters import Json, UsageError, limit, text
from ..times import iso_time
from .past import Past

if TYPE_CHECKING:
    from ..engine import Engine


class PastMethods:
    """The methods of one open node that are about what was."""

    def __init__(self, engine: "Engine") -> None:
        self._past = Past(engine)
        self._opened = engine.schemas.opened

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"get_at": self.get_at, "history": self.history}

    async def get_at(self, params: Json) -> Json:
        """The fields of a record at a time; encrypted ones are opened with `unseal`."""
        database, collection, id = _names(params)
        record = await self._past.at(database, collection, id, time(params, "at"))
        if record is None:
            raise NotFoundError(
                f"no record {collection}/{id} in {database} at that time, as far as this device"
                " knows: `covey history` shows its versions"
            )
        if params.get("unseal"):
            record = self._opened(*_names(params)[:2], record)
        shown: Json = to_json(record)
        return shown

    async def history(self, params: Json) -> Json:
        """`{"versions": [{"time", "device", "record"}]}`, the newest first; no record: deleted.

        `time` is null where it was not kept. `erased` is there if what was before is not shown.
        """
        database, collection, id = _names(params)
        versions, erased = await self._past.history(database, collection, id, limit(params))
        if not versions:
            raise NotFoundError(f"no record {collection}/{id} in {database}, and there was none")
        told: Json = {} if erased is None else {"erased": {"receipt": erased.erasure_no}}
        if erased is not None:
            told["erased"]["erased_at"] = iso_time(erased.erased_ms)
        return told | {
            "versions": [
                {
                    "time": None if version.time is None else _text(version.time),
                    "device": version.device,
                    "record": None if version.record is None else to_json(version.record),
                }
                for version in versions
            ]
        }


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time(params: Json, name: str) -> datetime:
    """A parameter that is a time with a zone, in ISO 8601. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text(params, name))
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise UsageError(f"{name}: a time such as 2026-01-31T12:00:00Z was expected")
    return found


def _names(params: Json) -> tuple[str, str, str]:
    return text(params, "database"), text(params, "collection"), text(params, "id")
