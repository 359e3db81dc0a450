"""Policy sentences: what somebody said of a database and a device, in words for people.

Part of `wording.py`, and like it: never fails, whatever the detail holds, and imports nothing slow.
Settings come as people write them (`covey.sync.policy_text`).
"""

from collections.abc import Mapping
from typing import Any

_MODES = {
    "full": "{data} goes to {device} in full",
    "summary": "{data} goes to {device} without its large fields",
    "metadata": "{data} goes to {device} without its blobs",
    "window": "only what is recent of {data} goes to {device}",
    "on-demand": "{data} goes to {device} when it asks for it",
    "periodic": "{data} goes to {device} now and then",
    "local-only": "{data} on {device} stays there",
}
_VALUES: Mapping[str, Mapping[str, str]] = {
    "mode": _MODES,
    "direction": {
        "both": "{data} goes to and from {device}",
        "send": "{device} gives what it writes to {data} and takes nothing",
        "receive": "{device} takes {data} and gives nothing that it writes",
    },
    "consent": {
        "yes": "{device} may have {data}",
        "no": "{device} may not have {data} any more",
    },
    "blobs": {
        "all": "{data} goes to {device} with all blobs",
        "thumbnail": "{data} goes to {device} as thumbnails only",
        "on-demand": "blobs of {data} go to {device} when it asks for them",
    },
    "unmetered": {
        "yes": "{data} goes to {device} only where the network costs nothing",
        "no": "{data} goes to {device} on any network",
    },
    "charging": {
        "yes": "{data} goes to {device} only while it charges",
        "no": "{data} goes to {device} on battery too",
    },
    "quiet": {"off": "{data} goes to {device} at any hour"},
    "bandwidth": {"off": "{data} goes to {device} as fast as it can"},
    "narrowed": {
        "keep": "{device} keeps what it has of {data} and does not want any more",
        "remove": "{device} removes what it has of {data} and does not want any more",
    },
}
_KEYS: Mapping[str, str] = {
    "window": "{data} on {device} reaches back {value}",
    "interval": "{data} goes to {device} every {value}",
    "priority": "{data} goes to {device} with priority {value}",
    "quiet": "{data} does not go to {device} from {value}",
    "bandwidth": "{data} goes to {device} with at most {value}",
    "blob-size": "larger blobs of {data} than {value} go to {device} when it asks for them",
}
_TAG = "tag."


def policy_sentence(detail: Mapping[str, Any]) -> str:
    """`laptop: media goes to phone as thumbnails only`."""
    by, said = detail.get("by"), detail.get("set")
    data = str(detail.get("database") or "everything")
    device = str(detail.get("device") or "every device")
    settings = said if isinstance(said, Mapping) else {}
    sentences = [_sentence(str(key), str(value), data, device) for key, value in settings.items()]
    told = "; ".join(sentences) or f"what {device} wants of {data} is another now"
    return f"{by}: {told}" if by else told


def _sentence(key: str, value: str, data: str, device: str) -> str:
    if value == "default":
        return f"nothing is said any more of {key} of {data} on {device}"
    if key.startswith(_TAG):
        where = "" if data == "everything" else f" in {data}"
        return f"records tagged {key[len(_TAG) :]}{where} are {value} at most"
    template = _VALUES.get(key, {}).get(value) or _KEYS.get(key)
    if template is None:
        return f"{key} of {data} on {device} is {value}"
    return template.format(data=data, device=device, value=value)
