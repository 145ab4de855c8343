"""Evaluation questions, and their records against each answer scored alone under the full softmax."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score

from data.answers import overlaps_answer
from data.examples import Example, normalise_question, wrong_answers
from data.sets import SETS
from data.sources import DataSource
from eavss.batches import TokenSequence
from eavss.confidence import confidence_of
from tests.toys import arguments, naive_logprobs, origins_of, tiny_model, tiny_tokenizer, toy_scorer
from train.batching.encoding import Encoder
from train.evaluation.benchmarks import Benchmark, Question, load_benchmarks
from train.evaluation.evaluate import Evaluator, mean_metrics
from train.evaluation.free_answers import FreeAnswer
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.records import QuestionRecord
from train.recipe.arguments import EavssArguments

FREELY_ANSWERED = ("nq", "sciq", "triviaqa")
LIMIT = 8


def samples(folder: Path, *words: str) -> EavssArguments:
    return arguments(folder, "--datasets_root", "samples", "--eval_limit", str(LIMIT), *words)[0]


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> list[Benchmark]:
    return load_benchmarks(samples(tmp_path_factory.mktemp("out")).evaluation, seed=0)


@dataclass(frozen=True)
class CountingScorer(AnswerScorer):
    """Keeps what it is asked to score."""

    asked: list[list[TokenSequence]] = field(default_factory=list)

    def score_sequences(self, sequences: list[TokenSequence], description: str) -> list[AnswerLogprob]:
        self.asked.append(sequences)
        return super().score_sequences(sequences, description)


def evaluator(hidden: bool = True, free: Any = None) -> Evaluator:
    scorer = CountingScorer(tiny_model("llama"), Encoder(tiny_tokenizer(), "plain", 512), 4096)
    return Evaluator(scorer, hidden, free)


@pytest.fixture(scope="module")
def records(benchmarks: list[Benchmark]) -> dict[str, list[QuestionRecord]]:
    return evaluator().run(benchmarks, "")


def test_questions_are_the_evaluation_sides_of_the_sets(benchmarks: list[Benchmark]) -> None:
    assert [benchmark.name for benchmark in benchmarks] == list(SETS)
    for benchmark in benchmarks:
        split = DataSource("samples").split(benchmark.name)
        known = {example.question: example.truthful for example in split.evaluation}
        seen = {normalise_question(example.question) for example in split.train}
        assert len(benchmark.questions) == LIMIT
        assert len({question.example.question for question in benchmark.questions}) == LIMIT
        for question in benchmark.questions:
            assert known[question.example.question] == question.example.truthful
            assert normalise_question(question.example.question) not in seen


def test_the_seed_decides(benchmarks: list[Benchmark], tmp_path: Path) -> None:
    assert load_benchmarks(samples(tmp_path).evaluation, seed=0) == benchmarks
    others = load_benchmarks(samples(tmp_path).evaluation, seed=1)
    for first, second in zip(benchmarks, others, strict=True):
        assert {q.example.question for q in first.questions} != {q.example.question for q in second.questions}


def test_a_seed_of_their_own_draws_the_same_questions_whatever_the_seed_of_training(
    benchmarks: list[Benchmark], tmp_path: Path
) -> None:
    assert load_benchmarks(samples(tmp_path, "--eval_seed", "0").evaluation, seed=1) == benchmarks


def test_no_limit_takes_every_question_and_a_limit_the_first_of_them(
    benchmarks: list[Benchmark], tmp_path: Path
) -> None:
    args = arguments(tmp_path, "--datasets_root", "samples", "--evaluate_on", "sciq", "nq")[0]
    everything = load_benchmarks(args.evaluation, seed=0)
    assert [benchmark.name for benchmark in everything] == ["sciq", "nq"]
    by_name = {benchmark.name: benchmark for benchmark in benchmarks}
    for benchmark in everything:
        assert len(benchmark.questions) == len(DataSource("samples").split(benchmark.name).evaluation)
        taken = [question.example for question in benchmark.questions[:LIMIT]]
        assert taken == [question.example for question in by_name[benchmark.name].questions]


def test_the_wrong_answer_is_the_questions_and_never_right(benchmarks: list[Benchmark]) -> None:
    for benchmark in benchmarks:
        wrong = [question.wrong for question in benchmark.questions]
        for question in benchmark.questions:
            assert question.wrong in question.example.hallucinated
            assert not overlaps_answer(question.wrong, question.example.aliases)
        if benchmark.name in ("nq", "triviaqa"):
            assert {origin for q in benchmark.questions for origin in origins_of(q.example)} == {"similar"}
            pool = {example.truthful[0] for example in DataSource("samples").split(benchmark.name).evaluation}
            assert set(wrong) <= pool
        else:
            # One of several, drawn: not the first one every time.
            assert wrong != [question.example.hallucinated[0] for question in benchmark.questions]


def test_the_other_prompt_is_never_the_questions_own_and_each_serves_once(benchmarks: list[Benchmark]) -> None:
    for benchmark in benchmarks:
        own = [question.example for question in benchmark.questions]
        others = [question.other for question in benchmark.questions]
        assert all(a.question != b.question for a, b in zip(own, others, strict=True))
        assert sorted(e.question for e in own) == sorted(e.question for e in others)


def scored(**totals: float) -> dict[str, AnswerLogprob]:
    """Two tokens a word; underscores stand for spaces."""
    return {
        name.replace("_", " "): AnswerLogprob(total, 2 * len(name.split("_")), False) for name, total in totals.items()
    }


def question(dataset: str, truthful: tuple[str, ...], wrong: tuple[str, ...]) -> Question:
    example = Example(dataset, "q", truthful, wrong_answers(wrong, "dataset"), truthful)
    return Question(example, example.truthful[0], wrong[0], example)


def test_truthfulqa_choices_are_sums_and_the_contrast_is_per_token() -> None:
    """Sums: best -8 against -4 (wrong); mass of the true ones (e^-8 + e^-2) / (e^-8 + e^-2 + e^-4).
    Per token: -8/8 = -1 against -4/2 = -2 (right)."""
    asked = question("truthfulqa", ("a long true answer", "yes"), ("no",))
    assert asked.answers() == ("a long true answer", "yes", "no")
    found = asked.metrics(scored(a_long_true_answer=-8.0, yes=-2.0, no=-4.0))
    true = math.exp(-8) + math.exp(-2)
    assert found == {"contrast_accuracy": 1.0, "mc1": 0.0, "mc2": pytest.approx(true / (true + math.exp(-4)))}


def test_sciq_choices_are_sums_and_sums_per_character() -> None:
    """Sums: -4 against -3 (wrong). Per character: -4/8 against -3/3 (right). Per token: -4/2 against -3/2 (wrong)."""
    asked = question("sciq", ("nitrogen",), ("tin", "lead"))
    assert asked.metrics(scored(nitrogen=-4.0, tin=-3.0, lead=-9.0)) == {
        "contrast_accuracy": 0.0,
        "acc": 0.0,
        "acc_norm": 1.0,
    }


def test_wikiqa_ranks_by_characters() -> None:
    """Per character: -6/12 = -.5, wrong ones -4/10 = -.4 and -3/3 = -1: the right sentence is second, AP 1/2.

    By sums it would be third, and per token first: -6/8 = -.75 against -4/2 and -3/2.
    """
    asked = question("wikiqa", ("it is as now",), ("antarctica", "yes"))
    assert asked.metrics(scored(it_is_as_now=-6.0, antarctica=-4.0, yes=-3.0)) == {
        "contrast_accuracy": 1.0,
        "map": 0.5,
        "mrr": 0.5,
        "p_at_1": 0.0,
    }


@pytest.mark.parametrize("name", ["nq", "triviaqa", "own.jsonl"])
def test_sets_without_choices_have_the_contrast_alone(name: str) -> None:
    asked = question(name, ("yes", "yes indeed"), ("no", "never"))
    assert asked.answers() == ("yes", "no")
    assert asked.metrics(scored(yes=-1.0, no=-2.0)) == {"contrast_accuracy": 1.0}


Scores = dict[str, tuple[float, int]]


@torch.no_grad()
def naive_scores(scorer: AnswerScorer, prompt: str, answers: Sequence[str]) -> Scores:
    """Each answer's summed log-probability after `prompt` and a space, and its tokens, which are bytes."""
    tokenizer = scorer.encoder.tokenizer
    found = {}
    for answer in answers:
        before, after = tokenizer(prompt)["input_ids"], tokenizer(f" {answer}")["input_ids"]
        ids = before + after
        found[answer] = (naive_logprobs(scorer.model, ids, len(before), len(ids)).sum().item(), len(after))
    return found


