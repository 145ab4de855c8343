"""What each selector chooses on a tiny model, what that takes, and how steady it is."""

import pytest
import torch

from eavss.gradients import GradientProfile, Matrix
from tests.toys import BLOCKS, EXAMPLES, arguments, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.comparison.choosing import Chooser, best_parts
from train.model.lora_counts import lora_parameters
from train.recipe.settings import LoraSettings


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> Chooser:
    args, _ = arguments(tmp_path_factory.mktemp("choosing"), "--select_fraction", "0.5")
    batches = paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, 300, 0)
    return Chooser(tiny_model("llama"), batches, args, 0)


@pytest.mark.parametrize("name", ["gradient", "activity", "patching", "dropping", "repeating", "diverse", "probe"])
def test_a_score_selects_as_many_blocks_as_the_recipe_says(chooser: Chooser, name: str) -> None:
    selection = chooser.selection(name)
    assert (len(selection.blocks), selection.source, selection.ranks) == (2, name, None)


def test_a_choice_without_scores_takes_nothing(chooser: Chooser) -> None:
    for name in ("middle", "all", "random:3", "layers:1"):
        assert chooser.scoring(name) == (0.0, None)


def test_what_runs_the_model_more_often_takes_more(chooser: Chooser) -> None:
    """A backward pass beside the forward one; about half the blocks again for each block; twice of both."""
    names = ("eavss:contrast", "gradient", "dropping")
    profile, gradient, dropping = (chooser.scoring(name).flops for name in names)
    assert 1.5 * profile < gradient < 3 * profile
    assert gradient < dropping
    assert chooser.scoring("parts").flops == chooser.scoring("ranks:gradient").flops == gradient
    assert chooser.scoring("ranks:probe").flops == profile


def test_steadiness_is_given_where_a_ranking_can_be_made_again(chooser: Chooser) -> None:
    for name in ("eavss:contrast", "hsav", "gradient", "activity", "patching", "repeating", "parts"):
        tau = chooser.scoring(name).split_half_tau
        assert tau is not None
        assert -1 <= tau <= 1
    assert chooser.scoring("probe").split_half_tau is None
    assert chooser.scoring("eavss:conditional").split_half_tau is None


def test_ranks_are_shared_out_at_as_many_parameters(chooser: Chooser) -> None:
    ranks = chooser.selection("ranks:probe").ranks
    assert ranks is not None
    by_block = {int(name.partition(".")[0]): rank for name, rank in ranks.items()}
    assert sum(by_block.values()) == 2 * 8
    model = tiny_model("llama")
    assert sum(lora_parameters(model, LoraSettings(), ranks)) == sum(lora_parameters(model, LoraSettings())[:2])


def test_the_parts_of_the_largest_gradients_for_their_size_are_taken() -> None:
    """Squares of the means: attention of block 0 2 + 2 = 4 for 4, its MLP 9 for 10, of block 1 1 and 16."""
    matrices = tuple(Matrix(layer, name) for layer in (0, 1) for name in ("attn.q", "attn.o", "mlp.up"))
    means = torch.tensor([2**0.5, 2**0.5, 3, 0.5**0.5, 0.5**0.5, 4])
    found = GradientProfile(matrices, means.reshape(1, 6, 1).expand(3, 6, 1))
    sizes = {f"{m.layer}.{m.name}": 2 if m.part == "attn" else 10 for m in matrices}
    mlp, attention = ["1.mlp.up"], ["0.attn.q", "0.attn.o"]
    assert best_parts(found, sizes, 10) == mlp
    assert best_parts(found, sizes, 14) == [*attention, *mlp]
    assert best_parts(found, sizes, 23) == [*attention, "1.attn.q", "1.attn.o", *mlp]
    del sizes["1.mlp.up"]
    assert best_parts(found, sizes, 4) == attention


def test_the_model_has_as_many_blocks_as_the_scores(chooser: Chooser) -> None:
    assert chooser.selection("all").blocks == tuple(range(BLOCKS))
