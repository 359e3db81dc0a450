"""Planting: one module of this process is loaded with a bug in it.

`plant` must come before the module is imported by anybody; it is for a process of its own. The
changed module keeps its name and its file, so tracebacks point to the right place; nothing is
written to disk, and what Python has compiled of the module before is not used.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType

from .mutant import Mutant


def source_of(module: str) -> str:
    """The source of a module as it is, whether it was imported or not."""
    return Path(path_of(module)).read_text(encoding="utf-8")


def path_of(module: str) -> str:
    """The file of a module. Imports the packages above it, and not the module."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, f"there is no module {module}"
    return spec.origin


def plant(mutant: Mutant) -> None:
    """Load the mutant's module with the bug from now on. Raises StaleMutantError."""
    assert mutant.module not in sys.modules, f"{mutant.module} was imported before"
    mutant.planted_in(source_of(mutant.module))
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    """Finds the one module of the mutant; everything else is for the finders behind it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(self._mutant, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Compiles the changed source, past every cache."""

    def __init__(self, mutant: Mutant, path: str) -> None:
        super().__init__(mutant.module, path)
        self._mutant = mutant

    def get_source(self, fullname: str) -> str:
        source = self.get_data(self.path).decode("utf-8")
        return self._mutant.planted_in(source)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_source(fullname), self.path, "exec", dont_inherit=True)
