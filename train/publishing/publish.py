"""From a run to a checkpoint that others can load, and to the Hub."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainingArguments

from train.publishing.card import Run, write_card
from train.publishing.checkpoints import Adapter, export_adapter, export_merged, find_adapter
from train.publishing.hub import HubRepo
from train.recipe.arguments import EavssArguments
from train.runtime.distributed import say


@dataclass(frozen=True)
class Export:
    """What to make of an adapter.

    Args:
        merged: base and adapter as one checkpoint, or the adapter alone.
        dtype: of a merged checkpoint; None for the base's own.
        max_shard_size: of its files, as in `save_pretrained`.
        base_model: the base's Hub id; None for the name it was loaded by.
        license: of what is exported, as the Hub names it; None to leave it out.
    """

    merged: bool = False
    dtype: str | None = None
    max_shard_size: str = "5GB"
    base_model: str | None = None
    license: str | None = None

    def write(self, adapter: Adapter, run: Run | None, target: Path, name: str) -> None:
        """Write the checkpoint, checked in a fresh process, and the model card of `run`.

        Raises:
            RecipeError: `target` holds something already.
            ModelError: what was written does not give what was trained; nothing is left then.
        """
        base = self.base_model or adapter.base.model_name_or_path
        if Path(base).is_dir():
            say(f"note: the base is named as the folder {base}, which nobody else has; name it on the Hub (base_model)")
        if self.merged:
            export_merged(adapter, target, self.dtype, self.max_shard_size)
        else:
            export_adapter(adapter, target, base)
        if run is not None:
            write_card(run, target, name, base, self.merged, self.license)


def hub_repo(args: EavssArguments, training: TrainingArguments) -> HubRepo | None:
    """Where the recipe wants the result pushed to, checked; None if nowhere.

    Raises:
        HubError: it would be refused.
    """
    if not training.push_to_hub:
        return None
    repo = HubRepo(
        training.hub_model_id or Path(str(training.output_dir)).resolve().name,
        training.hub_private_repo,
        training.hub_revision or "main",
        args.hub_overwrite,
    )
    repo.check()
    return repo


def push_run(folder: Path, repo: HubRepo, args: EavssArguments) -> None:
    """Export a finished run and push it.

    Raises:
        ModelError, HubError: see `Export.write` and `HubRepo.push`.
    """
    adapter = find_adapter(folder, args.model_name_or_path, args.model_revision, args.trust_remote_code)
    export = Export(args.hub_merged, base_model=args.hub_base_model, license=args.hub_license)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "export"
        export.write(adapter, Run.read(folder), target, repo.repo_id)
        say(f"pushed: {repo.push(target, 'Upload an eavss checkpoint')}")
