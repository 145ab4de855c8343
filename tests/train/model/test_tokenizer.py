"""A tokenizer that does not fit its model is made to fit, or refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from data.examples import Example
from tests.toys import EOS, VOCABULARY, save_tiny, tiny_model, tiny_tokenizer
from train.base.mined_answers import AnswerWriter
from train.base.replay_texts import write_replay_texts
from train.batching.encoding import Encoder
from train.evaluation.free_answers import FreeAnswers
from train.model.tokenizer import copy_tokenizer, load_tokenizer
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError


def changed(folder: Path, name: str, **values: object) -> None:
    """Change values of a JSON file; None removes one."""
    content = json.loads((folder / name).read_text())
    content |= values
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def test_a_padding_token_is_added_where_there_is_none(folder: Path) -> None:
    assert load_tokenizer(BaseModel(str(folder))).pad_token == EOS


def test_the_models_config_names_an_end_of_sequence(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", eos_token=None)
    tokenizer = load_tokenizer(BaseModel(str(folder)))
    assert (tokenizer.eos_token, tokenizer.pad_token) == (EOS, EOS)


@pytest.mark.parametrize("ids", [[256, 5], 256])
def test_several_ends_in_the_config_are_no_fault(folder: Path, ids: object) -> None:
    changed(folder, "tokenizer_config.json", eos_token=None)
    changed(folder, "config.json", eos_token_id=ids)
    assert load_tokenizer(BaseModel(str(folder))).eos_token_id == 256


def test_no_end_of_sequence_at_all_is_refused(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", eos_token=None)
    changed(folder, "config.json", eos_token_id=None)
    with pytest.raises(ModelError, match=r"neither the tokenizer of .* nor its config.json names an end-of-sequence"):
        load_tokenizer(BaseModel(str(folder)))


def test_a_padding_token_beyond_the_model_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after `add_special_tokens({"pad_token": "[PAD]"})` without resizing the model: it would be no row at all."""
    folder = tmp_path / "model"
    tiny_model("llama").save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<filler {n}>" for n in range(VOCABULARY - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == VOCABULARY
    tokenizer.save_pretrained(folder)
    loaded = load_tokenizer(BaseModel(str(folder)))
    assert loaded.pad_token == EOS
    assert (
        capsys.readouterr().out
        == f"note: the padding token '[PAD]' is beyond the model's 300 tokens; '{EOS}' is used instead\n"
    )
    model = tiny_model("llama")
    examples = [Example("nq", question, ("one",)) for question in ("why?", "which one of them?")]
    FreeAnswers(model, Encoder(loaded, "plain", 64), 1000)(examples, "")
    AnswerWriter(model, loaded, examples, 2, seed=0)(examples)
    assert max(max(text.ids) for text in write_replay_texts(model, loaded, seed=0)) < VOCABULARY


def test_extra_tokens_that_no_text_needs_are_no_fault(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<picture {n}>" for n in range(50)])
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(BaseModel(str(folder))).pad_token == EOS


@pytest.mark.parametrize("rows", [100, 256])
def test_a_tokenizer_of_a_larger_model_is_refused(folder: Path, rows: int) -> None:
    changed(folder, "config.json", vocab_size=rows)
    with pytest.raises(ModelError, match=rf"another model: its token .* has the id {rows}, and the model has {rows}"):
        load_tokenizer(BaseModel(str(folder)))


def test_a_folder_without_a_tokenizer_is_named(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"it has no tokenizer; copy tokenizer\.json") as caught:
        load_tokenizer(BaseModel(str(folder)))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_ends_every_text_mines_the_same_answers() -> None:
    """Else the model would answer after an end-of-sequence."""
    examples = [Example("nq", question, ("one",)) for question in ("why?", "which one of them?")]
    ending = tiny_tokenizer()
    ending.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, ending.eos_token_id)]
    )
    plain, other = (
        AnswerWriter(tiny_model("llama"), tokenizer, examples, 3, seed=0)(examples)
        for tokenizer in (tiny_tokenizer(), ending)
    )
    assert plain == other


def test_a_copy_is_the_bases_own_to_the_byte(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional.txt").write_text("no part of a tokenizer")
    target = tmp_path / "copy"
    target.mkdir()
    copy_tokenizer(BaseModel(str(folder)), target)
    names = {path.name for path in target.iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert all((target / name).read_bytes() == (folder / name).read_bytes() for name in names)
    shutil.rmtree(target)
