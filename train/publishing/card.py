"""The model card of a run, from the files that it left."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from data.sources import SETS
from train.publishing.report import comparison_rows
from train.recipe.arguments import ALL
from train.runtime.errors import RecipeError
from train.runtime.files import write_text

_NEEDED = ("results.json", "layers.json", "layers.png", "recipe.yaml")
_RESEARCH_ONLY = ("sciq", "wikiqa")


@dataclass(frozen=True)
class Run:
    """A run's own record."""

    folder: Path
    results: dict[str, Any]
    layers: dict[str, Any]
    recipe: str

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read it from a run's output folder.

        Raises:
            RecipeError: a file is missing or broken.
        """
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            raise RecipeError(f"{folder} is no finished run: {', '.join(missing)} should be there")
        try:
            results, layers = (json.loads((folder / name).read_text(encoding="utf-8")) for name in _NEEDED[:2])
            recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
        except ValueError as error:
            raise RecipeError(f"{folder}: a file of the run is broken: {str(error).splitlines()[0]}") from None
        return cls(folder, results, layers, recipe)


def write_card(run: Run, target: Path, repo_id: str, base: str, merged: bool, license: str | None) -> None:
    """Write `README.md` with the Hub's metadata, and the picture it shows.

    Args:
        target: the folder to write to.
        repo_id: what the card calls the model, NAME or OWNER/NAME.
        base: the base model as a reader can find it.
        merged: whether the folder holds a whole checkpoint, or an adapter alone.
        license: of the model, as the Hub names it (apache-2.0); None to leave it out.
    """
    results = run.results
    names = tuple(SETS) if results["dataset"] == ALL else (results["dataset"],)
    trained_on = [SETS[name].HUB_ID if name in SETS else name for name in names]
    research_only = [name for name in names if name in _RESEARCH_ONLY and not results["samples"]]
    data = ModelCardData(
        base_model=base if _is_hub_id(base) else None,
        datasets=[name for name in trained_on if _is_hub_id(name) and not results["samples"]] or None,
        eval_results=_eval_results(results),
        library_name="transformers" if merged else "peft",
        license=license,
        model_name=repo_id.rpartition("/")[2],
        pipeline_tag="text-generation",
        tags=["eavss", "hallucination", "contrastive", "dpo", *([] if merged else ["lora"])],
    )
    environment = Environment(loader=PackageLoader("train.publishing"), undefined=StrictUndefined, trim_blocks=False)
    text = environment.get_template("card.md").render(
        card_data=data.to_yaml(),
        name=repo_id.rpartition("/")[2],
        repo_id=repo_id,
        base=base,
        merged=merged,
        results=results,
        layers=run.layers,
        rows=[{key: _cell(value) for key, value in row.items()} for row in comparison_rows(results)],
        command=results["command"],
        research_only=research_only,
        recipe=run.recipe,
    )
    write_text(target / "README.md", text)
    (target / "layers.png").write_bytes((run.folder / "layers.png").read_bytes())


def _eval_results(results: dict[str, Any]) -> list[EvalResult]:
    """Each metric after training; the Hub has no place for the one before."""
    return [
        EvalResult(
            task_type="text-generation",
            metric_type=metric,
            metric_value=round(value, 4),
            dataset_args={"questions": entry["n"]},
            **_evaluated_on(name, results["samples"]),
        )
        for name, entry in results["benchmarks"].items()
        for metric, value in entry["after"].items()
    ]


def _evaluated_on(name: str, samples: bool) -> dict[str, Any]:
    if samples:
        shown = f"{name} (the samples that eavss ships)"
        return {"dataset_type": "eavss-samples", "dataset_name": shown, "dataset_config": name}
    module = SETS.get(name)
    if module is None:
        return {"dataset_type": name, "dataset_name": name}
    return {
        "dataset_type": module.HUB_ID,
        "dataset_name": name,
        "dataset_config": module.CONFIG,
        "dataset_split": module.EVALUATION_SPLIT,
    }


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _cell(value: Any) -> Any:
    """Text that cannot break out of a Markdown table, nor become HTML in it."""
    return value.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") if isinstance(value, str) else value
