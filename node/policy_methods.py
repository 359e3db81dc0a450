"""Policy methods: what `Service` answers about policies.

JSON in, JSON out, like every method of the service; the decisions themselves are in `policies.py`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..crypto.identity import shown_id
from ..sync.policy import Value
from ..sync.policy_change import Change
from ..sync.policy_text import parse_settings
from ..sync.profile import COMPANION
from ..sync.profile_text import ProfileError, parse_profile, profile_text
from ..sync.registry import Device
from ..sync.tagging import TagRule
from .birth import rules_for
from .directory import UnknownDeviceError
from .ledger import PRIVACY_NAMES
from .parameters import Json, UsageError, text
from .policy_explaining import explain
from .policy_words import EVERY_DATABASE, change_row, difference_row, policy_row
from .record_requests import check_place

if TYPE_CHECKING:
    from .engine import Engine

SETTINGS_PER_CALL_MAX = 128


class PolicyMethods:
    """The methods, by name, for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "policy_show": self._show,
            "policy_set": self._set,
            "policy_explain": self._explain,
            "policy_profile": self._profile,
            "policy_load": self._load,
        }

    async def _show(self, params: Json) -> Json:
        """The policies of all databases and devices, or of those that are named."""
        policies, registry = self._engine.policies, self._engine.mesh.registry
        database = _database(params.get("database") or EVERY_DATABASE)
        device = self._device(params)
        names = [database] if database else policies.databases()
        devices = policies.members() if device is None else [device]
        rows = []
        for name in names:
            for each in devices:
                policy, origins = policies.of(each.sig_pk, name)
                rows.append(
                    {
                        "database": name,
                        "device_id": shown_id(each.sig_pk),
                        "device_name": each.name,
                        "policy": policy.mode if policy.consent else "no consent",
                        "settings": policy_row(registry, policy, origins),
                    }
                )
        return {"policies": rows, "tags": self._tags(names)}

    def _tags(self, databases: Sequence[str]) -> list[Json]:
        """The rules of tags, those of everything first."""
        rules: list[tuple[str, TagRule]] = []
        for name in ("", *databases):
            found = rules_for(self._engine.mesh.registry, name)
            known = {rule for _, rule in rules}
            rules += [(name, rule) for _, rule in sorted(found.items()) if rule not in known]
        return [
            {
                "database": name or EVERY_DATABASE,
                "tag": rule.tag,
                "level": PRIVACY_NAMES[rule.level],
                "from": rule.origin,
            }
            for name, rule in rules
        ]

    async def _set(self, params: Json) -> Json:
        """Change what is said, or with `dry_run` only tell what that would do."""
        device = self._device(params)
        change = Change(
            b"" if device is None else device.sig_pk,
            _database(text(params, "database")),
            parse_settings(_texts(params, "settings")),
        )
        return await self.change([change], bool(params.get("dry_run")))

    async def _profile(self, _: Json) -> Json:
        """What counts, as a file that can be loaded: the profile, and over it what people said."""
        members = self._engine.policies.members()
        names = [device.name for device in members]
        named = {
            d.sig_pk: d.name if names.count(d.name) == 1 else shown_id(d.sig_pk) for d in members
        }
        return {"toml": profile_text(self._engine.policies.said, COMPANION, named)}

    async def _load(self, params: Json) -> Json:
        """Say all that a profile says, in one transaction; or only tell what that would do."""
        file = text(params, "file")
        changes, places = [], []
        seen: dict[tuple[bytes, str, str], None] = {}
        for part in parse_profile(text(params, "text"), file):
            place = f"{file}:{part.line}"
            device = b""
            if part.device:
                try:
                    device = self._engine.directory.find_device(part.device).sig_pk
                except UnknownDeviceError as error:
                    raise UnknownDeviceError(f"{place}: {error}") from None
            for key in part.settings:
                if (device, part.database, key) in seen:
                    raise ProfileError(
                        f"{place}: {part.device!r} is a device that was named before"
                    )
                seen[device, part.database, key] = None
            settings = self._without_profile((device, part.database), part.settings)
            if settings:
                changes.append(Change(device, part.database, settings))
                places.append(place)
        return await self.change(changes, bool(params.get("dry_run")), places)

    def _without_profile(
        self, place: tuple[bytes, str], settings: Mapping[str, Value | None]
    ) -> dict[str, Value | None]:
        """The same without what the profile of the program says where people said nothing."""
        known, ours = self._engine.policies.said.get(place, {}), COMPANION.get(place, {})
        return {
            key: value
            for key, value in settings.items()
            if key in known or value is None or ours.get(key) != value
        }

    async def change(
        self, changes: Sequence[Change], dry_run: bool, places: Sequence[str] = ()
    ) -> Json:
        """What these changes do; they are made unless it is a dry run."""
        proposal = await self._engine.policies.propose(changes, places)
        registry = self._engine.mesh.registry
        answer = {
            "changes": [change_row(registry, change) for change in proposal.changes],
            "changed": bool(proposal.changes) and not dry_run,
            "dry_run": dry_run,
            "warnings": list(proposal.warnings),
            "preview": difference_row(registry, proposal.difference),
        }
        if not dry_run:
            await self._engine.policies.write(proposal)
        return answer

    async def _explain(self, params: Json) -> Json:
        device = self._engine.directory.find_device(text(params, "device"))
        database, collection = text(params, "database"), text(params, "collection")
        return await explain(self._engine, database, collection, text(params, "id"), device)

    def _device(self, params: Json) -> Device | None:
        named = params.get("device")
        return None if named is None else self._engine.directory.find_device(text(params, "device"))


def _database(name: str) -> str:
    """A database by its name; empty for all of them. Raises BadValueError."""
    if name == EVERY_DATABASE:
        return ""
    check_place(name)
    return name


def _texts(params: Json, name: str) -> list[str]:
    found = params.get(name)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UsageError(f"{name}: an array of texts was expected")
    if len(found) > SETTINGS_PER_CALL_MAX:
        raise UsageError(f"{name}: {len(found)}, {SETTINGS_PER_CALL_MAX} allowed")
    return found
