"""The checkout is the package: lists kept by hand are compared here with what they describe."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("cli", "crypto", "node", "simulations", "storage", "sync")

FLOORS = {
    "aiohttp": ((3, 14, 1), "below it a small compressed message inflates without bound"),
    "pynacl": ((1, 6, 2), "below it a mixed-order point counts as valid, CVE-2025-69277"),
    "setuptools": ((77,), "below it the licence expression of pyproject.toml is refused"),
    "zeroconf": ((0, 149, 12), "below it anyone on the LAN can burn our CPU and memory"),
}
"""Package -> the lowest release that may satisfy us, and what is wrong below it."""


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> dict[str, str]:
    """Package -> its version specifier, of all that is installed, built with or optional."""
    project = pyproject()["project"]
    optional = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *pyproject()["build-system"]["requires"]]
    lines += [line for extra in optional for line in extra]
    matches = [re.fullmatch(r"([A-Za-z0-9_.-]+)(\[.*\])?\s*(.*)", line) for line in lines]
    return {match[1].lower(): match[3] for match in matches if match}


def test_every_package_folder_is_listed() -> None:
    """The list is by hand because no backend finds packages under a mapped root."""
    inits = (init for folder in CODE_FOLDERS for init in (ROOT / folder).rglob("__init__.py"))
    found = {"covey"} | {".".join(("covey", *i.parent.relative_to(ROOT).parts)) for i in inits}

    assert set(pyproject()["tool"]["setuptools"]["packages"]) == found


def test_every_folder_with_code_is_a_package() -> None:
    """Without its __init__.py a folder works from the checkout and is missing from the wheel."""
    folders = {module.parent for name in CODE_FOLDERS for module in (ROOT / name).rglob("*.py")}

    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_root_holds_no_module_but_the_package_face() -> None:
    """A stray .py file beside pyproject.toml would be shipped inside the package."""
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("package", FLOORS)
def test_the_floor_under_a_dependency_is_not_lowered(package: str) -> None:
    """Each of these floors closes a hole, so an older release must never satisfy us."""
    lowest, why = FLOORS[package]
    specifier = requirements()[package]
    floor = re.search(r">=\s*([0-9.]+)", specifier)

    assert floor is not None, f"{package}{specifier}: no floor; {why}"
    assert tuple(int(part) for part in floor[1].split(".")) >= lowest, why


def test_automerge_is_pinned_to_the_release_we_know() -> None:
    """Another release panics elsewhere, and the bare name brings an unrelated package."""
    assert requirements()["automerge"] == "==1.0.0rc1"


def test_python_is_limited_to_what_automerge_has_wheels_for() -> None:
    """On another Python, pip would try to compile Rust instead of saying why it cannot."""
    assert pyproject()["project"]["requires-python"] == ">=3.11,<3.13"


def test_every_dependency_is_explained() -> None:
    """A dependency is code we answer for, so the reader is told what each is there for."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = page.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE))

    assert explained == set(requirements())


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    """Tests, docs or a stray file in the wheel land in everyone's site-packages."""
    source = tmp_path / "source"
    source.mkdir()
    for folder in CODE_FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "__init__.py", "py.typed"):
        shutil.copy(ROOT / name, source / name)
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    expected = {
        f"covey/{path.relative_to(source).as_posix()}"
        for folder in CODE_FOLDERS
        for path in (source / folder).rglob("*")
        if path.is_file()
    }

    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    command = ("-m", "pip", "wheel", "-qq", *offline, "--wheel-dir", str(tmp_path), str(source))
    subprocess.run([sys.executable, *command], check=True)

    (wheel,) = tmp_path.glob("covey-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in held if name.startswith("covey/")}
    assert code == expected | {"covey/__init__.py", "covey/py.typed"}
    assert {name.split("/")[0].split("-")[0] for name in held} == {"covey"}
