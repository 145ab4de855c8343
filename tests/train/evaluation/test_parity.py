"""Every definition against lm-evaluation-harness, item by item: its own tasks, pointed at local rows.

The rows are the samples that ship, or those of EAVSS_PARITY_ROOT where that is set. Where two choices are equally
likely, the harness's order decides; the tests name such ties instead of passing them over.
"""

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from sklearn.metrics import average_precision_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from data import nq, sciq, triviaqa, truthfulqa, wikiqa
from data.examples import wrong_answers
from data.places import SAMPLES
from scripts.benchmarks.benchmark_evaluation import TASKS, local_task
from train.batching.encoding import Encoder
from train.evaluation.benchmarks import Benchmark, Question
from train.evaluation.evaluate import Evaluator
from train.evaluation.free_answers import FreeAnswers
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.records import QuestionRecord
from train.recipe.arguments import REPOSITORY

pytestmark = pytest.mark.slow
ROOT = Path(os.environ.get("EAVSS_PARITY_ROOT", SAMPLES))
MODEL = REPOSITORY / "outputs/models/smollm2-135m-instruct"
LIMIT = 8  # questions a set, each of them compared
TOLERANCE = 1e-3
Sample = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def rows_of(module: ModuleType) -> Path:
    return ROOT / module.SET.hub_id / module.SET.config / f"{module.SET.validation_split}.parquet"


def their_samples(task: Any, model: Any, tokenizer: Any, batch_size: int = 8) -> list[Sample]:
    """The harness's record of each of its first documents."""
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    tasks = {"tasks": {task.config.task: task}, "groups": {}, "group_map": {}}
    found = evaluate(lm, tasks, limit=LIMIT, bootstrap_iters=0)
    return sorted(found["samples"][task.config.task], key=lambda sample: sample["doc_id"])


def our_records(module: ModuleType, model: Any, tokenizer: Any, free: bool = False) -> list[QuestionRecord]:
    """Our records of the set's first questions, in the harness's style."""
    examples = module.examples(pq.read_table(rows_of(module)).to_pylist())[:LIMIT]
    # NQ and TriviaQA have no wrong answers, and none is compared here.
    examples = [e if e.hallucinated else replace(e, wrong_answers=wrong_answers(["?"], "similar")) for e in examples]
    questions = [Question(example, example.truthful[0], example.hallucinated[0], example) for example in examples]
    encoder = Encoder(tokenizer, "harness", 2048)
    answers = FreeAnswers(model, encoder, 2048) if free else None
    evaluator = Evaluator(AnswerScorer(model, encoder, 2048), hidden=False, free=answers)
    return evaluator.run([Benchmark(module.SET.name, module.SET.name, "validation", questions)], "ours")[
        module.SET.name
    ]


def logprobs(sample: Sample) -> list[float]:
    return [float(response[0][0]) for response in sample["resps"]]


def ties(values: list[float]) -> int:
    """How many values are within the tolerance of the highest, besides itself: there argmax may fall either way."""
    return sum(value > max(values) - 2 * TOLERANCE for value in values) - 1


