"""The pairs of the training benchmark have the lengths that are asked for."""

from transformers import PreTrainedTokenizerFast

from scripts.benchmarks.training_rows import training_pairs


def test_pairs_of_the_rows_are_several_of_a_question(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = list(training_pairs("samples", tokenizer, 6))
    assert len(pairs) == 6
    assert pairs[0].chosen.prompt == pairs[1].chosen.prompt
    assert len({tuple(pair.sequences) for pair in pairs}) == 6


def test_long_pairs_are_as_long_as_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = list(training_pairs("samples", tokenizer, 3, (700, 90)))
    assert len(pairs) == 3
    assert len({pair.chosen.prompt for pair in pairs}) == 3
    for pair in pairs:
        assert 690 <= len(pair.chosen.prompt) <= 732
        assert pair.chosen.ids != pair.rejected.ids
        for sequence in pair.sequences:
            assert 80 <= len(sequence.ids) - len(sequence.prompt) <= 95
