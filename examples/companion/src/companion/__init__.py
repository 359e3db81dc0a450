"""A companion that remembers, on all of your devices."""

from .companion import Companion, Hear, Reply
from .records import Records

__all__ = ["Companion", "Hear", "Records", "Reply"]
