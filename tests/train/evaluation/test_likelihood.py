"""Log-probabilities of answers against the full softmax."""

import pytest

from data.examples import Example
from eavss.prompt_cache import can_share
from tests.toys import EXAMPLES, KINDS, tiny_model, tiny_tokenizer, toy_scorer
from train.batching.encoding import Encoder
from train.evaluation.likelihood import AnswerScorer

ENCODER = Encoder(tiny_tokenizer(), "plain", 128)
ALL_SEQUENCES = [
    sequence for example in EXAMPLES for sequence in ENCODER(example, [*example.truthful, *example.hallucinated])
]


def test_scores_do_not_depend_on_the_batch() -> None:
    sequences = [sequence for example in EXAMPLES for sequence in ENCODER(example, example.truthful)]
    together, alone = (toy_scorer(token_budget=budget).score_sequences(sequences, "") for budget in (10_000, 1))
    assert [score.total for score in together] == pytest.approx([score.total for score in alone], abs=1e-4)
    assert together[0].per_token == pytest.approx(together[0].total / together[0].tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_sharing_prompts_changes_nothing(kind: str) -> None:
    """Prompts of different lengths and with a long common beginning, answers of different lengths, in small groups."""
    longer = Example("toy", "a longer question than the others?", ("x",))
    sequences = [*ALL_SEQUENCES, *ENCODER(longer, ["x", "a long answer"])]
    for budget in (60, 10_000):
        shared, alone = (
            AnswerScorer(tiny_model(kind), ENCODER, budget, share_prompts=share).score_sequences(sequences, "")
            for share in (True, False)
        )
        assert [s.total for s in shared] == pytest.approx([s.total for s in alone], abs=1e-4)
        assert [s.tokens for s in shared] == [s.tokens for s in alone]


def test_a_prompt_is_read_once() -> None:
    """Six prompts of 32 tokens or more, three answers each: the tokens computed are those of prompts and answers."""
    scorer, tokens = toy_scorer(token_budget=10_000), []
    assert can_share(scorer.model)  # tried once, before the tokens are counted
    scorer.model.get_input_embeddings().register_forward_hook(lambda _m, args, _o: tokens.append(args[0].numel()))
    scorer.score_sequences(ALL_SEQUENCES, "")
    naive = sum(len(sequence) for sequence in ALL_SEQUENCES)
    assert sum(tokens) < naive / 2
