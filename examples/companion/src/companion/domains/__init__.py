"""The eight domains: plain dataclasses. They know of Covey only the types that a field may have.

Times are milliseconds since 1970. A place, such as `memory/semantic/ID`, names any record of any
domain: its domain, collection and id.
"""

from .cognition import Agent, Reasoning, Task, TaskState
from .conversation import Conversation, Grave, Message, ReadMark
from .identity import Account, Person
from .knowledge import Chunk, Document, Shelf
from .memory import Memory, Skill
from .persona import Persona
from .provenance import Citation, Source
from .system import AuditEntry, Metric, Setting

__all__ = [
    "Account",
    "Agent",
    "AuditEntry",
    "Chunk",
    "Citation",
    "Conversation",
    "Document",
    "Grave",
    "Memory",
    "Message",
    "Metric",
    "Person",
    "Persona",
    "ReadMark",
    "Reasoning",
    "Setting",
    "Shelf",
    "Skill",
    "Source",
    "Task",
    "TaskState",
]
