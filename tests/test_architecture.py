"""Which package may import which (docs/architecture.md), read from the sources."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "eavss", "train", "scripts", "tests")
MAY_NOT_IMPORT = {
    "data": {"eavss", "train", "scripts", "tests"},
    "eavss": {"data", "train", "scripts", "tests"},
    "train": {"scripts", "tests"},
    "scripts": {"tests"},
    "tests": set(),
}
# Launching a script puts its folder first on sys.path, where these would be found instead of the libraries.
LIBRARIES = {"datasets", "peft", "evaluate", "types", "torch", "transformers", "trl", "deepspeed", "accelerate"}
SHADOWING = LIBRARIES | set(PACKAGES) | sys.stdlib_module_names
SOURCES = sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imports(source: str) -> list[tuple[str, int]]:
    """The modules that a source names in its imports, wherever they stand, each with its level (0 is absolute)."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def test_imports_are_read_wherever_they_stand() -> None:
    source = "import a.b, c\nfrom d import e\nfrom . import f\ndef g():\n    from .h import i\n"
    assert sorted(imports(source)) == [("", 1), ("a.b", 0), ("c", 0), ("d", 0), ("h", 1)]


def test_every_package_has_sources() -> None:
    assert {path.parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    found = imports((ROOT / path).read_text(encoding="utf-8"))
    assert {name.partition(".")[0] for name, _ in found} & MAY_NOT_IMPORT[path.parts[0]] == set()


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_are_absolute(path: Path) -> None:
    assert [name for name, level in imports((ROOT / path).read_text(encoding="utf-8")) if level] == []


@pytest.mark.parametrize("folder", ["train", "scripts"])
def test_no_file_of_a_launched_folder_hides_a_library(folder: str) -> None:
    stems = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert stems & SHADOWING == set()
