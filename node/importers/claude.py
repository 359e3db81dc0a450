"""Claude: the export of claude.ai, as a .zip or its conversations.json.

A conversation has its messages in `chat_messages`, oldest first. Newer exports say what each
replies to (`parent_message_uuid`, all zeros for the first); where they do not, a message replies to
the one before. What was attached as a text is in the export as a text; pictures and other files
mostly are only named.

Source: the format has no specification; its shape is known from exports (docs/data/importing.md).
"""

import json
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
    iso_to_ms,
    label_of,
    record_id,
    required_id,
    text_of,
)

PLATFORM = "claude"
ROLES = {"human": "user", "assistant": "assistant"}
"""The roles as other services call them."""


def read_claude(path: str | Path) -> Iterator[Conversation | Broken]:
    """The conversations of an export, in the order of its files. Raises ExportFileError."""
    return conversations(path, _Reading)


class _Reading:
    """One conversation being read."""

    def __init__(self, archive: Archive, where: str, source: Any) -> None:
        self._archive = archive
        self._where = where
        self._source = as_map(source)
        self._faults: list[Broken] = []
        self._attachments: list[Attachment] = []

    def whole(self) -> Conversation:
        """Raises FaultError if it is no conversation at all."""
        source, given = self._source, self._source.get("uuid")
        self._name = required_id(given, "uuid, so it is no conversation of this service")
        listed = source.get("chat_messages")
        if not isinstance(listed, list):
            raise FaultError("no messages: `chat_messages` is missing")
        if len(listed) > MESSAGES_MAX:
            raise FaultError(f"{len(listed)} messages, {MESSAGES_MAX} allowed")
        self.id = record_id(PLATFORM, self._name)
        self._room = label_of(as_map(source.get("project")).get("name"))
        messages = self._messages(listed)
        value = {
            "title": label_of(source.get("name")),
            "summary": bounded(text_of(source.get("summary"))),
            "platform": PLATFORM,
            "room": self._room,
            "model": label_of(source.get("model")),
            "at": iso_to_ms(source.get("created_at")),
            "updated": iso_to_ms(source.get("updated_at")),
            "current": messages[-1].id if messages else None,
            "message_count": len(messages),
            "source_id": self._name,
        }
        return Conversation(self.id, finished(value), messages, self._attachments, self._faults)

    def _messages(self, listed: list[Any]) -> list[Message]:
        found: dict[str, Message] = {}
        last: str | None = None
        replies: dict[str, str | None] = {}
        """Of every message, kept or not, what a reply to it replies to."""
        for number, each in enumerate(listed, start=1):
            source = as_map(each)
            try:
                name = required_id(source.get("uuid"), "uuid")
                parent = source.get("parent_message_uuid")
                reply = replies.get(parent) if isinstance(parent, str) else last
                message = self._message(name, source, reply)
            except FaultError as fault:
                self._faults.append(Broken(f"{self._where}, message {number}", str(fault)))
                continue
            replies[name] = reply if message is None else message.id
            if message is not None:
                found[message.id] = message
                last = message.id
        return list(found.values())

    def _message(self, name: str, source: Value, reply: str | None) -> Message | None:
        id = record_id(PLATFORM, self._name, name)
        sender = label_of(source.get("sender")) or "unknown"
        role = ROLES.get(sender, sender)
        text = bounded(_text(source))
        files = self._files(id, source)
        if not text.strip() and not files:
            return None
        self._attachments += files
        value: Value = {
            "text": text,
            "thinking": bounded(_thinking(source)),
            "author": role,
            "role": role,
            "thread": self.id,
            "reply_to": reply,
            "room": self._room,
            "platform": PLATFORM,
            "at": iso_to_ms(source.get("created_at")),
            "model": label_of(source.get("model")),
            "attachments": [each.id for each in files],
            "source_id": name,
        }
        return Message(id, finished(value))

    def _files(self, message: str, source: Value) -> list[Attachment]:
        """Texts that were attached, and files. A file may be listed twice: in a new and an old way.

        Raises FaultError for a text that no record can hold.
        """
        found: dict[str, Attachment] = {}
        for number, each in enumerate(as_list(source.get("attachments"))):
            given = as_map(each)
            name = text_of(given.get("id")) or f"{text_of(source.get('uuid'))}-{number}"
            text = bounded(text_of(given.get("extracted_content")))
            one = self._attachment(message, name, given, text)
            found[one.id] = one
        for each in (*as_list(source.get("files")), *as_list(source.get("files_v2"))):
            given = as_map(each)
            named = text_of(given.get("file_uuid")) or text_of(given.get("file_name"))
            if named:
                one = self._attachment(message, named, given, "")
                found.setdefault(one.id, one)
        return list(found.values())

    def _attachment(self, message: str, name: str, source: Value, text: str) -> Attachment:
        value = {
            "name": label_of(source.get("file_name")),
            "media_type": label_of(source.get("file_type") or source.get("file_kind")),
            "size": count_of(source.get("file_size")),
            "text": text,
            "thread": self.id,
            "message": message,
            "platform": PLATFORM,
            "source_id": name,
        }
        id = record_id(PLATFORM, self._name, message, name)
        return Attachment(id, finished(value), self._archive.find(name.lower()))


def _text(source: Value) -> str:
    """What a message says: its blocks, or its text where an old export has no blocks."""
    blocks = [_block(as_map(block)) for block in as_list(source.get("content"))]
    return "\n".join(block for block in blocks if block) or text_of(source.get("text"))


def _thinking(source: Value) -> str:
    blocks = [as_map(block) for block in as_list(source.get("content"))]
    said = [text_of(block.get("thinking")) for block in blocks if block.get("type") == "thinking"]
    return "\n".join(filter(None, said))


def _block(block: Value) -> str:
    match block.get("type"):
        case "tool_use":
            # Arguments are a text already, or JSON that is written as one.
            given = block.get("input")
            shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            return text_of(f"[{text_of(block.get('name'))}] {shown}")
        case "tool_result":
            inner = block.get("content")
            if isinstance(inner, str):
                return text_of(inner)
            return "\n".join(filter(None, (_block(as_map(each)) for each in as_list(inner))))
        case "thinking":
            return ""  # Not said to anybody: `_thinking` keeps it beside the text.
        case _:
            return text_of(block.get("text"))
