"""What fine-tuning cost, measured on tiny models against each sequence alone under the full softmax."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from data.errors import DataError
from eavss.batches import TokenSequence
from tests.toys import EOS, KINDS, naive_logprobs, tiny_tokenizer, toy_scorer
from train.batching.encoding import Encoder
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.retention import measure_retention

# 40 sentences of 36 bytes and 7 words; a token is a byte, so windows are of 512, 512 and 416.
SENTENCES = [f" the {i:03d}rd <unk> lobster is blue . \n" for i in range(40)]
PASSAGES = ["she saw the sea and the ship", "no one\nknew her name", "he ran and ran and ran"]
PHRASES = [("a charming journey", 1), ("bleak ", 0), ("it 's fine , mostly", 1)]
QUESTION = "\nQuestion: Is this sentence positive or negative?\nAnswer:"


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    """A folder in Hub layout with a little of each set."""
    write(tmp_path / "Salesforce/wikitext/wikitext-2-v1/validation.parquet", [{"text": text} for text in SENTENCES])
    write(tmp_path / "EleutherAI/lambada_openai/default/test.parquet", [{"text": text} for text in PASSAGES])
    phrases = [{"sentence": sentence, "label": label} for sentence, label in PHRASES]
    write(tmp_path / "nyu-mll/glue/sst2/validation.parquet", phrases)
    return str(tmp_path)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@dataclass(frozen=True)
class Recorder(AnswerScorer):
    """Keeps what it is asked to score, and answers with `replies` where given."""

    replies: Sequence[AnswerLogprob] = ()
    asked: list[list[TokenSequence]] = field(default_factory=list)

    def score_sequences(self, sequences: list[TokenSequence], description: str) -> list[AnswerLogprob]:
        self.asked.append(sequences)
        return list(self.replies) or super().score_sequences(sequences, description)


def recorder(replies: Sequence[AnswerLogprob] = (), tokenizer: PreTrainedTokenizerFast | None = None) -> Recorder:
    scorer = toy_scorer()
    encoder = Encoder(tokenizer or tiny_tokenizer(), "plain", 64)  # a max_length that plays no part
    return Recorder(scorer.model, encoder, scorer.token_budget, replies=replies)


def halves(*powers: int, greedy: Sequence[int] = ()) -> list[AnswerLogprob]:
    """Answers of probability 1/2 to these powers, of which those at the places `greedy` are greedy decoding's."""
    return [AnswerLogprob(-power * math.log(2), 1, place in greedy) for place, power in enumerate(powers)]


