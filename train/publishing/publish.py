"""Export a run's result so that others can load it, and push it to the Hub."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainingArguments

from train.publishing.card import make_card
from train.publishing.checkpoints import Adapter, export_adapter, export_merged, find_adapter
from train.publishing.hub import HubRepo
from train.publishing.run_folder import Run
from train.recipe.settings import BaseModel, Quantization
from train.runtime.distributed import on_main_process, say

_CONFIDENCE = "confidence.json"


@dataclass(frozen=True)
class Export:
    """The form in which an adapter is exported.

    Args:
        merged: base and adapter as one checkpoint, instead of the adapter alone.
        dtype: the dtype of a merged checkpoint; None for the base's own.
        max_shard_size: the size of its files, as in `save_pretrained`.
        base_model: the base's Hub id; None for the name it was loaded by.
        license: the license of the export, as the Hub names it; None to leave it out.
    """

    merged: bool = False
    dtype: str | None = None
    max_shard_size: str = "5GB"
    base_model: str | None = None
    license: str | None = None

    def write(self, adapter: Adapter, run: Run | None, target: Path, name: str) -> None:
        """Write the checkpoint, check it in a fresh process, and add the model card of `run`
        and the adapter's `confidence.json`, where there are any.

        Args:
            adapter: the adapter to export.
            run: the finished run that it is from; None to write no card.
            target: the folder to write to.
            name: what the card calls the model, NAME or OWNER/NAME.

        Raises:
            RecipeError: `target` is not empty, or a file of the run is missing.
            ModelError: the checkpoint gives other log-probabilities than the adapter; nothing is left of it.
        """
        base = self.base_model or adapter.base.name
        if Path(base).is_dir():
            say(f"note: the base is named as the folder {base}, which nobody else has; name it on the Hub (base_model)")
        card = None if run is None else make_card(run, name, base, merged=self.merged, license=self.license)
        if self.merged:
            lost = export_merged(adapter, target, self.dtype, self.max_shard_size)
            if packing := adapter.base.quantization:
                loss = precision_loss(packing, lost)
                say(f"note: {loss}")
                card = card and card.saying(loss)
        else:
            export_adapter(adapter, target, base)
        confidence = adapter.folder / _CONFIDENCE
        if confidence.is_file():
            shutil.copyfile(confidence, target / _CONFIDENCE)
        if card is not None:
            card.write(target)


def precision_loss(packing: Quantization, lost: float) -> str:
    """Say what a merged checkpoint has lost.

    Args:
        lost: see `train.publishing.checkpoints.export_merged`.
    """
    return (
        f"the merged weights are those that the adapter was trained on, held in {packing} and unpacked: they differ "
        f"from the base's own by {lost:.1%} (root mean square), whatever dtype they are written in"
    )


def hub_repo(training: TrainingArguments, overwrite: bool) -> HubRepo | None:
    """Return the repo that the recipe pushes to, after checking that it may; None if it pushes nowhere.

    Args:
        training: the recipe's `push_to_hub`, `hub_model_id`, `hub_private_repo` and `hub_revision`.
        overwrite: push to a repo that holds files already.

    Raises:
        HubError: see `HubRepo.check`.
    """
    if not training.push_to_hub:
        return None
    repo = HubRepo(
        training.hub_model_id or Path(str(training.output_dir)).resolve().name,
        training.hub_private_repo,
        training.hub_revision or "main",
        overwrite,
    )
    repo.check()
    return repo


@on_main_process
def push_run(folder: Path, repo: HubRepo, base: BaseModel, export: Export) -> None:
    """Export a finished run and push it.

    Args:
        folder: the run's output folder.
        repo: the repo to push to.
        base: the model that the run was trained from.
        export: the form of the export.

    Raises:
        ModelError, HubError: see `Export.write` and `HubRepo.push`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "export"
        export.write(Adapter(find_adapter(folder), base), Run.read(folder), target, repo.repo_id)
        say(f"pushed: {repo.push(target, 'Upload an eavss checkpoint')}")
