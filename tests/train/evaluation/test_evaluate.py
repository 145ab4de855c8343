"""A model's whole evaluation, two side by side, and the texts that evaluation shows a model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from data.examples import Example
from data.sets import SETS
from data.sources import DataSource
from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.compare import compare_evaluations, write_items
from train.evaluation.evaluate import Evaluation, evaluate, mean_metrics
from train.model import written_store
from train.recipe.arguments import EavssArguments

RUNS = ("before", "after")


def recipe(folder: Path, *words: str) -> EavssArguments:
    words = ("--datasets_root", "samples", "--eval_limit", "3", *words)
    return replace(arguments(folder, *words)[0], retention=[])  # the samples hold no running text


def evaluated(args: EavssArguments) -> Evaluation:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return evaluate(tiny_model("llama"), tokenizer, load_benchmarks(args.evaluation, 0), args.evaluation, "")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return evaluated(recipe(tmp_path_factory.mktemp("out")))


EXAMPLE = {
    "nq": Example("nq", "who wrote it", ("Jane",)),
    "triviaqa": Example("triviaqa", "Who wrote it", ("Jane",)),
    "sciq": Example("sciq", "What is it?", ("tin",), support="It is tin."),
    "wikiqa": Example("wikiqa", "what is it", ("It is tin.",)),
}


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("nq", "Answer these questions:\n\nQ: who wrote it?\nA:"),
        ("triviaqa", "Question: Who wrote it?\nAnswer:"),
        ("sciq", "Question: What is it?\nAnswer:"),
    ],
)
def test_harness_prompts_are_the_sets_own(name: str, prompt: str) -> None:
    tokenizer = tiny_tokenizer()
    encoder = Encoder(tokenizer, "harness", 256)
    assert encoder.prompt(EXAMPLE[name]) == prompt
    (sequence,) = encoder(EXAMPLE[name], ["an answer"])
    assert tokenizer.decode(sequence.prompt) == prompt
    assert tokenizer.decode(sequence.answer) == " an answer"


def test_harness_prompt_of_wikiqa_has_three_fixed_questions() -> None:
    prompt = Encoder(tiny_tokenizer(), "harness", 256).prompt(EXAMPLE["wikiqa"])
    assert prompt.count("Question: ") == 4
    assert prompt.endswith(".\n\nQuestion: what is it\nAnswer:")


def test_harness_prompt_of_truthfulqa_has_six_fixed_questions() -> None:
    prompt = Encoder(tiny_tokenizer(), "harness", 256).prompt(Example("truthfulqa", "Is it?", ("No.",)))
    assert prompt.startswith("Q: ")
    assert prompt.count("\nA:") == prompt.count("Q: ") == 7
    assert prompt.count("\n\n") == 6
    assert prompt.endswith("\n\nQ: Is it?\nA:")


def test_the_harness_style_leaves_verbatim_examples_as_they_stand() -> None:
    tokenizer = tiny_tokenizer()
    (sequence,) = Encoder(tokenizer, "harness", 64)(Example("own.jsonl", "2 + 2 =", ("4",), verbatim=True), [" 4"])
    assert tokenizer.decode(sequence.ids) == "2 + 2 = 4"


def test_shots_stand_before_the_question_and_never_show_it() -> None:
    shots = [Example("nq", f"who wrote book {i}", (f"author {i}", "someone")) for i in range(3)]
    encoder = Encoder(tiny_tokenizer(), "plain", 512, {"nq": shots})
    assert encoder.prompt(Example("nq", "who", ("x",))) == (
        "Question: who wrote book 0\nAnswer: author 0\n\n"
        "Question: who wrote book 1\nAnswer: author 1\n\n"
        "Question: who wrote book 2\nAnswer: author 2\n\n"
        "Question: who\nAnswer:"
    )
    prompt = encoder.prompt(shots[1])
    assert prompt.count("book 1") == 1
    assert "author 1" not in prompt
    assert encoder.prompt(Example("sciq", "who", ("x",))) == "Question: who\nAnswer:"
    assert Encoder(tiny_tokenizer(), "harness", 512, {"nq": shots}).prompt(shots[0]).count("book") == 1


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A colon and the space after it are one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, ":Ġ"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[(":", "Ġ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), merging_tokenizer()], ids=["bytes", "merging"])
@pytest.mark.parametrize("prompt", ["Question: x\nAnswer:", "Say it:  "])
def test_after_text_is_tokenised_as_one_text_and_cut_by_the_prompts_length(
    tokenizer: PreTrainedTokenizerFast, prompt: str
) -> None:
    """As lm-evaluation-harness: the n tokens of the prompt without the space at its end, then those of the whole text
    after its first n."""
    alone = tokenizer(prompt.rstrip())["input_ids"]
    rest = tokenizer(f"{prompt} tin")["input_ids"][len(alone) :]
    sequence = Encoder(tokenizer, "harness", 64).after_text(prompt, " tin")
    assert (sequence.prompt, sequence.answer) == (tuple(alone), tuple(rest))
    assert Encoder(tokenizer, "harness", 16).after_text(prompt, " tin").ids == (*alone, *rest)[-16:]


def test_a_token_over_the_seam_belongs_to_the_prompt() -> None:
    """The harness counts the prompt's own tokens; TRL's rule, which the plain style follows, finds where texts part."""
    tokenizer, example = merging_tokenizer(), EXAMPLE["sciq"]
    (harness,) = Encoder(tokenizer, "harness", 64)(example, ["tin"])
    (plain,) = Encoder(tokenizer, "plain", 64)(example, ["tin"])
    assert [tokenizer.decode(s.answer) for s in (harness, plain)] == ["tin", ": tin"]
    assert [tokenizer.decode(s.prompt)[-8:] for s in (harness, plain)] == ["\nAnswer:", "?\nAnswer"]


def test_evaluate_uses_shots_of_the_training_side_and_harness_prompts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Encoder] = []
    check = Encoder.__post_init__

    def keep(self: Encoder) -> None:
        check(self)
        seen.append(self)

    monkeypatch.setattr(Encoder, "__post_init__", keep)
    evaluated(recipe(tmp_path, "--num_fewshot", "2", "--evaluate_on", "nq", "sciq"))
    evaluated(recipe(tmp_path, "--num_fewshot", "2", "--evaluate_on", "nq", "sciq"))
    evaluated(recipe(tmp_path, "--num_fewshot", "2", "--prompts", "harness", "--evaluate_on", "nq", "sciq"))
    # One encoder scores, one asks, and one lets `replace` add the questions of our own that stand before it.
    first, _, _, again, _, _, harness, _, _ = seen
    assert first.shots == again.shots
    assert first.shots.keys() == {"nq", "sciq"}
    for name, shots in first.shots.items():
        train = [example.question for example in DataSource("samples").split(name).train]
        assert len({shot.question for shot in shots}) == 2
        assert all(shot.question in train for shot in shots)
    assert (first.prompt_style, harness.prompt_style, harness.shots) == ("plain", "harness", {})


def test_shots_and_prompts_change_the_scores(evaluation: Evaluation, tmp_path: Path) -> None:
    def choices(found: Evaluation) -> list[float]:
        return [choice["logprob"] for record in found.records["nq"] for choice in record["choices"]]

    plain = choices(evaluation)
    for words in (["--num_fewshot", "1"], ["--prompts", "harness"]):
        assert choices(evaluated(recipe(tmp_path, "--evaluate_on", "nq", *words))) != pytest.approx(plain, abs=1e-3)


def test_an_unchanged_model_gains_nothing(evaluation: Evaluation) -> None:
    found = compare_evaluations(evaluation, evaluation, seed=0)
    assert found.keys() == {"benchmarks", "retention"}
    assert found["retention"] == {}
    assert list(found["benchmarks"]) == list(SETS)
    for name, entry in found["benchmarks"].items():
        records = evaluation.records[name]
        assert entry["n"] == 3
        assert entry["before"] == entry["after"] == mean_metrics(records)
        assert entry["hidden"]["before"] == entry["hidden"]["after"] == mean_metrics(records, "hidden")
        assert entry["length_rule"] == mean_metrics(records, "length_rule")
        for metrics, change in (
            (entry["before"], entry["change"]),
            (entry["hidden"]["before"], entry["hidden"]["change"]),
            (entry["hidden"]["before"], entry["hidden"]["gained"]),
        ):
            assert change.keys() == metrics.keys()
            for figures in change.values():
                assert (figures["difference"], figures["interval"], figures["noise"]) == (0, [0, 0], True)
                assert figures["mcnemar_p"] in (None, 1)
    metrics = {name: set(entry["before"]) for name, entry in found["benchmarks"].items()}
    generated = {
        *("right", "wrong", "declined", "empty", "truthfulness", "penalised_50", "penalised_75", "penalised_90"),
        *("exact_match", "f1", "abstention_rate", "hallucination_rate", "empty_or_degenerate", "answer_words"),
    }
    for name in (
        "nq",
        "sciq",
        "triviaqa",
    ):  # what only a set has is undefined where no answer is right or all are empty
        metrics[name] -= {"accuracy_attempted", "simpleqa_f", "auroc", "wrong_at_60"}
    assert metrics == {
        "nq": {"contrast_accuracy"} | generated,
        "triviaqa": {"contrast_accuracy"} | generated,
        "sciq": {"contrast_accuracy", "acc", "acc_norm", "open_book_acc", "open_book_acc_norm"} | generated,
        "truthfulqa": {"contrast_accuracy", "mc1", "mc2"},
        "wikiqa": {"contrast_accuracy", "map", "mrr", "p_at_1"},
    }
    assert found["benchmarks"]["wikiqa"]["hidden"]["before"].keys() == metrics["wikiqa"]
    assert found["benchmarks"]["nq"]["hidden"]["before"].keys() == {"contrast_accuracy"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_store, "_written", set())


def refuse_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "forward", lambda *_, **__: pytest.fail("the model ran"))


def as_bytes(found: Evaluation) -> str:
    return json.dumps([found.records, found.retention])


def test_kept_figures_are_those_of_a_cold_run_byte_for_byte(
    tmp_path: Path, cold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = as_bytes(evaluated(recipe(tmp_path)))
    assert "not measured again" not in capsys.readouterr().out
    in_another_process(monkeypatch)
    assert as_bytes(evaluated(recipe(tmp_path, "--fresh", "true"))) == first
    assert "not measured again" not in capsys.readouterr().out
    in_another_process(monkeypatch)
    refuse_to_run(monkeypatch)
    assert as_bytes(evaluated(recipe(tmp_path))) == first
    assert capsys.readouterr().out.count("not measured again") == 1
    alone = evaluated(recipe(tmp_path, "--evaluate_on", "wikiqa")).records["wikiqa"]
    assert json.dumps(alone) == json.dumps(json.loads(first)[0]["wikiqa"])


def test_a_damaged_figure_is_measured_again(
    tmp_path: Path, cold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = recipe(tmp_path, "--evaluate_on", "nq")
    first = as_bytes(evaluated(args))
    (path,) = (cold / "scores").iterdir()
    path.write_text(path.read_text().replace("-", "", 1))
    assert as_bytes(evaluated(args)) == first
    assert f"{path} is damaged" in capsys.readouterr().out
    refuse_to_run(monkeypatch)
    assert as_bytes(evaluated(args)) == first


def test_what_the_recipe_turns_off_is_left_out(tmp_path: Path) -> None:
    args = recipe(tmp_path, "--question_hidden", "false", "--free_answers", "false", "--evaluate_on", "nq")
    found = compare_evaluations(evaluated(args), evaluated(args), 0)["benchmarks"]["nq"]
    assert found.keys() == {"n", "split", "before", "after", "change", "length_rule"}
    assert found["before"].keys() == {"contrast_accuracy"}


def test_items_have_a_line_for_each_question_and_a_record_for_each_run(evaluation: Evaluation, tmp_path: Path) -> None:
    write_items(tmp_path / "items", dict.fromkeys(RUNS, evaluation))
    assert {path.name for path in (tmp_path / "items").iterdir()} == {f"{name}.jsonl" for name in SETS}
    for name, records in evaluation.records.items():
        lines = [json.loads(line) for line in (tmp_path / "items" / f"{name}.jsonl").read_text().splitlines()]
        assert lines == [{"question": record["question"]} | dict.fromkeys(RUNS, record) for record in records]