@torch.no_grad()
def naive_totals(scorer: AnswerScorer, texts: list[tuple[str, str]]) -> list[float]:
    """The log-probability of each text after its prompt; a token is a byte."""
    pieces = [(len(prompt.encode()), (prompt + text).encode()) for prompt, text in texts]
    tokenizer = scorer.encoder.tokenizer
    ids = [tokenizer(piece.decode())["input_ids"] for _, piece in pieces]
    return [
        naive_logprobs(scorer.model, i, start, len(i)).sum().item() for i, (start, _) in zip(ids, pieces, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [100, 4096])
def test_all_sets_equal_each_sequence_alone(kind: str, budget: int, mirror: str) -> None:
    scorer = toy_scorer(kind, token_budget=budget)
    found = measure_retention(scorer, ("sst2", "wikitext", "lambada"), mirror, None)
    assert list(found) == ["sst2", "wikitext", "lambada"]

    text = "".join(SENTENCES)
    windows = [text[start : start + 512] for start in range(0, len(text), 512)]
    total = sum(naive_totals(scorer, [(window[0], window[1:]) for window in windows]))
    assert found["wikitext"]["n"] == len(windows) == 3
    assert found["wikitext"]["perplexity"] == pytest.approx(math.exp(-total / (len(text) - 3)), rel=1e-4)
    words = len(text.split()) * (len(text) - 3) / len(text)
    assert math.log(found["wikitext"]["word_perplexity"]) == pytest.approx(-total / words, rel=1e-4)

    totals = naive_totals(scorer, [(text[: text.rindex(" ")], text[text.rindex(" ") :]) for text in PASSAGES])
    assert found["lambada"]["n"] == 3
    assert math.log(found["lambada"]["perplexity"]) == pytest.approx(-sum(totals) / 3, rel=1e-4)

    choices = [(sentence + QUESTION, choice) for sentence, _ in PHRASES for choice in (" negative", " positive")]
    totals = naive_totals(scorer, choices)
    chosen = [int(totals[2 * i + 1] > totals[2 * i]) for i in range(3)]
    right = sum(choice == label for choice, (_, label) in zip(chosen, PHRASES, strict=True))
    assert found["sst2"] == {"n": 3, "accuracy": pytest.approx(right / 3)}


def test_wikitext_goes_through_the_model_in_batches_within_the_budget(mirror: str) -> None:
    """All windows may begin with one token: as answers to one prompt they would be one batch."""
    scorer, batches = replace(toy_scorer(), token_budget=1024), []
    scorer.model.get_input_embeddings().register_forward_hook(lambda _m, args, _o: batches.append(args[0].shape))
    measure_retention(scorer, ["wikitext"], mirror, None)
    assert batches == [(2, 512), (1, 416)]


def test_wikitext_by_hand(mirror: str) -> None:
    """Two windows of 512 bytes, 511 scored in each, 2^-511 and 2^-1533: 2 bits a token.

    Their 1,024 bytes are 28 sentences and " the 028rd <unk>": 28 * 7 + 3 = 199 words.
    """
    scorer = recorder([AnswerLogprob(-bits * math.log(2), 511, False) for bits in (511, 1533)])
    found = measure_retention(scorer, ["wikitext"], mirror, 2)["wikitext"]
    assert found == {
        "n": 2,
        "perplexity": pytest.approx(4),
        "word_perplexity": pytest.approx(4 ** (1024 / 199)),
    }
    assert [(s.answer_start, s.answer_end, len(s)) for s in scorer.asked[0]] == [(1, 512, 512)] * 2


def test_a_token_that_begins_every_text_begins_every_window(mirror: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = EOS
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{EOS} $A", special_tokens=[(EOS, 256)])
    scorer = recorder(tokenizer=tokenizer)
    measure_retention(scorer, ["wikitext"], mirror, None)
    (windows,) = scorer.asked
    assert [len(window) for window in windows] == [512, 512, 1440 - 2 * 511 + 1]
    assert {window.prompt for window in windows} == {(256,)}
    scored = [token for window in windows for token in window.answer]
    assert scored == tokenizer("".join(SENTENCES), add_special_tokens=False)["input_ids"]
    measure_retention(scorer, ["wikitext"], mirror, 1)
    assert scorer.asked[1] == windows[:1]


def test_lambada_by_hand(mirror: str) -> None:
    """Last words of probability 1/2, 1/4 and 1/64: nine bits in three words are a perplexity of 8."""
    scorer = recorder(halves(1, 2, 6, greedy=[1]))
    assert measure_retention(scorer, ["lambada"], mirror, None) == {
        "lambada": {"n": 3, "accuracy": pytest.approx(1 / 3), "perplexity": pytest.approx(8)}
    }
    tokenizer = scorer.encoder.tokenizer
    parts = [(tokenizer.decode(list(s.prompt)), tokenizer.decode(list(s.answer))) for s in scorer.asked[0]]
    assert parts == [
        ("she saw the sea and the", " ship"),
        ("no one\nknew her", " name"),
        ("he ran and ran and", " ran"),
    ]


def test_lambada_counts_what_greedy_decoding_writes(tmp_path: Path) -> None:
    """A model that was taught to alternate: "ab" follows "cd", " ad" begins as it should and ends as it should not."""
    texts = ["ab cd ab cd", "cd ab cd ab", "cd ab cd ad", "ab cd ab xb"]
    write(tmp_path / "EleutherAI/lambada_openai/default/test.parquet", [{"text": text} for text in texts])
    scorer = toy_scorer()
    ids = torch.tensor([scorer.encoder.tokenizer(text * 5)["input_ids"] for text in ("ab cd ", "cd ab ")])
    optimizer = torch.optim.AdamW(scorer.model.parameters(), lr=1e-2)
    for _ in range(40):
        scorer.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert measure_retention(scorer, ["lambada"], str(tmp_path), None)["lambada"]["accuracy"] == 0.5
    write(tmp_path / "EleutherAI/lambada_openai/default/test.parquet", [{"text": text} for text in texts[:2]])
    assert measure_retention(scorer, ["lambada"], str(tmp_path), None)["lambada"]["accuracy"] == 1


def test_white_space_before_the_last_space_is_scored_with_the_word(tmp_path: Path) -> None:
    write(tmp_path / "EleutherAI/lambada_openai/default/test.parquet", [{"text": "the last\n word"}])
    scorer = recorder()
    measure_retention(scorer, ["lambada"], str(tmp_path), None)
    ((sequence,),) = scorer.asked
    assert scorer.encoder.tokenizer.decode(list(sequence.answer)) == "\n word"


def test_a_long_passage_loses_its_start(tmp_path: Path) -> None:
    write(tmp_path / "EleutherAI/lambada_openai/default/test.parquet", [{"text": "long " * 200 + "word"}])
    scorer = recorder()
    measure_retention(scorer, ["lambada"], str(tmp_path), None)
    ((sequence,),) = scorer.asked
    assert scorer.encoder.tokenizer.decode(list(sequence.ids)) == ("long " * 200 + "word")[-512:]
    assert scorer.encoder.tokenizer.decode(list(sequence.answer)) == " word"


@pytest.mark.parametrize(
    ("powers", "accuracy"),
    [
        # Labels 1, 0, 1; for each phrase the bits of " negative" and of " positive".
        ((2, 1, 1, 2, 2, 1), 1),
        ((1, 2, 2, 1, 1, 2), 0),
        ((2, 1, 2, 1, 2, 1), 2 / 3),
        ((1, 1, 1, 1, 1, 1), 1 / 3),  # ties are negative
    ],
)
@pytest.mark.parametrize("name", ["sst2", "sst2_review"])
def test_sst2_by_hand(name: str, powers: tuple[int, ...], accuracy: float, mirror: str) -> None:
    scorer = recorder(halves(*powers))
    assert measure_retention(scorer, [name], mirror, None) == {name: {"n": 3, "accuracy": pytest.approx(accuracy)}}
    tokenizer = scorer.encoder.tokenizer
    parts = [(tokenizer.decode(list(s.prompt)), tokenizer.decode(list(s.answer))) for s in scorer.asked[0]]
    before, after = ("", QUESTION) if name == "sst2" else ("Review: ", "\nSentiment:")
    assert parts == [(f"{before}{s}{after}", choice) for s, _ in PHRASES for choice in (" negative", " positive")]


def test_limit_takes_the_first_and_of_short_texts_ten_times_as_many(mirror: str) -> None:
    root = Path(mirror)
    passages = [{"text": f"{passage} {number}"} for number in range(4) for passage in PASSAGES]
    write(root / "EleutherAI/lambada_openai/default/test.parquet", passages)
    phrases = [{"sentence": sentence, "label": label} for sentence, label in PHRASES] * 4
    write(root / "nyu-mll/glue/sst2/validation.parquet", phrases)
    scorer = recorder()
    measure_retention(scorer, ["wikitext", "lambada", "sst2"], mirror, None)
    found = measure_retention(scorer, ["wikitext", "lambada", "sst2"], mirror, 1)
    assert [values["n"] for values in found.values()] == [1, 10, 10]
    assert scorer.asked[3:] == [scorer.asked[0][:1], scorer.asked[1][:10], scorer.asked[2][:20]]


def test_unknown_set_is_told_before_any_is_measured(mirror: str) -> None:
    scorer = recorder()
    with pytest.raises(DataError, match=r"'squad' is none of the sets .*: wikitext, lambada, sst2"):
        measure_retention(scorer, ["wikitext", "squad"], mirror, None)
    assert scorer.asked == []
