"""Write the model card of a run from the files that it left."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from data.sets import ALL, SETS
from train.publishing.rows import asked_rows, footnotes, metric_rows
from train.publishing.run_folder import Results, Run
from train.recipe.settings import Quantization
from train.runtime.files import write_text

# What follows the limits in templates/card.md.
_LAST_LIMIT = "## How it was made"


@dataclass(frozen=True)
class Card:
    """A model card and the picture that it shows.

    Args:
        text: the Markdown of `README.md`, with the Hub's metadata at its head.
        picture: the PNG of the profile.
    """

    text: str
    picture: bytes

    def saying(self, limit: str) -> "Card":
        """Return the card with one more of its limits, a sentence without its capital and full stop."""
        line = f"- {limit[0].upper()}{limit[1:]}.\n"
        return replace(self, text=self.text.replace(_LAST_LIMIT, line + _LAST_LIMIT, 1))

    def write(self, folder: Path) -> None:
        """Write `README.md` and `layers.png`."""
        write_text(folder / "README.md", self.text)
        (folder / "layers.png").write_bytes(self.picture)


def make_card(run: Run, repo_id: str, base: str, *, merged: bool, license: str | None) -> Card:
    """Make the model card of a run.

    Args:
        repo_id: what the card calls the model, NAME or OWNER/NAME.
        base: the name by which a reader finds the base model.
        merged: whether the folder holds a whole checkpoint, or an adapter alone.
        license: the license of the model, as the Hub names it (apache-2.0); None to leave it out.

    Raises:
        RecipeError: a file of the run is missing or broken.
    """
    results, packing = run.results, run.base_model.quantization
    name = repo_id.rpartition("/")[2]
    data = ModelCardData(
        base_model=base if _is_hub_id(base) else None,
        datasets=_hub_datasets(results) or None,
        eval_results=_eval_results(results),
        library_name="transformers" if merged else "peft",
        license=license,
        model_name=name,
        pipeline_tag="text-generation",
        tags=["eavss", "hallucination", "contrastive", "dpo", *([] if merged else ["lora"])],
    )
    environment = Environment(loader=PackageLoader("train.publishing"), undefined=StrictUndefined, trim_blocks=False)
    environment.filters["cell"] = _table_cell
    text = environment.get_template("card.md").render(
        card_data=data.to_yaml(),
        name=name,
        repo_id=repo_id,
        base=base,
        merged=merged,
        results=results,
        layers=run.layers,
        rows=metric_rows(results),
        asked=asked_rows(results),
        footnotes=footnotes(results),
        research_only=_research_only(results),
        recipe=run.recipe,
        packing=packing,
        packing_config=packing and _packing_config(packing),
    )
    return Card(text, run.picture)


def _packing_config(packing: Quantization) -> str:
    """Return the Python expression that loads a base as it was trained on."""
    if packing.bits == 8:
        return "BitsAndBytesConfig(load_in_8bit=True)"
    nested = ", bnb_4bit_use_double_quant=True" if packing.nested else ""
    return f'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="{packing.kind}"{nested})'


def _trained_on(results: Results) -> tuple[str, ...]:
    return tuple(SETS) if results["dataset"] == ALL else (results["dataset"],)


def _hub_datasets(results: Results) -> list[str]:
    if results["samples"]:
        return []
    ids = [SETS[name].hub_id if name in SETS else name for name in _trained_on(results)]
    return [name for name in ids if _is_hub_id(name)]


def _research_only(results: Results) -> list[str]:
    return (
        []
        if results["samples"]
        else [name for name in _trained_on(results) if name in SETS and SETS[name].research_only]
    )


def _eval_results(results: Results) -> list[EvalResult]:
    """Return each metric after training; the Hub has no place for the one before."""
    found = []
    for name, entry in results["benchmarks"].items():
        dataset = _evaluated_on(name, entry.get("split"), results["samples"])
        for metric, value in entry["after"].items():
            result = EvalResult(
                task_type="text-generation",
                metric_type=metric,
                metric_value=round(value, 4),
                dataset_args={"questions": entry["n"]},
                dataset_type=dataset.type,
                dataset_name=dataset.name,
                dataset_config=dataset.config,
                dataset_split=dataset.split,
            )
            found.append(result)
    return found


class _HubDataset(NamedTuple):
    """A data set as the Hub's metadata describes it."""

    type: str
    name: str
    config: str | None = None
    split: str | None = None


def _evaluated_on(name: str, split: str | None, samples: bool) -> _HubDataset:
    if samples:
        return _HubDataset("eavss-samples", f"{name} (the samples that eavss ships)", config=name)
    if name not in SETS:
        return _HubDataset(name, name)
    known = SETS[name]
    return _HubDataset(known.hub_id, name, known.config, split or known.validation_split)


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _table_cell(text: str) -> str:
    """Return text that cannot break out of a Markdown table, nor become HTML in it."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
