"""README, CONTRIBUTING and docs/: links resolve, what they name exists, and their commands use options that exist."""

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import (
    ask,
    calibrate,
    check_data,
    compare_cuts,
    compare_declining,
    compare_healing,
    compare_selectors,
    compare_with_trl,
    cut_layers,
    drill_hosts,
    drills,
    embedded_model,
    evaluate_runs,
    export_checkpoint,
    family_table,
    parameter_activation,
    profile_own_answers,
    rewire_layers,
    run_benchmarks,
    score_layers,
    summarise_runs,
    trigger_answers,
    write_pairs,
)
from train import contrastive, heal
from train.recipe.arguments import REPOSITORY
from train.recipe.parse import parse

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMAND_PAGES = ("running.md", "data.md", "pruning.md", "layers.md", "reliability.md", "models.md")
WITH_COMMANDS = [REPOSITORY / "README.md", *(REPOSITORY / "docs" / name for name in COMMAND_PAGES)]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_PATH = re.compile(r"(?<![\w./-])((?:scripts|train|recipes|tests|docs|data|eavss)/[\w./-]*\w/?)(?![\w*])")
NAMED_OBJECT = re.compile(r"`((?:train|data|eavss|scripts)(?:\.\w+)+)`")
README_LIMIT = 6000


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    """The prose: no fenced blocks, no indented ones."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(text_of(page)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two words\n## 2026-11-21: a `name`, and more\n```sh\n# no heading\n```\n", encoding="utf-8")
    assert anchors(page) == {"two-words", "2026-11-21-a-name-and-more"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    for link in LINK.findall(without_code(text_of(page))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_exist(page: Path) -> None:
    written = re.sub(r"\]\([^)]*\)", "]", text_of(page))
    missing = [path for path in NAMED_PATH.findall(written) if "SET" not in path and not (REPOSITORY / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_objects_exist(page: Path) -> None:
    for name in NAMED_OBJECT.findall(text_of(page)):
        assert resolves(name), name


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert resolves("eavss.selectors.Selection.lowest")
    assert not resolves("eavss.selectors.Selection.highest")
    assert not resolves("eavss.no_such_module")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each indented command line that starts the job or a script, continued lines joined."""
    text = text_of(page).replace("\\\n", " ")
    for line in re.findall(r"^    ((?:python|deepspeed) .*)$", text, flags=re.MULTILINE):
        words = shlex.split(line)
        if any(word.endswith(".py") for word in words) and "..." not in words:
            yield words


class Parsed(Exception):  # noqa: N818 - not an error
    """Stops a script once its own options are parsed; carries the words that are left over for the recipe."""

    def __init__(self, left: list[str]) -> None:
        self.left = left


def words_left(run: Callable[[list[str]], Any], words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parse a command by the script's own parser, and return the words that it leaves over for the recipe."""
    known = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        raise Parsed(known(self, args, namespace)[1])

    def parse_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        left = known(self, args, namespace)[1]
        assert left == []
        raise Parsed(left)

    with monkeypatch.context() as patch:
        patch.setattr("sys.argv", ["script", *words])
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "parse_intermixed_args", parse_args)
        with pytest.raises(Parsed) as parsed:
            run(words)
    return parsed.value.left


SCRIPTS: dict[str, Callable[[list[str]], Any]] = {
    "drills.py": drills.run,
    "drill_hosts.py": drill_hosts.run,
    "compare_declining.py": compare_declining.run,
    "compare_selectors.py": compare_selectors.run,
    "compare_with_trl.py": compare_with_trl.run,
    "embedded_model.py": lambda _words: embedded_model.main(),
    "ask.py": ask.run,
    "calibrate.py": calibrate.run,
    "check_data.py": check_data.run,
    "evaluate_runs.py": evaluate_runs.run,
    "export_checkpoint.py": export_checkpoint.run,
    "family_table.py": family_table.run,
    "parameter_activation.py": parameter_activation.run,
    "profile_own_answers.py": profile_own_answers.run,
    "cut_layers.py": cut_layers.run,
    "compare_cuts.py": compare_cuts.run,
    "compare_healing.py": compare_healing.run,
    "heal.py": heal.run,
    "rewire_layers.py": rewire_layers.run,
    "run_benchmarks.py": run_benchmarks.run,
    "score_layers.py": score_layers.run,
    "trigger_answers.py": trigger_answers.run,
    "summarise_runs.py": summarise_runs.run,
    "write_pairs.py": write_pairs.run,
}
COMMANDS = [words for page in WITH_COMMANDS for words in commands(page)]


def test_the_pages_hold_commands_of_the_job_and_of_the_scripts() -> None:
    started = {Path(word).name for words in COMMANDS for word in words if word.endswith(".py")}
    assert started >= {"contrastive.py", *SCRIPTS} - {"embedded_model.py"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_use_options_that_exist(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script = next(number for number, word in enumerate(words) if word.endswith(".py"))
    launched, options = Path(words[script]).name, words[script + 1 :]
    monkeypatch.chdir(REPOSITORY)
    if launched == Path(contrastive.__file__).name:
        parse(options)
        return
    left = words_left(SCRIPTS[launched], options, monkeypatch)
    if left:
        parse(left if {"--model_name_or_path", "--config"} & set(left) else ["--model_name_or_path", "m", *left])


def test_an_option_that_does_not_exist_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        words_left(export_checkpoint.run, ["outputs/demo", "--output_dir", "export", "--merged"], monkeypatch)


def test_the_readme_is_one_page() -> None:
    assert len((REPOSITORY / "README.md").read_bytes()) <= README_LIMIT
