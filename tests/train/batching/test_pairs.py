"""Examples become contrast pairs, and pairs batches."""

import torch

from eavss.batches import TokenSequence
from tests.toys import EXAMPLES, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import ContrastPairs, MicroBatch, ReplayText, collate, make_pairs, split_by_tokens

ENCODER = Encoder(tiny_tokenizer(), "plain", 128)


def pairs_of(count: int, per_question: int = 1, with_positive: bool = False, seed: int = 0) -> ContrastPairs:
    return make_pairs(EXAMPLES[:count], ENCODER, per_question, with_positive, seed)


def test_pairs_are_different_seeded_and_independent_of_other_questions() -> None:
    several = pairs_of(6, 4, with_positive=True, seed=3)
    assert len(several) == 12  # two truthful answers times one hallucinated one, six questions
    assert all(pair.positive is not None and pair.positive.ids != pair.chosen.ids for pair in several)
    alone = make_pairs(EXAMPLES[3:4], ENCODER, 4, with_positive=True, seed=3)
    assert [pair.chosen for pair in alone] == [pair.chosen for pair in several][6:8]


def test_at_most_draws_pairs_by_the_seed_and_keeps_their_order() -> None:
    pairs = pairs_of(6, 2)
    drawn, again, other = (list(pairs.at_most(5, seed)) for seed in (0, 0, 1))
    assert drawn == again
    assert drawn != other
    places = [list(pairs).index(pair) for pair in drawn]
    assert len(places) == 5
    assert places == sorted(set(places))
    for count in (None, len(pairs), 100):
        assert pairs.at_most(count, 0) is pairs


def test_collate_numbers_the_sequences_of_each_pair() -> None:
    without, with_positive = pairs_of(2)[1], pairs_of(2, with_positive=True)[0]
    references = {s: float(n) for n, s in enumerate([*with_positive.sequences, *without.sequences])}
    for packer in (Packer(torch.float32, "sdpa"), Packer(torch.float32, None)):
        batch = collate(MicroBatch([with_positive, without]), packer, references)
        assert batch.packed.count == 5
        assert batch.chosen.tolist() == [0, 3]
        assert batch.rejected.tolist() == [1, 4]
        assert (batch.anchors.tolist(), batch.positives.tolist()) == ([0], [2])
        assert batch.reference_chosen.tolist() == [0.0, 3.0]
        assert batch.reference_rejected.tolist() == [1.0, 4.0]
        assert 2 not in batch.packed.sequence.tolist()  # nothing is predicted of the positive


def test_a_replayed_text_stands_after_the_pairs() -> None:
    pair = pairs_of(1)[0]
    text = ReplayText(TokenSequence((7, 8, 9), 1, 3), torch.ones(2, 4))
    for packer in (Packer(torch.float32, "sdpa"), Packer(torch.float32, None)):
        batch = collate(MicroBatch([pair], replay=text), packer, dict.fromkeys(pair.sequences, 0.0))
        assert batch.packed.count == 3
        assert batch.packed.targets[batch.replayed_tokens].tolist() == [8, 9]
        assert batch.base_head_inputs is text.head_inputs
        assert collate(MicroBatch([pair]), packer, dict.fromkeys(pair.sequences, 0.0)).base_head_inputs is None


def test_a_batch_over_the_budget_is_divided() -> None:
    pairs = list(pairs_of(6))
    lengths = [sum(map(len, pair.sequences)) for pair in pairs]
    assert split_by_tokens(pairs, 10_000) == [sorted(pairs, key=lambda pair: -sum(map(len, pair.sequences)))]
    parts = split_by_tokens(pairs, 2 * max(lengths))
    assert [len(part) for part in parts] == [2, 2, 2]
    assert all(len(part) == 1 for part in split_by_tokens(pairs, 1))
    assert sorted(len(part) for part in split_by_tokens(pairs, 10_000, parts=4)) == [1, 1, 2, 2]
    for budget in (1, 2 * max(lengths), 10_000):
        assert {pair for part in split_by_tokens(pairs, budget) for pair in part} == set(pairs)
