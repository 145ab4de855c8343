"""What an export of random weights is measured on; the measurement itself takes minutes."""

from argparse import Namespace
from pathlib import Path

from safetensors.torch import load_file

from scripts.benchmarks.benchmark_export import work, write_adapter
from scripts.benchmarks.benchmark_memory import make_model


def test_both_ways_to_merge_write_the_same_checkpoint(saved_model: Path, tmp_path: Path) -> None:
    """A checkpoint of one file, so that equal weights are equal bytes."""
    make_model(Namespace(tokenizer=str(saved_model), blocks=2, hidden=64, intermediate=32), tmp_path / "base")
    write_adapter(tmp_path / "base", tmp_path / "adapter")
    for part in ("in memory", "weight by weight"):
        work(part, tmp_path, "5GB")
    files = [tmp_path / part / "model.safetensors" for part in ("in memory", "weight by weight")]
    assert files[0].read_bytes() == files[1].read_bytes()
    base, merged = load_file(tmp_path / "base" / "model.safetensors"), load_file(files[0])
    changed = {name for name in base if not base[name].equal(merged[name])}
    assert changed == {name for name in base if name.endswith("_proj.weight")}
