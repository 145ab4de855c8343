"""The model card of a run."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.train.publishing.toy_run import LAYERS, RECIPE, RESULTS, write_run
from train.publishing.card import make_card
from train.publishing.run_folder import Results, Run
from train.runtime.errors import RecipeError


def results(**more: Any) -> Results:
    """The results of a run on one of the five sets, `more` replacing what they hold."""
    benchmarks = {"nq": RESULTS["benchmarks"]["nq"]}
    found: Results = {**RESULTS, "dataset": "truthfulqa", "benchmarks": benchmarks} | more  # type: ignore[assignment]
    return found


def card(folder: Path, found: Results, merged: bool = False, base: str = "owner/base") -> ModelCard:
    run = Run.read(write_run(folder, found))
    made = make_card(run, "tester/toy", base, merged=merged, license="mit")
    made.write(folder / "out")
    assert (folder / "out" / "layers.png").read_bytes() == (folder / "layers.png").read_bytes()
    return ModelCard((folder / "out" / "README.md").read_text(encoding="utf-8"))


def test_an_adapters_metadata(tmp_path: Path) -> None:
    data = card(tmp_path, results()).data
    assert (data.base_model, data.library_name, data.license) == ("owner/base", "peft", "mit")
    assert data.datasets == ["truthfulqa/truthful_qa"]
    assert "lora" in data.tags
    assert {(r.metric_type, r.metric_value) for r in data.eval_results} == {("contrast_accuracy", 0.625), ("f1", 0.2)}
    first = data.eval_results[0]
    assert (first.dataset_type, first.dataset_split) == ("google-research-datasets/nq_open", "validation")
    assert first.dataset_args == {"questions": 7}


def test_a_merged_checkpoints_metadata(tmp_path: Path) -> None:
    found = card(tmp_path, results(), merged=True)
    assert found.data.library_name == "transformers"
    assert "lora" not in found.data.tags
    assert 'pipeline("text-generation", model="tester/toy")' in found.text


NESTED = 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True'


@pytest.mark.parametrize(
    ("keys", "words", "code"),
    [
        ("load_in_4bit: true\nuse_bnb_nested_quant: true\n", "4 bits (nf4, nested)", NESTED),
        ("load_in_8bit: true\n", "8 bits", "load_in_8bit=True"),
    ],
)
def test_a_packed_base_is_said_and_loaded_as_it_was(keys: str, words: str, code: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path, results())
    (folder / "recipe.yaml").write_text(RECIPE + keys)
    made = make_card(Run.read(folder), "tester/toy", "owner/base", merged=False, license=None)
    assert f"The base's linear layers were held in {words}, before" in made.text
    assert f"packing = BitsAndBytesConfig({code})\nmodel = AutoPeftModelForCausalLM.from_pretrained(" in made.text
    assert 'quantization_config=packing)\ntokenizer = AutoTokenizer.from_pretrained("owner/base")\n```' in made.text
    said = made.saying("the merged weights are others")
    assert "\n- The merged weights are others.\n## How it was made" in said.text
    assert len(said.text) == len(made.text) + len("- The merged weights are others.\n")


def test_the_samples_are_no_data_set_of_the_hub(tmp_path: Path) -> None:
    found = card(tmp_path, results(samples=True))
    assert found.data.datasets is None
    assert {result.dataset_type for result in found.data.eval_results} == {"eavss-samples"}
    assert "of the small samples that eavss ships" in found.text


def test_a_base_in_a_folder_is_named_but_not_as_a_repo(tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    found = card(tmp_path, results(), base=str(tmp_path / "owner"))
    assert found.data.base_model is None
    assert f"A LoRA adapter for {tmp_path / 'owner'}" in found.text


def test_what_the_card_says_of_the_run(tmp_path: Path) -> None:
    text = card(tmp_path, results()).text
    assert "2 of 4 decoder blocks were trained:\n1, 3." in text
    assert LAYERS["stability"]["verdict"] in text
    assert "| nq | contrast_accuracy | 7 | 0.500 | 0.625 | +0.125 | +0.025 to +0.250 | +0.025 ~ |" in text
    assert "| nq | f1 | 7 | 0.250 | 0.200 | -0.050 ~ | -0.200 to +0.100 |  |" in text
    assert "| wikitext | perplexity | 20.000 | 21.500 |" in text
    assert RESULTS["command"] in text
    assert RECIPE in text
    assert "layers.png" in text


@pytest.mark.parametrize(
    ("dataset", "samples", "named"),
    [("sciq", False, "sciq"), ("all", False, "sciq, wikiqa"), ("truthfulqa", False, None), ("sciq", True, None)],
)
def test_data_for_research_only_is_named(dataset: str, samples: bool, named: str | None, tmp_path: Path) -> None:
    text = card(tmp_path, results(dataset=dataset, samples=samples)).text
    said = "Trained on data licensed for research only: "
    assert said not in text if named is None else f"{said}{named}.\n" in text


def test_a_users_name_cannot_break_the_table(tmp_path: Path) -> None:
    name = "a|b <script>\nc"
    found = card(tmp_path, results(benchmarks={name: RESULTS["benchmarks"]["<b>own</b>"]}))
    assert "| a\\|b &lt;script> c | contrast_accuracy | 3 |" in found.text


@pytest.mark.parametrize("name", ["layers.json", "layers.png"])
def test_a_card_needs_the_profile(name: str, tmp_path: Path) -> None:
    run = Run.read(write_run(tmp_path, results()))
    (tmp_path / name).unlink()
    with pytest.raises(RecipeError, match=f"not the folder of a finished run: {name}"):
        make_card(run, "toy", "owner/base", merged=False, license=None)
