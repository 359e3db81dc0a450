"""Plugins: schemas that installed packages bring, found by their entry points.

A package names a module, or what is in one, under the group `covey.schemas`; to load it registers
its schemas (`schema.py`). Nothing is loaded before an application asks for it, as it is code.
"""

from importlib.metadata import entry_points

from .reading import SchemaError
from .schema import Schema, registered

GROUP = "covey.schemas"


def discover_schemas(kind: str | None = None) -> list[Schema]:
    """Load the plugins that are installed, and return what is registered by then, by priority.

    Raises SchemaError, naming the first plugin that cannot be loaded.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        try:
            entry.load()
        except Exception as error:
            raise SchemaError(
                f"the plugin {entry.name!a:.60} cannot be loaded ({type(error).__name__}): update"
                " it, or remove its package"
            ) from error
    return registered(kind)
