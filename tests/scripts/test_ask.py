"""The command that asks a trained model and its base, on a tiny run's folder."""

import io
import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from eavss.asking import FEW_SHOT, Answer, Pose
from eavss.confidence import KINDS, Calibration
from scripts.ask import load, run, shown
from tests.train.publishing.toy_run import RECIPE, RESULTS, write_adapter

TOY = Calibration(
    by="summed",
    auroc=0.75,
    ece=0.1,
    thresholds={"60": 0.0, "80": -1e9, "90": -1e9},
    curve=[],
    asked=2,
    right=1,
    prompt=FEW_SHOT,
    dataset="nq",
    aurocs=dict.fromkeys(KINDS),
)
STRICT = replace(TOY, dataset="sciq", thresholds=dict.fromkeys(TOY.thresholds, 0.0))


@pytest.fixture(scope="module")
def finished(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ask` needs of a finished run; a threshold of 0 declines everything, and one of -1e9 nothing."""
    folder = tmp_path_factory.mktemp("ask") / "run"
    write_adapter(folder / "adapter", saved_model)
    (folder / "results.json").write_text(json.dumps(RESULTS | {"model": str(saved_model)}))
    (folder / "recipe.yaml").write_text(RECIPE)
    sets = {"nq": asdict(TOY), "sciq": asdict(STRICT)}
    (folder / "confidence.json").write_text(json.dumps(asdict(TOY) | {"sets": sets}))
    return folder


def asked(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> list[str]:
    assert run([str(folder), *words]) == 0
    return capsys.readouterr().out.splitlines()


def verdicts(lines: list[str]) -> list[str]:
    """Return the last words of the lines that answers are on."""
    return [line.split()[-1] for line in lines if line.startswith("  ")]


def test_base_and_trained_model_answer_each_question(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(capsys, finished, "who?", "when?")
    assert [lines[0], lines[3]] == ["who?", "when?"]
    assert [line.split()[0] for line in (*lines[1:3], *lines[4:])] == ["base", "trained", "base", "trained"]
    assert all(" nats  answered" in line for line in (*lines[1:3], *lines[4:]))
    assert lines[1].removeprefix("  base   ") != lines[2].removeprefix("  trained")


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["--keep", "60"], "declined"),
        (["--keep", "90"], "answered"),
        (["--dataset", "nq"], "answered"),
        (["--dataset", "sciq"], "declined"),
    ],
)
def test_the_threshold_is_that_of_the_options(
    words: list[str], verdict: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdicts(asked(capsys, finished, "who?", *words)) == [verdict, verdict]


def test_a_run_without_a_calibration_declines_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("confidence.json"))
    assert verdicts(asked(capsys, tmp_path / "run", "who?")) == ["nats", "nats"]


@pytest.mark.parametrize("typed", ["who?\n when? \n\nwhy?\n", "who?\nwhen?\n", "who?\nwhen?"])
def test_questions_are_read_until_an_empty_line_or_the_end(
    typed: str, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    lines = [line.replace("question: ", "") for line in asked(capsys, finished)]
    assert [line for line in lines if line and not line.startswith("  ")] == ["who?", "when?"]
    assert verdicts(lines) == ["answered"] * 4


def test_a_run_without_a_calibration_asks_as_its_recipe_does(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "confidence.json").unlink()
    (folder / "recipe.yaml").write_text("dataset: nq\nprompt_style: chat\nsystem_prompt: Be brief.\n")
    assert load(folder, None, 80).pose == Pose(None, "Be brief.")


def test_an_empty_answer_is_shown_as_nothing() -> None:
    answers = {"base": Answer("", None, True), "trained": Answer("a\n b", None, False)}
    lines = shown(answers, TOY).splitlines()
    assert [line.split() for line in lines] == [["base", "(nothing)", "declined"], ["trained", "a", "b", "answered"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{finished}", "--web"], "--web: Gradio is not installed; run `pip install gradio`"),
        (["{finished}", "who?", "--keep", "70"], "invalid choice: 70"),
        (["{finished}", "who?", "--dataset", "triviaqa"], "has no calibration on triviaqa; it has nq, sciq"),
        (["{finished}/adapter", "who?"], "is not the folder of a finished run"),
        (["{finished}/none", "who?"], "is not the folder of a finished run"),
        ([], "the following arguments are required: run"),
    ],
)
def test_a_users_mistake_is_one_line(
    words: list[str],
    message: str,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as where it is not installed
    assert run([word.format(finished=finished) for word in words]) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_run_without_its_adapter_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("adapter"))
    assert run([str(tmp_path / "run"), "who?"]) == 2
    assert "error: no adapter in" in capsys.readouterr().err


def test_a_strangers_recipe_does_not_run_code(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text()) | {"trust_remote_code": True}
    (tmp_path / "run/recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run([str(tmp_path / "run"), "who?"]) == 2
    assert "trust_remote_code is true; say --trust_remote_code" in capsys.readouterr().err
