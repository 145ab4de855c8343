"""The fields of transformers' TrainingArguments, read from its source, since importing the class takes seconds.

The installed version's own source is read, so nothing has to be kept in step with it. What is not written there as a
plain value, such as a default that depends on the version of torch, is left out here; `train.recipe.trainer_arguments`
makes the class itself from what was given. Where the source has another form, the class is imported.
"""

import ast
import builtins
import dataclasses
import importlib.util
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

# Where the class stands, the last, and the choices that its fields name.
_SOURCES = ("debug_utils.py", "trainer_utils.py", "training_args.py")
# What the source's classes of named choices derive from.
_CHOICES = "ExplicitEnum"


@cache
def trainer_fields() -> type[Any]:
    """Return a dataclass with the names, types, defaults and help of `transformers.TrainingArguments`.

    A choice is an enum of the same values. A class of the library that is no choice stands as an empty one, which no
    value of a recipe is an instance of.
    """
    folder = _folder()
    try:
        trees = [ast.parse((folder / name).read_text("utf-8")) for name in _SOURCES]
        return _read_fields(trees)
    except (OSError, SyntaxError, LookupError, ValueError, TypeError):
        from transformers import TrainingArguments

        return cast(type[Any], TrainingArguments)


@cache
def argument_parser() -> type[Any]:
    """Return `transformers.HfArgumentParser`, loaded by itself, since the whole library takes longer."""
    try:
        module = _module(_folder() / "hf_argparser.py")
    except (OSError, ImportError):
        from transformers import HfArgumentParser

        return HfArgumentParser
    return cast(type[Any], module.HfArgumentParser)


def _folder() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ImportError("transformers is not installed")
    return Path(spec.origin).parent


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"train.recipe.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read_fields(trees: list[ast.Module]) -> type[Any]:
    """Make the dataclass from the sources, that of the class last.

    Raises:
        LookupError, ValueError, TypeError: the sources have another form.
    """
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    known: dict[str, Any] = {"Any": Any, "Literal": Literal}
    for name, node in classes.items():
        if [ast.unparse(base) for base in node.bases] == [_CHOICES]:
            known[name] = _choices(node)
    made = []
    for line in classes["TrainingArguments"].body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(line.value, ast.Call):
            made.append((line.target.id, _hint(line.annotation, known), _field(line.value)))
    return dataclasses.make_dataclass("TrainingArguments", made)


def _choices(node: ast.ClassDef) -> Any:
    members = [each for each in node.body if isinstance(each, ast.Assign)]
    return Enum(node.name, {ast.unparse(each.targets[0]): ast.literal_eval(each.value) for each in members})


def _hint(annotation: ast.expr, known: dict[str, Any]) -> Any:
    """Return the type that an annotation names."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    strangers = {name: type(name, (), {}) for name in names - known.keys() if not hasattr(builtins, name)}
    return eval(compile(ast.Expression(annotation), "TrainingArguments", "eval"), known | strangers)


def _field(call: ast.Call) -> Any:
    """Return the field that a call of `dataclasses.field` makes, as far as its values are plain."""
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    metadata = cast(ast.Dict, values["metadata"])
    known = {_plain(key): _plain(value) for key, value in zip(metadata.keys, metadata.values, strict=True) if key}
    known = {key: value for key, value in known.items() if value is not None}
    if "default_factory" in values:
        return dataclasses.field(default_factory=list, metadata=known)
    return dataclasses.field(default=_plain(values["default"]), metadata=known)


def _plain(node: ast.expr) -> Any:
    """Return the value that an expression writes out, or None where it has to be computed."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
