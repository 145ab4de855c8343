"""The comparison as a user runs it, on a tiny saved model and the samples: resumed, and never run twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eavss.selectors import Selection
from scripts.compare_selectors import run
from tests.toys import BLOCKS
from tests.train.comparison import toy_cells
from train.batching.encoding import Encoder
from train.comparison.matrix import Matrix
from train.comparison.trials import Trials
from train.evaluation.benchmarks import leading_values, load_benchmarks
from train.evaluation.likelihood import AnswerScorer
from train.recipe.arguments import REPOSITORY
from train.recipe.parse import parse

TWO_RATES = ("--learning_rates", "1e-3", "3e-3")
NO_REPLAY = ("--replay_weight", "0")  # saves the texts that the model would write


def words(model: Path, cells: Path, *more: str) -> list[str]:
    common = ["--model_name_or_path", str(model), "--datasets_root", "samples", "--dtype", "float32"]
    small = ["--train_questions", "12", "--score_questions", "12", "--eval_limit", "10", "--select_fraction", "0.5"]
    fast = ["--steps", "3", "--learning_rates", "3e-3", "--per_device_train_batch_size", "4"]
    return [*common, *small, *fast, "--cells", str(cells), *more]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_matrix_is_run_resumed_and_summed_up(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    original = Trials.run
    monkeypatch.setattr(Trials, "run", lambda self, layers, *rest: runs.append(layers) or original(self, layers, *rest))  # type: ignore[func-returns-value]
    cells = tmp_path / "cells.jsonl"
    choice = ["--datasets", "sciq", "--selectors", "last", "middle", "all", "random:0", *TWO_RATES]
    assert run(words(saved_model, cells, *choice, "--seeds", "0")) == 0
    grid, found = read(cells)[:4], read(cells)[4:]
    assert [(cell["budget"], len(cell["layers"])) for cell in grid] == [
        ("grid", 2),
        ("grid", 2),
        ("grid", 4),
        ("grid", 4),
    ]
    assert [(cell["selector"], cell["budget"]) for cell in found] == [
        (selector, budget) for selector in ("last", "middle", "all", "random:0") for budget in ("steps", "flops")
    ]
    last, middle, everything = found[0:2], found[2:4], found[4:6]
    assert [cell["layers"] for cell in (last[0], middle[0], everything[0])] == [[2, 3], [1, 2], list(range(BLOCKS))]
    assert last[0]["flops"] == last[1]["flops"]
    assert [cell["steps"] for cell in last] == [3, 3]
    assert middle[1]["steps"] == everything[1]["steps"] - 1 == 2 or middle[1]["steps"] <= 2
    for cell in found:
        assert cell["gain"] == pytest.approx(sum(cell["gains"]) / len(cell["gains"]), abs=1e-4)
        assert len(cell["gains"]) == 10
        assert cell["flops"] <= last[0]["flops"] or cell["budget"] == "steps"
        assert cell["learning_rate"] in (1e-3, 3e-3)
    assert "| sciq | steps | last |" in capsys.readouterr().out

    before = len(runs)
    figures, picture = tmp_path / "figures.json", tmp_path / "gain.png"
    assert run(words(saved_model, cells, *choice, "--seeds", "0", "--json", str(figures), "--plot", str(picture))) == 0
    assert len(runs) == before
    record = json.loads(figures.read_text())
    assert record["cells"] == found
    assert (
        run(words(saved_model, cells, "--datasets", "sciq", "--selectors", "probe", *TWO_RATES, "--report_only")) == 0
    )
    assert len(runs) == before
    assert "| sciq | steps | last |" in capsys.readouterr().out
    assert {row["selector"] for row in record["summary"]} == {"last", "middle", "all", "random"}
    assert picture.read_bytes().startswith(b"\x89PNG")

    fewer = ["--datasets", "sciq", "--selectors", "last", "middle", "all", *TWO_RATES]
    assert run(words(saved_model, cells, *fewer, "--seeds", "0", "1")) == 0
    assert len(runs) == before + 3


def test_before_is_the_base_without_an_adapter(saved_model: Path, tmp_path: Path) -> None:
    """And a gain is what the adapter adds to it, to the digits that are kept."""
    cells = tmp_path / "cells.jsonl"
    given = words(saved_model, cells, "--datasets", "truthfulqa", "--selectors", "last", "--seeds", "5", *NO_REPLAY)
    assert run([*given, "--lora_r", "64"]) == 0
    args, _ = parse(
        ["--config", str(REPOSITORY / "recipes/truthfulqa.yaml"), "--output_dir", str(tmp_path), *given[:4]]
    )
    settings = replace(args.evaluation, sets=("truthfulqa",), limit=10)
    base = AutoModelForCausalLM.from_pretrained(saved_model, dtype=torch.float32)
    scorer = AnswerScorer(base, Encoder(AutoTokenizer.from_pretrained(saved_model), "plain", 512), 512)
    expected = leading_values(scorer, load_benchmarks(settings, 0)[0], "")
    found = next(cell for cell in read(cells) if cell["budget"] == "steps")
    assert found["before"] == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    assert found["gain"] != 0


@pytest.mark.slow
def test_choices_of_the_same_blocks_share_a_run(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trials, "selection", lambda self, name: Selection((2, 3), name))
    cells = tmp_path / "cells.jsonl"
    choice = ["--datasets", "nq", "--selectors", "probe", "hsav", "--seeds", "0", *NO_REPLAY]
    assert run(words(saved_model, cells, *choice)) == 0
    probe, hsav = [[c for c in read(cells) if c["selector"] == name] for name in ("probe", "hsav")]
    ours = ("selector", "split_half_tau")
    assert [{k: v for k, v in c.items() if k not in ours} for c in probe] == [
        {k: v for k, v in c.items() if k not in ours} for c in hsav
    ]
    assert (probe[0]["split_half_tau"], type(hsav[0]["split_half_tau"])) == (None, float)
    assert {cell["budget"] for cell in read(cells)} == {"steps", "flops"}  # one rate needs no grid


@pytest.mark.slow
def test_listed_blocks_take_a_rate_of_their_own_number(saved_model: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.jsonl"
    given = words(saved_model, cells, "--datasets", "nq", "--seeds", "0", *NO_REPLAY, *TWO_RATES)
    assert run([*given, "--selectors", "layers:3,0,2", "layers:1,2"]) == 0
    grid = {cell["selector"] for cell in read(cells) if cell["budget"] == "grid"}
    assert grid == {"random:1000", "layers:3,0,2"}
    layers = {cell["selector"]: cell["layers"] for cell in read(cells) if cell["budget"] == "steps"}
    assert layers == {"layers:3,0,2": [0, 2, 3], "layers:1,2": [1, 2]}


@pytest.mark.slow
def test_the_base_is_left_as_it_was(saved_model: Path, tmp_path: Path) -> None:
    """The same choice after another one gains the same: nothing of an adapter stays."""
    alone, after = tmp_path / "alone.jsonl", tmp_path / "after.jsonl"
    assert run(words(saved_model, alone, "--datasets", "nq", "--selectors", "last", "--seeds", "0")) == 0
    assert run(words(saved_model, after, "--datasets", "nq", "--selectors", "middle", "last", "--seeds", "0")) == 0
    gains = [next(c["gains"] for c in read(path) if c["selector"] == "last") for path in (alone, after)]
    assert gains[0] == gains[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--selectors", "best"], "--selectors: 'best' should be one of eavss:contrast"),
        (["--selectors", "layers:3,9"], "layers: [9] lie outside the model's blocks, which are 0 to 3"),
        (["--selectors", "layers:3-4"], "--selectors: 'layers:3-4' should be one of eavss:contrast"),
        (["--selectors", "eavss"], "--selectors: 'eavss' should be one of eavss:contrast"),
        (["--datasets", "demo2"], "--datasets: there is no recipe for 'demo2'"),
        (["--seed", "3"], "--seed cannot be set, since the comparison sets it"),
        (["--steps", "0"], "--steps: 0 should be 1 or more"),
        (["--lora_alfa", "3"], "unknown key 'lora_alfa'; did you mean 'lora_alpha'?"),
    ],
)
def test_a_users_mistake_is_one_line(
    more: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(saved_model, tmp_path / "cells.jsonl")
    assert run([word for word in given if word not in ("--steps", "3") or "--steps" not in more] + more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cells.jsonl").exists()


def test_what_cannot_be_trained_is_refused_before_anything_is_scored(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Matrix, "run", lambda _self: pytest.fail("a trial was started"))
    given = words(saved_model, tmp_path / "cells.jsonl", "--datasets", "nq", "--lora_target_modules", "lm_head")
    assert run(given) == 2
    assert "lora_target_modules: ['lm_head'] should be among" in capsys.readouterr().err


def test_cells_of_other_settings_or_no_cells_are_left_alone(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = tmp_path / "cells.jsonl"
    line = json.dumps({"settings": "other", "dataset": "nq", "budget": "grid"}) + "\n"
    for text, message in ((line, "were made with other settings"), ("notes\n", "holds something else than cells")):
        cells.write_text(text)
        assert run(words(saved_model, cells, "--datasets", "nq", "--selectors", "last")) == 2
        assert message in capsys.readouterr().err
        assert cells.read_text() == text


def test_a_report_takes_cells_of_any_settings(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new version may have changed a recipe since they were measured."""
    cells = tmp_path / "cells.jsonl"
    made = toy_cells.cell("middle", 0, [0.5]), toy_cells.cell("probe", 0, [1.0])
    cells.write_text("".join(json.dumps(each) + "\n" for each in made))
    assert run(words(saved_model, cells, "--datasets", "nq", "--report_only")) == 0
    assert "| steps | probe | nq | +50.0 | +50.0 to +50.0 |" in capsys.readouterr().out
    assert run(words(saved_model, cells, "--datasets", "nq", "--selectors", "middle")) == 2
