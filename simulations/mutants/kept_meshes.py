"""Kept meshes: the disks that runs start from, made by the program without any bug.

A mutant that keeps a mesh from coming together would break the template of every run, and no
checker would ever see it. So templates are made in a process of their own where nothing is planted,
as if the bug came with an update of devices that know one another, and are kept in a folder for all
hunts that follow. That folder is the caller's own: what lies in it is believed.

`python -m covey.simulations.mutants.kept_meshes WISH FILE` makes one of them.
"""

import os
import pickle
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any


class KeptMeshes:
    """Stands in for `templates.mesh_disks`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Any] = {}

    def mesh_disks(self, *wanted: Any, **named: Any) -> Any:
        """The disks of a mesh by name; copy them before use. Made if they are not in the folder."""
        wish = repr((wanted, named))
        if wish not in self._loaded:
            file = self._folder / f"{blake2b(wish.encode(), digest_size=8).hexdigest()}.mesh"
            if not file.exists():
                _make(file, (wanted, named))
            self._loaded[wish] = pickle.loads(file.read_bytes())
        return self._loaded[wish]


def _make(file: Path, wish: Any) -> None:
    # Another hunt may be making the same one: whoever comes last wins, and nobody reads a half.
    asked, made = file.with_suffix(f".wish-{os.getpid()}"), file.with_suffix(f".{os.getpid()}")
    asked.write_bytes(pickle.dumps(wish))
    subprocess.run([sys.executable, "-m", __name__, str(asked), str(made)], check=True)
    asked.unlink()
    made.replace(file)


def main() -> None:
    from ..templates import mesh_disks

    wanted, named = pickle.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_bytes(pickle.dumps(mesh_disks(*wanted, **named)))


if __name__ == "__main__":
    main()