def naive_choices(example: Example, scores: Scores) -> dict[str, float]:
    true, false = list(example.truthful), list(example.hallucinated)
    match example.dataset:
        case "truthfulqa":
            p = {answer: torch.tensor(total, dtype=torch.float64) for answer, (total, _) in scores.items()}
            mass = torch.softmax(torch.stack([p[a] for a in true + false]), 0)
            return {"mc1": float(all(p[true[0]] > p[a] for a in false)), "mc2": float(mass[: len(true)].sum())}
        case "sciq":
            ranked = max(true + false, key=lambda a: scores[a][0])
            normed = max(true + false, key=lambda a: scores[a][0] / len(a))
            return {"acc": float(ranked in true), "acc_norm": float(normed in true)}
        case "wikiqa":
            by_length = {a: scores[a][0] / len(a) for a in true + false}
            ranked = sorted(by_length, key=lambda a: by_length[a], reverse=True)
            first = min(map(ranked.index, true))
            precision = average_precision_score([a in true for a in by_length], list(by_length.values()))
            return {"map": float(precision), "mrr": 1 / (1 + first), "p_at_1": float(first == 0)}
    return {}


def naive_contrast(asked: Question, scores: Scores) -> tuple[list[float], float]:
    per_token = [total / tokens for total, tokens in (scores[asked.example.truthful[0]], scores[asked.wrong])]
    return per_token, float(per_token[0] > per_token[1])


