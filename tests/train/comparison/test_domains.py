"""The texts of a domain: from the samples, and from text sets in a mirror made here."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from data.sources import DataSource
from tests.toys import naive_logprobs, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.comparison.activation import DOMAINS
from train.comparison.domains import Domain, DomainSettings, text_losses
from train.runtime.errors import RecipeError


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tiny_tokenizer(), "plain", 256)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Texts of a byte a token: ten windows, and forty passages and phrases."""
    root = tmp_path_factory.mktemp("mirror")
    rows = {
        "Salesforce/wikitext/wikitext-2-v1/validation": [{"text": "".join(chr(97 + i) * 128 for i in range(10))}],
        "EleutherAI/lambada_openai/default/test": [{"text": f"passage number {i:02} word"} for i in range(40)],
        "nyu-mll/glue/sst2/validation": [{"sentence": f"phrase {i:02}", "label": i % 2} for i in range(40)],
    }
    for name, own in rows.items():
        path = root / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(own), path)
    return str(root)


def shown(tokenizer: PreTrainedTokenizerFast, domain: Domain) -> list[str]:
    return sorted(str(tokenizer.decode(list(ids))) for ids in domain.measured)


def test_windows_are_measured_whole_and_the_later_half_is_judged(mirror: str, encoder: Encoder) -> None:
    domain = DomainSettings(DataSource(mirror), 5, 5, 0).load("wikitext", encoder)
    assert shown(tiny_tokenizer(), domain) == [letter * 128 for letter in "abcde"]
    assert sorted(tiny_tokenizer().decode(list(s.ids))[0] for s in domain.judged) == list("fghij")
    assert {(s.answer_start, s.answer_end) for s in domain.judged} == {(1, 128)}


@pytest.mark.parametrize(
    ("name", "prompt", "answers"),
    [
        ("lambada", "passage number {:02}", {" word"}),
        ("sst2", "Review: phrase {:02}\nSentiment:", {" positive", " negative"}),
    ],
)
def test_prompts_are_measured_and_answers_judged(
    name: str, prompt: str, answers: set[str], mirror: str, encoder: Encoder
) -> None:
    domain = DomainSettings(DataSource(mirror), 20, 20, 0).load(name, encoder)
    assert shown(tiny_tokenizer(), domain) == [prompt.format(number) for number in range(20)]
    assert {str(tiny_tokenizer().decode(list(s.answer))) for s in domain.judged} == answers
    late = {str(tiny_tokenizer().decode(list(s.prompt))) for s in domain.judged}
    assert late == {prompt.format(number) for number in range(20, 40)}


def test_questions_are_measured_on_training_ones_alone(encoder: Encoder) -> None:
    source = DataSource("samples")
    domain = DomainSettings(source, 200, 100, 0).load("sciq", encoder)
    split = source.split("sciq")
    assert shown(tiny_tokenizer(), domain) == sorted(f"Question: {e.question}\nAnswer:" for e in split.train)
    answers = sorted(str(tiny_tokenizer().decode(list(s.answer))) for s in domain.judged)
    assert answers == sorted(f" {example.truthful[0]}" for example in split.evaluation)


def test_the_seed_draws_and_too_few_are_refused(encoder: Encoder) -> None:
    drawn = [DomainSettings(DataSource("samples"), 4, 3, seed).load("nq", encoder) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0].measured != drawn[2].measured
    assert [len(drawn[0].measured), len(drawn[0].judged)] == [4, 3]
    with pytest.raises(RecipeError, match="nq: it has 200 texts for a part of which 201 are asked for"):
        DomainSettings(DataSource("samples"), 201, 3, 0).load("nq", encoder)
    assert {"nq", "wikitext"} < set(DOMAINS)


def test_losses_are_those_of_plain_softmax(encoder: Encoder) -> None:
    model = tiny_model("llama")
    domain = DomainSettings(DataSource("samples"), 1, 3, 0).load("nq", encoder)
    losses, greedy = text_losses(model, encoder, domain, 512)
    with torch.no_grad():
        expected = [float(-naive_logprobs(model, s.ids, s.answer_start, s.answer_end).mean()) for s in domain.judged]
    assert losses == pytest.approx(expected, rel=1e-4)
    assert greedy == 0
