"""Sync: one round now, and the proof of sync.

*Synced* is said only where the node has proof, with the time of the proof. Exit codes follow it:
`status` ends with 0 only if every reachable peer is proved in sync. `sync --wait` does so too if
databases that wait by their policy are left out: it names them, because waiting for them would
be waiting for the night or another network. With 4 it ends if no peer can be reached.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import click

from ..node.wording import size_text
from .errors import NobodyThereError
from .options import Settings, json_option, open_node, timeout_option
from .output import emit, note, say, table, visible


@click.command()
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for the proof; exit code 0 only with it. What waits by its policy is named.",
)
@click.option("--with", "device", metavar="D", help="Only with this device.")
@timeout_option(30)
@json_option
@click.pass_context
def sync(context: click.Context, wait: bool, device: str | None, timeout_s: float) -> None:
    """Sync with whoever is reachable. Then show the status."""
    settings = context.ensure_object(Settings)
    params = {"with": device, "wait": wait, "timeout_s": timeout_s}
    with open_node(settings, online=True) as node:
        status = node.call("sync", params)
    _show_status(settings, status)
    if not any(peer["state"] == "connected" for peer in status["peers"]):
        raise NobodyThereError(_nobody(status))
    if wait and not (_proved(status) or status.get("reachable_all_settled") is True):
        note("not proved in sync yet")
        context.exit(1)
    if wait and not _proved(status):
        waiting = _waiting(status)
        note(f"in sync but for what waits: {', '.join(visible(name) for name in waiting)}")


@click.command()
@click.argument("database", metavar="DB")
@timeout_option(60)
@json_option
@click.pass_context
def fetch(context: click.Context, database: str, timeout_s: float) -> None:
    """Bring all of a database here, now. What has come stays.

    For databases that this device holds on demand or in a window. Exit code 1 if the time was
    over before all of it was here.
    """
    settings = context.ensure_object(Settings)
    with open_node(settings, online=True) as node:
        done = node.call("fetch", {"database": database, "timeout_s": timeout_s})
    if settings.json:
        emit(done)
    else:
        names = ", ".join(visible(row["name"]) for row in done["from"])
        say(f"{done['entries']} new entries of {visible(database)}; asked: {names}")
    if not done["complete"]:
        note("not all of it is here yet: run this again, or look at `covey status`")
        context.exit(1)


@click.command()
@json_option
@click.pass_context
def status(context: click.Context) -> None:
    """Show the proof of sync with each device. Exit code 1 if a reachable one is not in sync."""
    settings = context.ensure_object(Settings)
    with open_node(settings) as node:
        found = node.call("status", {})
    _show_status(settings, found)
    if not _proved(found):
        context.exit(1)


def _proved(status: dict[str, Any]) -> bool:
    return status.get("reachable_all_synced") is True


def _waiting(status: dict[str, Any]) -> list[str]:
    """The databases that wait, on either side of a link."""
    reached = [peer for peer in status["peers"] if peer["state"] == "connected"]
    rows = [row for peer in reached for row in peer["databases"]]
    return sorted({row["name"] for row in rows if row.get("waiting_for")})


def _nobody(status: dict[str, Any]) -> str:
    if not status["peers"]:
        return "this device is alone in its mesh; `covey pair` admits another"
    return "no other device can be reached; is one on, with `covey up`, on this network?"


def _show_status(settings: Settings, status: dict[str, Any]) -> None:
    if settings.json:
        emit(status)
        return
    device = status["device"]
    say(f"{visible(device['name'])}  {visible(device['id'])}")
    for alarm in status.get("alarms") or ():
        message = alarm.get("message", alarm) if isinstance(alarm, dict) else alarm
        say(f"ALARM: {visible(message)}")
    for row in status.get("shelf") or ():
        of, where = visible(row["device_name"]), visible(row["database"])
        say(f"on the shelf: {row['entries']} entries of {of} in {where}, from after its removal")
    if status.get("removed"):
        say("this device was removed from its mesh: what it has can be read and exported")
    elif status.get("outdated_key"):
        say(
            "this home was put back to before the key of this device was renewed, and reads nothing"
            " that was written since: export what only it has, and pair a new home"
        )
    elif status.get("paper_key") is False:
        note("this mesh has no paper key: it is as durable as its last admin device")
    for row in status.get("held") or ():
        what, why = visible(row["database"]), visible(row["because"])
        say(f"{what} waits for {visible(row['waiting_for'])}: {why}")
    _show_newer(status.get("schemas_newer") or ())
    if status["peers"]:
        headers = ("device", "short id", "reached", "database", "state", "missing", "proved")
        table(headers, (row for peer in status["peers"] for row in _rows(peer)))
    elif not status.get("removed"):
        note(_nobody(status))


def _show_newer(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        what, who = visible(row["schema"]), visible(", ".join(row["devices"]))
        say(f"schema {what} is at version {row['newest']} on {who}, at {row['ours']} here: update")


def _rows(peer: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    reached = "away, a phone at rest" if peer.get("resting") else peer["state"]
    if peer.get("address"):
        reached = f"{reached} ({peer.get('path') or 'at'} {peer['address']})"
    who = (peer["name"], peer["device_id"][:9], reached)
    if not peer["databases"]:
        yield (*who, "", "unknown", "", "never")
    for database in peer["databases"]:
        proved = database.get("proved_at") or "never"
        state = database["state"]
        if database.get("waiting_for"):
            state = f"{state}, waits for {database['waiting_for']}"
        yield (*who, database["name"], state, _missing(database), proved)
        who = ("", "", "")


def _missing(database: dict[str, Any]) -> str:
    """What this device lacks and what the other one does, in entries and bytes."""
    parts = []
    if database.get("behind"):
        parts.append(f"{database['behind']} here")
    if database.get("ahead"):
        parts.append(f"{database['ahead']} there")
    if database.get("bytes_left"):
        parts.append(size_text(database["bytes_left"]))
    return ", ".join(parts)