@pytest.mark.parametrize("name", list(SETS))
def test_metrics_equal_each_answer_alone(
    name: str, benchmarks: list[Benchmark], records: dict[str, list[QuestionRecord]]
) -> None:
    """Under the question's own prompt, another question's, and the supporting passage for SciQ."""
    scorer = evaluator().scorer
    (benchmark,) = [benchmark for benchmark in benchmarks if benchmark.name == name]
    for asked, record in zip(benchmark.questions, records[name], strict=True):
        prompts = {
            "metrics": f"Question: {asked.example.question}\nAnswer:",
            "hidden": f"Question: {asked.other.question}\nAnswer:",
        }
        for kind, prompt in prompts.items():
            scores = naive_scores(scorer, prompt, asked.answers())
            per_token, right = naive_contrast(asked, scores)
            expected = {"contrast_accuracy": right} | naive_choices(asked.example, scores)
            if name == "sciq" and kind == "metrics":
                passage = f"{asked.example.support}\nQuestion: {asked.example.question}\nAnswer:"
                opened = naive_scores(scorer, passage, asked.answers())
                expected |= {f"open_book_{key}": v for key, v in naive_choices(asked.example, opened).items()}
            assert record[kind] == pytest.approx(expected, abs=1e-5)
            assert record["per_token"][kind] == pytest.approx(per_token, abs=1e-5)
            if kind == "metrics":
                assert [choice["text"] for choice in record["choices"]] == list(asked.answers())
                totals = {choice["text"]: (choice["logprob"], choice["tokens"]) for choice in record["choices"]}
                assert {a: n for a, (_, n) in totals.items()} == {a: n for a, (_, n) in scores.items()}
                assert [t for t, _ in totals.values()] == pytest.approx([t for t, _ in scores.values()], abs=1e-3)


def test_a_record_says_what_was_asked(benchmarks: list[Benchmark], records: dict[str, list[QuestionRecord]]) -> None:
    assert list(records) == [benchmark.name for benchmark in benchmarks]
    for benchmark in benchmarks:
        for asked, record in zip(benchmark.questions, records[benchmark.name], strict=True):
            assert record["question"] == asked.example.question
            assert record["truthful"] == asked.example.truthful[0]
            assert record["wrong"] == asked.wrong
            labels = {choice["text"]: choice["label"] for choice in record["choices"]}
            assert labels == {answer: int(answer in asked.example.truthful) for answer in asked.answers()}
            assert {0, 1} == set(labels.values())
            assert "answer" not in record
    assert json.loads(json.dumps(records)) == records


