"""A recipe and a command line are read strictly, and every recipe that ships is read."""

from pathlib import Path

import pytest
import torch
import yaml

from train.recipe.arguments import REPOSITORY
from train.recipe.parse import parse
from train.runtime.errors import RecipeError
from train.runtime.hardware import choose_dtype

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
LARGE = sorted((REPOSITORY / "recipes" / "large").glob("*.yaml"))
# What a model's size changes in a recipe; its data, selection and loss stay.
SCALED = {
    *("model_name_or_path", "prompt_style", "score_questions", "lora_r", "lora_alpha", "train_questions"),
    *("per_device_train_batch_size", "max_steps", "learning_rate", "save_steps", "prefix_cache_gb", "output_dir"),
    *("train_token_budget", "eval_token_budget", "eval_limit", "retention_limit", "layers"),
}
MINIMAL = "model_name_or_path: some/model\noutput_dir: {output}\n"


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> list[str]:
        path = tmp_path / "recipe.yaml"
        path.write_text(MINIMAL.format(output=tmp_path / "out") + text)
        return ["--config", str(path)]

    return write


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path) -> None:
    args, training = parse(["--config", str(path)])
    assert args.dataset == path.stem or path.stem in ("demo", "grounded", "heal", "honest")
    assert training.output_dir == f"outputs/{path.stem}"
    assert training.max_steps > 0


def test_there_is_a_recipe_for_each_set() -> None:
    assert {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa", "demo"} <= {path.stem for path in RECIPES}


def test_every_recipe_of_a_set_has_a_large_variant() -> None:
    assert {path.name for path in LARGE} == {path.name for path in RECIPES} - {"demo.yaml", "heal.yaml"}


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_a_large_recipe_is_the_small_one_scaled(path: Path) -> None:
    _, training = parse(["--config", str(path)])
    assert training.output_dir == f"outputs/{path.stem}-large"
    large, small = (yaml.safe_load(file.read_text()) for file in (path, path.parents[1] / path.name))
    assert {key for key in large.keys() | small.keys() if large.get(key) != small.get(key)} <= SCALED


def test_the_command_line_overrides_the_recipe(recipe) -> None:
    args, training = parse([*recipe("lora_r: 4\nlearning_rate: 1.0e-4\n"), "--lora_r=16", "--layers", "3", "1"])
    assert (args.lora_r, training.learning_rate, args.layers) == (16, 1e-4, [3, 1])


def test_a_number_without_a_dot_is_a_number_all_the_same(recipe) -> None:
    """YAML 1.1 takes 2e-4 for text."""
    assert parse(recipe("learning_rate: 2e-4\n"))[1].learning_rate == 2e-4


def test_the_machine_decides_what_the_recipe_leaves_open(recipe) -> None:
    _, training = parse(recipe(""))
    assert training.bf16 == (choose_dtype("auto") is torch.bfloat16)
    assert training.use_cpu != torch.accelerator.is_available()
    assert parse(recipe("dtype: float32\n"))[1].bf16 is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora_alfa: 8\n", "recipe: unknown key 'lora_alfa'; did you mean 'lora_alpha'?"),
        ("learning_rte: 0.1\n", "did you mean 'learning_rate'?"),
        ("lora_r: 8\nlora_r: 16\n", "line 4: the key 'lora_r' stands there twice"),
        ("lora_r: 8.5\n", "lora_r: 8.5 should be an integer"),
        ("lora_r: true\n", "lora_r: True should be an integer"),
        ("lora_r: 0\n", "lora_r: 0 should be 1 or more"),
        ("selector: nonsense\n", "selector: 'nonsense' should be one of eavss"),
        ("form: contrastive\n", "should be one of contrast, conditional"),
        ("dtype: float16\n", "should be one of auto, bfloat16, float32"),
        ("lr_scheduler_type: triangle\n", "lr_scheduler_type: 'triangle' should be one of linear"),
        ("save_strategy: sometimes\n", "save_strategy: 'sometimes' should be one of no"),
        ("learning_rate: fast\n", "learning_rate: 'fast' should be a number"),
        ("learning_rate: -0.1\n", "learning_rate: -0.1 should be above 0"),
        ("layers: 3\n", "layers: 3 should be a list, each item an integer or null"),
        ("layers: [1, two]\n", "layers: [1, 'two'] should be a list"),
        ("select_fraction: 0\n", "select_fraction: 0.0 should be above 0"),
        ("select_fraction: 1.5\n", "select_fraction: 1.5 should be above 0, at most 1"),
        ("evaluate_on: [nq, squad]\n", "evaluate_on: ['squad'] should be among nq"),
        ("ce_weight: 0\ndpo_weight: 0\n", "should be not all 0"),
        ("beta: 0\n", "beta: 0.0 should be above 0"),
        ("deepspeed: nowhere.json\n", "deepspeed: no file nowhere.json"),
        ("eval_strategy: steps\n", "eval_strategy"),
        ("env:\n  HF_TOKEN: x\n", "'env' is not allowed"),
        ("a list\n", "is not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_gets_one_line(recipe, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")  # as under a launcher, where `deepspeed` counts
    with pytest.raises(RecipeError) as caught:
        parse(recipe(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lora_alfa", "8"], "command line: unknown key 'lora_alfa'; did you mean 'lora_alpha'?"),
        (["--lora_r", "8", "--lora_r=9"], "--lora_r is given twice"),
        (["--lora_r", "many"], "invalid int value: 'many'"),
        (["--selector", "best"], "invalid choice: 'best'"),
        (["--dtype"], "--dtype"),
        (["--config"], "--config: a value should follow"),
        (["--learning"], "unknown key 'learning'"),
        ([], "model_name_or_path"),
    ],
)
def test_a_wrong_command_line_gets_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_recipes_deepspeed_gives_way_to_the_command_lines(recipe) -> None:
    """Without a launcher both are off; what is left of the recipe's would be used instead of the command line's."""
    words = ["--deepspeed", "recipes/deepspeed/zero3.json"]
    _, training = parse([*recipe("deepspeed: recipes/deepspeed/zero2.json\n"), *words])
    assert training.deepspeed is None


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe .*none\.yaml: No such file"):
        parse(["--config", str(tmp_path / "none.yaml")])


def test_no_retention_is_said_by_a_word_on_the_command_line(recipe) -> None:
    assert parse([*recipe(""), "--retention", "none"])[0].retention == []
    assert parse(recipe("retention: []\n"))[0].retention == []
    with pytest.raises(RecipeError, match=r"retention: \['none'\] should be among wikitext"):
        parse([*recipe(""), "--retention", "none", "wikitext"])
