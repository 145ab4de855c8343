"""The floor that the memory of a stage is measured against; the runs themselves take minutes."""

from argparse import Namespace
from pathlib import Path

from transformers import AutoConfig

from scripts.benchmarks.benchmark_memory import beside_floor, make_model, table
from tests.toys import VOCABULARY


def test_the_sizes_of_a_model_are_counted(saved_model: Path, tmp_path: Path) -> None:
    """Two blocks of H = 64: four H x H products, three H x 32, two norms. Embeddings and head are V x H."""
    sizes = make_model(Namespace(tokenizer=str(saved_model), blocks=2, hidden=64, intermediate=32), tmp_path)
    tokens = AutoConfig.from_pretrained(tmp_path).vocab_size
    assert tokens <= VOCABULARY
    block = 4 * (4 * 64 * 64 + 3 * 64 * 32 + 2 * 64)
    assert sizes == {"model": 2 * block + 4 * (2 * tokens * 64 + 64), "largest_part": max(block, 4 * tokens * 64)}


def test_the_floor_is_a_share_a_part_and_the_activations() -> None:
    sizes = {"model": 1000, "largest_part": 200}
    figures = beside_floor(sizes, 4, {"load": 900, "score": 1100}, {"load": 450, "score": 660})
    assert figures["stages"]["load"] == {"zero2": 900, "zero3": 450, "floor": 450, "ratio": 1}
    assert figures["stages"]["score"] == {"zero2": 1100, "zero3": 660, "floor": 550, "ratio": 1.2}
    assert table(figures).splitlines()[-1] == "| score | 0 | 0 | 0 | 1.20 |"
