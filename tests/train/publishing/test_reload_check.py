"""The log-probabilities by which an exported checkpoint is checked."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.toys import naive_logprobs, tiny_model
from tests.train.publishing.toy_run import write_adapter
from train.model.loading import load_adapter, read_model
from train.model.tokenizer import load_tokenizer
from train.publishing import reload_check
from train.publishing.reload_check import fixed_logprobs, logprobs_in_fresh_process
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError

WATER = "The water in a kettle boils when it is hot enough, and steam rises from its spout."


def test_every_token_but_the_first_of_each_text(tokenizer: PreTrainedTokenizerFast) -> None:
    """The toy tokenizer makes a token of each byte: 61, 57, 82 and 31 of them, less one for each text."""
    model = tiny_model("llama")
    found = fixed_logprobs(model, tokenizer)
    assert len(found) == 60 + 56 + 81 + 30
    ids = tokenizer(WATER)["input_ids"]
    torch.testing.assert_close(
        torch.tensor(found[116:197]), naive_logprobs(model, ids, 1, 82).detach().float(), rtol=1e-4, atol=1e-5
    )


def logprobs_in_memory(adapter: Path, base: Path) -> list[float]:
    exact = BaseModel(str(base), dtype="float32")
    return fixed_logprobs(load_adapter(read_model(exact), str(adapter)), load_tokenizer(exact))


def test_the_command_prints_them_after_a_mark(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = write_adapter(tmp_path / "adapter", base)
    reload_check.main([str(adapter), "--base", str(base), "--dtype", "float32"])
    printed = capsys.readouterr().out.splitlines()[-1]
    mark, _, found = printed.partition(": ")
    expected = logprobs_in_memory(adapter, base)
    assert mark == "log-probabilities"
    assert [float(value) for value in found.strip("[]").split(",")] == pytest.approx(expected)


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_and_one_that_fails_is_an_error(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base)
    expected = logprobs_in_memory(adapter, base)
    assert logprobs_in_fresh_process(adapter, "float32", BaseModel(str(base))) == pytest.approx(expected)
    with pytest.raises(ModelError, match="a fresh process cannot load what was written"):
        logprobs_in_fresh_process(tmp_path, "float32", None)
