"""Importers: the exports of chat services as conversations, one at a time.

    for found in covey.importers.read_chatgpt("export.zip"):
        if isinstance(found, Conversation): ...

They read files and know nothing of a node: `covey.node.data.importing` writes what they find. A
whole export is never in memory, only one conversation of it. What is broken is a `Broken` in the
place of a conversation, or in its list of faults, and the rest is read.
"""

from .archive import ExportFileError, Member
from .chat import Attachment, Broken, Conversation, Message
from .chatgpt import read_chatgpt
from .claude import read_claude

__all__ = [
    "Attachment",
    "Broken",
    "Conversation",
    "ExportFileError",
    "Member",
    "Message",
    "read_chatgpt",
    "read_claude",
]