def test_means_are_of_the_values_of_the_questions(records: dict[str, list[QuestionRecord]]) -> None:
    for name, found in records.items():
        for kind in ("metrics", "hidden", "length_rule"):
            expected = {metric: fmean(record[kind][metric] for record in found) for metric in found[0][kind]}
            assert mean_metrics(found, kind) == pytest.approx(expected), (name, kind)


def test_contrast_accuracy_is_the_evaluate_metric_over_the_records() -> None:
    """Two questions, per token -1 against -2 and -3 against -3 (a tie): 1 of 2. Hidden, both are wrong: 0."""
    per_token = [{"metrics": [-1.0, -2.0], "hidden": [-2.0, -1.0]}, {"metrics": [-3.0, -3.0], "hidden": [-4.0, -3.0]}]
    found = [
        {"metrics": {"contrast_accuracy": 0.25}, "hidden": {"contrast_accuracy": 0.25}, "per_token": values}
        for values in per_token
    ]
    assert mean_metrics(found) == {"contrast_accuracy": 0.5}
    assert mean_metrics(found, "hidden") == {"contrast_accuracy": 0.0}


def test_every_answer_of_a_set_is_scored_once_in_one_pass(benchmarks: list[Benchmark]) -> None:
    run = evaluator()
    run.run(benchmarks, "")
    assert isinstance(run.scorer, CountingScorer)
    assert len(run.scorer.asked) == len(benchmarks)
    assert all(len(asked) == len(set(asked)) for asked in run.scorer.asked)


def test_without_the_control_nothing_hidden_is_scored(
    benchmarks: list[Benchmark], records: dict[str, list[QuestionRecord]]
) -> None:
    found = evaluator(hidden=False).run(benchmarks, "")
    for name, expected in records.items():
        for record, full in zip(found[name], expected, strict=True):
            assert "hidden" not in record
            assert "hidden" not in record["per_token"]
            assert record["metrics"] == pytest.approx(full["metrics"], abs=1e-5)


def test_free_answers_are_judged_by_every_alias_on_the_sets_that_have_short_ones(
    benchmarks: list[Benchmark], records: dict[str, list[QuestionRecord]]
) -> None:
    asked = []

    def last_alias_first(examples: Sequence[Example], _description: str) -> list[FreeAnswer]:
        """The first question is answered with an alias, the second with nothing, the others with nonsense."""
        asked.append(examples)
        nonsense = [FreeAnswer("xyzzy", confidence_of([-3.0]))] * (len(examples) - 2)
        return [FreeAnswer(examples[0].aliases[-1], confidence_of([-1.0])), FreeAnswer("", None), *nonsense]

    found = evaluator(hidden=False, free=last_alias_first).run(benchmarks, "")
    by_name = {benchmark.name: benchmark for benchmark in benchmarks}
    assert asked == [[question.example for question in by_name[name].questions] for name in FREELY_ANSWERED]
    for name in FREELY_ANSWERED:
        assert [record["answer"] for record in found[name]][1:] == ["", *["xyzzy"] * (LIMIT - 2)]
        means = mean_metrics(found[name])
        assert means["exact_match"] == pytest.approx(1 / LIMIT)
        assert means["abstention_rate"] == pytest.approx(1 / LIMIT)
        assert means["hallucination_rate"] == pytest.approx(1 - 2 / LIMIT)
        verdicts = {"right": 1 / LIMIT, "wrong": 1 - 2 / LIMIT, "declined": 0.0, "empty": 1 / LIMIT}
        assert {verdict: means[verdict] for verdict in verdicts} == pytest.approx(verdicts)
        assert means["penalised_75"] == pytest.approx(1 / LIMIT - 3 * (1 - 2 / LIMIT))
        assert means["auroc"] == 1.0
        assert means["contrast_accuracy"] == mean_metrics(records[name])["contrast_accuracy"]
    assert not any("answer" in record for name in found.keys() - set(FREELY_ANSWERED) for record in found[name])


