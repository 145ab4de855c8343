"""What can be told of a base model from its folder alone."""

import json
from pathlib import Path

import pytest

from eavss.blocks import find_blocks
from tests.toys import KINDS, tiny_model
from train.model.source import count_blocks, require_base
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_names_as_many_blocks_as_are_found(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    model.config.save_pretrained(tmp_path)
    assert count_blocks(BaseModel(str(tmp_path))) == len(find_blocks(model).modules)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"num_hidden_layers": "many"}', '{"text_config": 3}'])
def test_a_config_that_names_no_number_leaves_the_question_to_the_model(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert count_blocks(BaseModel(str(tmp_path))) is None


def test_the_blocks_of_a_model_of_several_parts_are_the_text_models(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "text_config": {"num_hidden_layers": 7}}))
    assert count_blocks(BaseModel(str(tmp_path))) == 7


def test_no_folder_is_told_and_a_hub_id_is_not_looked_for(tmp_path: Path) -> None:
    require_base(BaseModel("owner/name"))
    with pytest.raises(ModelError, match="no folder"):
        require_base(BaseModel(str(tmp_path / "none")))
