"""The shape of the sources (docs/architecture.md): which room imports which, how long things are, where tests are."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "eavss", "train", "scripts", "tests")
MAY_NOT_IMPORT = {
    "data": {"eavss", "train", "scripts", "tests"},
    "eavss": {"data", "train", "scripts", "tests"},
    "train": {"scripts", "tests"},
    "scripts": {"tests"},
    "tests": set(),
}
# The rooms of `train`, floor by floor: a room imports from lower floors only. A module of train/ is a room of its own.
FLOORS = (
    {"runtime", "losses"},
    {"recipe", "resuming"},
    {"model"},
    {"batching", "inputs"},
    {"base", "evaluation"},
    {"trainer", "plan", "selection", "healing", "declining"},
    {"publishing"},
    {"training"},
    {"comparison", "contrastive", "heal"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Launching a script puts its folder first on sys.path, where these would be found instead of the libraries.
LIBRARIES = {"datasets", "peft", "evaluate", "types", "torch", "transformers", "trl", "deepspeed", "accelerate"}
SHADOWING = LIBRARIES | set(PACKAGES) | sys.stdlib_module_names

# Files that users start. What stands before `answer_early` in them answers a mistake, so it imports nothing that takes
# long.
SCRIPTS = [f"scripts/{path.name}" for path in sorted((ROOT / "scripts").glob("*.py"))]
PROGRAMS = ["train/contrastive.py", "train/heal.py", *SCRIPTS]
SLOW = {*LIBRARIES - {"types"}, "scipy", "sklearn", "numpy", "pyarrow", "matplotlib", "huggingface_hub"}
EARLY = """
import sys
for path in sys.argv[2:]:
    text = open(path, encoding="utf-8").read()
    early, called, _ = text.partition("\\nif __name__ == \\"__main__\\":\\n    answer_early(")
    exec(compile(early, path, "exec"), {"__name__": path, "__file__": path})
    found = sorted(set(sys.argv[1].split()) & sys.modules.keys())
    if found or not called:
        sys.exit(f"{path} imports {found} before answer_early")
"""

FUNCTION_LINES = 50
FILE_LINES = 250
POSITIONAL = 5
TAKE_ANY_NUMBER = {"print", "max", "min", "zip"}

SOURCES = sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
SHIPPED = [path for path in SOURCES if path.parts[0] != "tests"]

# Files where `dict[str, Any]` stands for an object that is read from or written to JSON, YAML or Parquet.
JSON_FILES = {
    "data/examples.py": "a line of training_examples.jsonl",
    "data/files.py": "rows of a data set",
    "data/text.py": "rows of a data set",
    "scripts/benchmarks/benchmark_training.py": "the figures of --json",
    "scripts/compare_with_trl.py": "the figures of --json",
    "scripts/samples/schemas.py": "rows of a data set",
    "train/model/adapter_files.py": "adapter_config.json",
    "train/model/loading.py": "activation_checkpointing_kwargs, as TrainingArguments types them",
    "train/publishing/checkpoints.py": "adapter_config.json",
    "train/recipe/parse.py": "a recipe",
    "train/recipe/trainer_arguments.py": "a recipe",
    "train/recipe/trainer_fields.py": "names in transformers' source",
    "train/recipe/value_types.py": "a recipe",
    "train/runtime/records.py": "any JSON that a run keeps",
    "train/healing/trainer.py": "a batch, as transformers.Trainer types it",
    "train/resuming/manifest.py": "a recipe",
    "train/trainer.py": "a batch, as transformers.Trainer types it",
}
# Modules without a test file of their own, and why.
TESTED_ELSEWHERE = {
    **dict.fromkeys(
        [f"data/{name}.py" for name in ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")],
        "tests/data/test_sets.py holds all sets to the same rules",
    ),
    "train/recipe/ranges.py": "tests/train/recipe/test_arguments.py",
    "train/recipe/trainer_arguments.py": "tests/train/recipe/test_arguments.py",
    "train/runtime/hub_client.py": "tests/train/publishing/test_hub_client.py",
    "train/recipe/plain_values.py": "tests/hostile/test_recipes.py",
    "train/recipe/trainer_checks.py": "tests/hostile/test_recipes.py",
    "train/declining/asking.py": "tests/jobs/test_job.py",
    "train/model/lora_counts.py": "tests/train/model/test_lora.py",
    "train/comparison/matrix.py": "tests/scripts/test_compare_selectors.py",
    "train/inputs.py": "tests/train/test_contrastive.py",
    "train/runtime/libraries.py": "tests/train/runtime/test_command.py",
    "train/model/adapter_trainer.py": "tests/train/test_trainer.py and tests/train/healing/test_trainer.py",
    "eavss/chat.py": "tests/train/batching/test_encoding.py",
    "data/dataset.py": "types alone; tests/data/test_sixth_set.py makes one",
    "data/errors.py": "an exception class",
    "eavss/errors.py": "an exception class",
    "eavss/choices.py": "words alone",
    "train/runtime/errors.py": "exception classes",
    "eavss/records.py": "types alone",
    "train/evaluation/records.py": "types alone",
    "train/recipe/settings.py": "types alone",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imports(source: ast.Module) -> list[tuple[str, int]]:
    """The modules that a source names in its imports, wherever they stand, each with its level (0 is absolute)."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            submodules = [(f"{module}.{alias.name}", 0) for alias in node.names if f"{module}.{alias.name}" in MODULES]
            found += submodules or [(module, node.level)]
    return found


