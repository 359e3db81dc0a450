"""Cognition: agents, what they are to do, and the steps by which they came to an answer."""

from dataclasses import dataclass
from enum import Enum


class TaskState(Enum):
    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Agent:
    name: str
    role: str = ""
    id: str = ""


@dataclass(frozen=True)
class Task:
    title: str
    agent: str = ""
    state: TaskState = TaskState.OPEN
    due_ms: int | None = None
    id: str = ""


@dataclass(frozen=True)
class Reasoning:
    """Why something was answered. What it rests on: links of the kind `from`."""

    thought: str
    at_ms: int
    task: str = ""
    id: str = ""