@pytest.mark.parametrize("conversational", [False, True])
def test_own_preferences_are_a_benchmark_of_their_own(conversational: bool, tmp_path: Path) -> None:
    def cell(role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if conversational else text

    rows = [
        {
            "prompt": cell("user", f"{i} + {i} ="),
            "chosen": cell("assistant", f" {2 * i}"),
            "rejected": cell("assistant", f" {2 * i + 1}"),
        }
        for i in range(40)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = samples(tmp_path, "--evaluate_on", "nq", "--dataset", str(path), "--evaluation_share", "0.5")
    found = load_benchmarks(args.evaluation, seed=0)
    assert [(benchmark.name, len(benchmark.questions)) for benchmark in found] == [("nq", LIMIT), ("sums", LIMIT)]
    run = evaluator()
    for asked, record in zip(found[1].questions, run.run(found, "")["sums"], strict=True):
        prompt, answer = asked.example.question, asked.example.truthful[0]
        # Strings are joined as they stand; messages take the prompt style.
        if conversational:
            prompt, answer = f"Question: {prompt}\nAnswer:", f" {answer}"
        ids = run.scorer.encoder.tokenizer(prompt + answer)["input_ids"]
        with torch.no_grad():
            total = naive_logprobs(run.scorer.model, ids, len(prompt), len(ids)).sum().item()
        assert record["choices"][0]["logprob"] == pytest.approx(total, abs=1e-4)
        assert asked.wrong in asked.example.hallucinated
        assert set(record["metrics"]) == set(record["hidden"]) == {"contrast_accuracy"}


def test_the_naive_scores_are_those_of_the_scorer() -> None:
    """The toy of the other tests, on one example: what the comparisons above rest on."""
    scorer = toy_scorer()
    example = Example("toy", "why?", ("because",), wrong_answers(["no"], "dataset"))
    (found,) = scorer.score_sequences(scorer.encoder(example, ["because"]), "")
    ((total, tokens),) = naive_scores(scorer, "Question: why?\nAnswer:", ["because"]).values()
    assert (found.total, found.tokens) == (pytest.approx(total, abs=1e-4), tokens)


def test_with_passages_each_question_is_asked_with_its_own_and_with_another(tmp_path: Path) -> None:
    args = samples(tmp_path, "--evaluate_on", "sciq", "nq", "--passages", "true")
    sciq, nq = load_benchmarks(args.evaluation, seed=0)
    for question in sciq.questions:
        assert question.misplaced is not None
        assert question.misplaced.support not in ("", question.example.support)
    assert not any(question.misplaced for question in nq.questions)

    def free(examples: Sequence[Example], _description: str) -> list[FreeAnswer]:
        own = {question.example for question in sciq.questions}
        return [FreeAnswer("It." if each in own else "I don't know", confidence_of([-1.0])) for each in examples]

    of_sciq, of_nq = evaluator(hidden=False, free=free).run([sciq, nq], "").values()
    assert all(record["other_passage"] == {"answer": "I don't know", "verdict": "declined"} for record in of_sciq)
    means = mean_metrics(of_sciq)
    assert (means["other_passage_declined"], means["declined"]) == (1.0, 0.0)
    assert not any("other_passage" in record for record in of_nq)


def test_conversations_that_ask_the_same_last_are_questions_of_their_own(tmp_path: Path) -> None:
    """Each is hidden behind another one, and none is shown as an example."""
    path = tmp_path / "own.jsonl"
    rows = []
    for n in range(60):
        turns = [("user", f"who wrote book {n}"), ("assistant", f"writer {n}"), ("user", "when?")]
        prompt = [{"role": role, "content": content} for role, content in turns]
        right, wrong = ([{"role": "assistant", "content": f"in {year}"}] for year in (n, n + 1))
        rows.append({"prompt": prompt, "chosen": right, "rejected": wrong})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--dataset", str(path), "--evaluation_share", "0.5", "--num_fewshot", "2")
    settings = replace(samples(tmp_path / "out", *words).evaluation, sets=(str(path),))
    first, second = (load_benchmarks(settings, seed)[0] for seed in (0, 1))
    assert len(first.questions) == LIMIT
    assert all(question.other.history != question.example.history for question in first.questions)
    assert list(first.shots) == []
    assert [question.example for question in first.questions] != [question.example for question in second.questions]