def imported_modules(path: Path) -> set[str]:
    """The modules of this repository that a source imports."""
    return {name for name, _ in imports(tree(path)) if name in MODULES}


def room(module: str) -> str:
    """Return the room of a module of `train`: its folder, or the module itself where it stands in train/."""
    return module.split(".")[1]


def nodes(kind: type, paths: list[Path]) -> Iterator[tuple[Path, Any]]:
    """Find every node of one kind, each with the file it is in."""
    for path in paths:
        for node in ast.walk(tree(path)):
            if isinstance(node, kind):
                yield path, node


@cache
def variadic(path: Path) -> set[str]:
    """Return the names of the functions that a file may call with any number of positional arguments."""
    definitions = nodes(ast.FunctionDef, [path, Path("tests/toys.py")])
    return TAKE_ANY_NUMBER | {function.name for _, function in definitions if function.args.vararg}


def test_imports_are_read_wherever_they_stand() -> None:
    source = (
        "import a.b, c\nfrom d import e\nfrom . import f\nfrom train import losses\ndef g():\n    from .h import i\n"
    )
    names = [("", 1), ("a.b", 0), ("c", 0), ("d", 0), ("h", 1), ("train.losses", 0)]
    assert sorted(imports(ast.parse(source))) == names


def test_every_package_has_sources() -> None:
    assert {path.parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    upward = [
        f"{path} imports {name}"
        for path in SOURCES
        if path.parts[0] == package
        for name, _ in imports(tree(path))
        if name.partition(".")[0] in MAY_NOT_IMPORT[package]
    ]
    assert upward == []


def test_imports_are_absolute() -> None:
    assert [f"{path}: {name}" for path in SOURCES for name, level in imports(tree(path)) if level] == []


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in MODULES if name.startswith("train.")} == FLOOR.keys()


@pytest.mark.parametrize("importer", sorted(FLOOR))
def test_a_room_imports_from_lower_floors_only(importer: str) -> None:
    upward = [
        f"{path} imports {name}"
        for module, path in MODULES.items()
        if module.startswith("train.") and room(module) == importer
        for name in imported_modules(path)
        if name.startswith("train.") and room(name) != importer and FLOOR[room(name)] >= FLOOR[importer]
    ]
    assert upward == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """`prepare` raises CycleError, which names the cycle."""
    TopologicalSorter({name: imported_modules(path) - {name} for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("folder", ["train", "scripts"])
def test_no_file_of_a_launched_folder_hides_a_library(folder: str) -> None:
    stems = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert stems & SHADOWING == set()


def test_a_program_answers_before_it_imports_what_takes_long() -> None:
    words = [" ".join(SLOW), *PROGRAMS]
    done = subprocess.run([sys.executable, "-c", EARLY, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


def test_functions_are_short() -> None:
    long = {
        f"{path} {node.name}"
        for kind in (ast.FunctionDef, ast.AsyncFunctionDef)
        for path, node in nodes(kind, SOURCES)
        if node.end_lineno - node.lineno >= FUNCTION_LINES
    }
    assert long == set()


def test_calls_with_many_arguments_name_them() -> None:
    """Functions of the same file or of tests/toys.py that take any number of values (`*words`) aside."""
    positional = {
        f"{path} {ast.unparse(call.func)}"
        for path, call in nodes(ast.Call, SOURCES)
        if len(call.args) > POSITIONAL and ast.unparse(call.func).rpartition(".")[2] not in variadic(path)
    }
    assert positional == set()


def test_files_are_short() -> None:
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in SHIPPED}
    assert {str(path) for path, count in lines.items() if count > FILE_LINES} == set()


def test_untyped_dictionaries_stand_for_json_only() -> None:
    untyped = {str(path) for path, node in nodes(ast.Subscript, SHIPPED) if ast.unparse(node) == "dict[str, Any]"}
    assert untyped == JSON_FILES.keys()


def test_every_module_has_its_tests_where_one_looks_for_them() -> None:
    modules = [path for path in SHIPPED if path.parts[0] != "scripts" and path.name != "__init__.py"]
    untested = {str(path) for path in modules if not (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()}
    assert untested == TESTED_ELSEWHERE.keys()


def test_a_commit_runs_what_make_quality_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nquality: install\n")[2]
    commands = [line.strip() for line in takewhile(lambda line: line.startswith("\t"), recipe.splitlines())]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == commands
    assert {hook["language"] for hook in hooks} == {"system"}