def test_truthfulqa(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The harness's MC1 task judges its own log-probabilities of MC2's requests, since MC1's choices are among them."""
    samples = their_samples(
        local_task(TASKS / "truthfulqa/truthfulqa_mc2.yaml", truthfulqa.SET, ROOT, tmp_path), model, tokenizer
    )
    mc1 = local_task(TASKS / "truthfulqa/truthfulqa_mc1.yaml", truthfulqa.SET, ROOT, tmp_path)
    records = our_records(truthfulqa, model, tokenizer)
    assert len(records) == LIMIT
    for sample, record in zip(samples, records, strict=True):
        doc = sample["doc"]
        assert doc["question"] == record["question"]
        theirs = dict(zip(doc["mc2_targets"]["choices"], logprobs(sample), strict=True))
        ours = {choice["text"]: choice["logprob"] for choice in record["choices"]}
        assert ours == pytest.approx(theirs, abs=TOLERANCE)
        assert record["metrics"]["mc2"] == pytest.approx(sample["acc"], abs=TOLERANCE)
        chosen = [theirs[choice] for choice in doc["mc1_targets"]["choices"]]
        judged = mc1.process_results(doc, [(value, False) for value in chosen])
        assert record["metrics"]["mc1"] == judged["acc"] or ties(chosen), f"tie in {doc['question']!r}"


def test_sciq_open_book(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    samples = their_samples(local_task(TASKS / "sciq/sciq.yaml", sciq.SET, ROOT, tmp_path), model, tokenizer)
    encoder = Encoder(tokenizer, "harness", 2048)
    examples = sciq.examples(pq.read_table(rows_of(sciq)).to_pylist())[:LIMIT]
    sequences = [
        encoder.after_text(sciq.open_book_prompt(example), f" {answer}")
        for example in examples
        for answer in (*example.hallucinated, *example.truthful)
    ]
    scores = iter(AnswerScorer(model, encoder, 2048).score_sequences(sequences, "ours"))
    records = our_records(sciq, model, tokenizer)
    assert len(records) == len(samples) == LIMIT
    for sample, example, record in zip(samples, examples, records, strict=True):
        theirs = logprobs(sample)
        assert [next(scores).total for _ in theirs] == pytest.approx(theirs, abs=TOLERANCE)
        choices = (*example.hallucinated, *example.truthful)
        per_character = [value / len(choice) for value, choice in zip(theirs, choices, strict=True)]
        for metric, values in (("acc", theirs), ("acc_norm", per_character)):
            assert record["metrics"][f"open_book_{metric}"] == sample[metric] or ties(values), example.question


@pytest.mark.parametrize(
    ("module", "definition"),
    [(nq, "nq_open/nq_open.yaml"), (triviaqa, "triviaqa/default.yaml")],
    ids=["nq", "triviaqa"],
)
def test_generation(
    module: ModuleType, definition: str, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With at most 48 tokens an answer on both sides instead of 256, which would take minutes and compare the same."""
    monkeypatch.setattr(HFLM, "max_gen_toks", 48)
    monkeypatch.setattr("train.evaluation.free_answers._HARNESS_NEW_TOKENS", 48)
    # One batch of all: each batch of the harness generates for as long as its longest answer.
    task = local_task(TASKS / definition, module.SET, ROOT, tmp_path)
    samples = their_samples(task, model, tokenizer, batch_size=LIMIT)
    records = our_records(module, model, tokenizer, free=True)
    assert len(records) == len(samples) == LIMIT
    for sample, record in zip(samples, records, strict=True):
        assert record["answer"] == sample["filtered_resps"][0], record["question"]
        assert record["metrics"]["exact_match"] == sample["exact_match"]


def test_wikiqa_equals_the_shipped_task_and_an_independent_computation(
    model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    """Our records against the task in recipes/lm_eval, and the ranking against scikit-learn and numpy."""
    definition = REPOSITORY / "recipes/lm_eval/wikiqa/wikiqa.yaml"
    samples = their_samples(local_task(definition, wikiqa.SET, ROOT, tmp_path), model, tokenizer)
    records = our_records(wikiqa, model, tokenizer)
    assert len(records) == LIMIT
    for sample, record in zip(samples, records, strict=True):
        assert sample["doc"]["question"] == record["question"]
        for metric in ("map", "mrr", "p_at_1"):
            assert record["metrics"][metric] == pytest.approx(sample[metric], abs=1e-6), record["question"]
    for record in records:
        scores = np.array([choice["logprob"] / len(choice["text"]) for choice in record["choices"]])
        labels = np.array([choice["label"] for choice in record["choices"]])
        ranked = labels[np.argsort(-scores, kind="stable")]
        assert record["metrics"]["map"] == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
        assert record["metrics"]["mrr"] == pytest.approx(1 / (1 + ranked.argmax()), abs=1e-6)
        assert record["metrics"]["p_at_1"] == ranked[0]
