"""A sixth data set is one file and one line: the worked example of CONTRIBUTING.md, run as it stands."""

import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import sets
from data.dataset import DataSet
from data.sources import DataSource
from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation.benchmarks import leading_values, load_benchmarks
from train.evaluation.evaluate import evaluate, mean_metrics
from train.evaluation.likelihood import AnswerScorer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rivers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataSet:
    """The documented file, written as a module and entered among the sets as its documented line would enter it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "SET = DataSet(" in block]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "rivers.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "rivers", raising=False)
    import rivers

    monkeypatch.setitem(sets.SETS, "rivers", rivers.SET)
    known: DataSet = rivers.SET
    return known


@pytest.fixture
def mirror(rivers: DataSet, tmp_path: Path) -> Path:
    """Its rows in Hub layout: twelve questions to train on, five to evaluate on."""
    folder = tmp_path / "mirror" / rivers.hub_id / rivers.config
    folder.mkdir(parents=True)
    for split, numbers in ((rivers.train_split, range(12)), (rivers.validation_split, range(20, 25))):
        rows = [
            {"question": f"Where does river {n} end?", "right": f"sea {n}", "wrong": [f"lake {n}", f"bay {n}"]}
            for n in numbers
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return tmp_path / "mirror"


def test_the_documented_line_is_where_the_sets_are_listed() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert '`"rivers",` in `_MODULES` of `data/sets.py`' in text
    assert tuple(sets.SETS) == sets._MODULES


def test_its_rows_are_loaded(rivers: DataSet, mirror: Path) -> None:
    split = DataSource(str(mirror)).split("rivers")
    assert (len(split.train), len(split.evaluation)) == (12, 5)
    assert split.train[0].hallucinated == ("lake 0", "bay 0")


def test_a_recipe_names_it_and_it_is_evaluated_by_its_own_metric(mirror: Path, tmp_path: Path) -> None:
    words = ("--dataset", "rivers", "--evaluate_on", "rivers", "--datasets_root", str(mirror))
    args, _ = arguments(tmp_path, *words, "--retention", "none")
    assert args.evaluation.sets == ("rivers",)
    benchmarks = load_benchmarks(args.evaluation, seed=0)
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    found = evaluate(model, tokenizer, benchmarks, args.evaluation, "")
    means = mean_metrics(found.records["rivers"])
    assert set(means) == {"contrast_accuracy", "acc", "acc_norm"}
    scorer = AnswerScorer(model, Encoder(tokenizer, "plain", 512), 512)
    values = leading_values(scorer, benchmarks[0], "")
    assert sum(values) / len(values) == pytest.approx(means["acc"])


def test_its_harness_prompt_is_used(rivers: DataSet, mirror: Path) -> None:
    example = DataSource(str(mirror)).split("rivers").train[3]
    assert Encoder(tiny_tokenizer(), "harness", 512).prompt(example) == "Q: Where does river 3 end?\nA:"
