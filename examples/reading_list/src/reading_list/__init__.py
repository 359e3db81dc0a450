"""A reading list that is on all of your devices."""

from .shelf import Article, Shelf

__all__ = ["Article", "Shelf"]
