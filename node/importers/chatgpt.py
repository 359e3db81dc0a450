"""ChatGPT: the export of chatgpt.com, as a .zip or its conversations.json.

A conversation is a tree in `mapping`: node id -> message, parent and children. Where an answer was
made again or a question edited, a node has several children; `current_node` ends the branch that
is shown. All branches are kept: what is off the shown one names the message it begins with in
`branch`. Nodes without a text or a file (the root, hidden instructions) are passed over, and what
follows them replies to what came before.

Large exports come in numbered files, conversations-000.json and so on. Uploads and pictures lie in
the archive under names that begin with their id.

Source: the format has no specification; its shape is known from exports (docs/data/importing.md).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .archive import Archive
from .chat import (
    MESSAGES_MAX,
    Attachment,
    Broken,
    Conversation,
    FaultError,
    Message,
    Value,
    as_list,
    as_map,
    bounded,
    conversations,
    count_of,
    finished,
    label_of,
    record_id,
    required_id,
    seconds_to_ms,
    text_of,
)

PLATFORM = "chatgpt"

_POINTER = re.compile(r"(?:file-service|sediment)://(file[-_][A-Za-z0-9]+)")


def read_chatgpt(path: str | Path) -> Iterator[Conversation | Broken]:
    """The conversations of an export, in the order of its files. Raises ExportFileError."""
    return conversations(path, _Reading)


class _Reading:
    """One conversation being read."""

    def __init__(self, archive: Archive, where: str, source: Any) -> None:
        self._archive = archive
        self._where = where
        self._source = as_map(source)
        self._nodes = as_map(self._source.get("mapping"))
        self._faults: list[Broken] = []
        self._attachments: list[Attachment] = []

    def whole(self) -> Conversation:
        """Raises FaultError if it is no conversation at all."""
        source = self._source
        given = source.get("conversation_id") or source.get("id")
        self._name = required_id(given, "id, so it is no conversation of this service")
        if not isinstance(source.get("mapping"), dict):
            raise FaultError("no messages: `mapping` is missing")
        if len(self._nodes) > MESSAGES_MAX:
            raise FaultError(f"{len(self._nodes)} messages, {MESSAGES_MAX} allowed")
        self.id = record_id(PLATFORM, self._name)
        messages = self._messages()
        current = self._shown[-1] if self._shown else None
        value = {
            "title": label_of(source.get("title")),
            "platform": PLATFORM,
            "room": label_of(source.get("gizmo_id")),
            "model": label_of(source.get("default_model_slug")),
            "at": seconds_to_ms(source.get("create_time")),
            "updated": seconds_to_ms(source.get("update_time")),
            "archived": True if source.get("is_archived") is True else None,
            "current": None if current is None else self._message_id(current),
            "message_count": len(messages),
            "source_id": self._name,
        }
        return Conversation(self.id, finished(value), messages, self._attachments, self._faults)

    def _messages(self) -> list[Message]:
        """Every message, ancestors first; branches in the order in which they were begun."""
        found: list[Message] = []
        self._shown: list[str] = []
        """The nodes of the shown branch that became messages."""
        path = self._shown_path()
        replies: dict[str, str | None] = {}
        branches: dict[str, str | None] = {}
        for name in self._in_order():
            parent = self._parent(name)
            reply = replies.get(parent) if parent is not None else None
            branch = branches.get(parent) if parent is not None else None
            replies[name], branches[name] = reply, branch
            message = self._message(name, reply, branch, is_shown=name in path)
            if message is None:
                continue
            found.append(message)
            replies[name] = message.id
            if name in path:
                self._shown.append(name)
            elif branch is None:
                branches[name] = message.id
        return found

    def _parent(self, name: str) -> str | None:
        parent = as_map(self._nodes.get(name)).get("parent")
        return parent if isinstance(parent, str) and parent in self._nodes else None

    def _shown_path(self) -> set[str]:
        """The nodes from the root to `current_node`; to the last node if that is missing."""
        at = self._source.get("current_node")
        if not isinstance(at, str) or at not in self._nodes:
            at = next(reversed(self._nodes), None)
        path: set[str] = set()
        while at is not None and at not in path:  # A parent may be its own grandchild in a forgery.
            path.add(at)
            at = self._parent(at)
        return path

    def _in_order(self) -> Iterator[str]:
        """Every node once, each after its parent; those in a circle come last."""
        children: dict[str | None, list[str]] = {}
        for name in self._nodes:
            children.setdefault(self._parent(name), []).append(name)
        done: set[str] = set()
        stack = list(reversed(children.get(None, [])))
        while stack:
            name = stack.pop()
            done.add(name)
            yield name
            stack += reversed(children.get(name, []))
        yield from (name for name in self._nodes if name not in done)

    def _message_id(self, node: str) -> str:
        return record_id(PLATFORM, self._name, text_of(node))

    def _message(
        self, node: str, reply: str | None, branch: str | None, *, is_shown: bool
    ) -> Message | None:
        source = as_map(as_map(self._nodes[node]).get("message"))
        metadata = as_map(source.get("metadata"))
        author = as_map(source.get("author"))
        role = label_of(author.get("role")) or "unknown"
        id = self._message_id(node)
        try:
            content = as_map(source.get("content"))
            text = bounded(_text(content))
            files = self._files(id, content, metadata)
        except FaultError as fault:
            self._faults.append(Broken(f"{self._where}, message {text_of(node)[:80]}", str(fault)))
            return None
        if not text.strip() and not files:
            return None
        self._attachments += files
        kind = label_of(content.get("content_type"))
        own_branch = None if is_shown else branch or id
        value: Value = {
            "text": text,
            "author": label_of(author.get("name")) or role,
            "role": role,
            "thread": self.id,
            "reply_to": reply,
            "room": label_of(self._source.get("gizmo_id")),
            "platform": PLATFORM,
            "at": seconds_to_ms(source.get("create_time")),
            "model": label_of(metadata.get("model_slug")),
            "kind": None if kind == "text" else kind,
            "branch": own_branch,
            "attachments": [each.id for each in files],
            "source_id": text_of(node),
        }
        return Message(id, finished(value))

    def _files(self, message: str, content: Value, metadata: Value) -> list[Attachment]:
        """What was uploaded with a message or drawn in it, each file once."""
        found: dict[str, Value] = {}
        for each in as_list(metadata.get("attachments")):
            described = as_map(each)
            if isinstance(described.get("id"), str):
                found[text_of(described["id"])] = described
        for part in as_list(content.get("parts")):
            match = _POINTER.match(text_of(as_map(part).get("asset_pointer")))
            if match:
                found.setdefault(match[1], {"size": as_map(part).get("size_bytes")})
        return [self._attachment(message, name, each) for name, each in found.items()]

    def _attachment(self, message: str, name: str, source: Value) -> Attachment:
        member = self._archive.find(name)
        shown = label_of(source.get("name"))
        if shown is None and member is not None:
            shown = label_of(member.file_name)
        value = {
            "name": shown,
            "media_type": label_of(source.get("mime_type") or source.get("mimeType")),
            "size": count_of(source.get("size")),
            "thread": self.id,
            "message": message,
            "platform": PLATFORM,
            "source_id": name,
        }
        return Attachment(record_id(PLATFORM, self._name, name), finished(value), member)


def _text(content: Value) -> str:
    """What a message says, whatever kind of content it is."""
    parts = [_part(each) for each in as_list(content.get("parts"))]
    parts += [_part(each) for each in as_list(content.get("thoughts"))]
    for name in ("text", "result", "content", "user_profile", "user_instructions"):
        parts.append(text_of(content.get(name)))
    return "\n".join(part for part in parts if part)


def _part(part: object) -> str:
    if isinstance(part, str):
        return text_of(part)
    fields = as_map(part)
    return text_of(fields.get("text")) or text_of(fields.get("content"))
