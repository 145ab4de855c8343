"""The contrastive trainer: HF's Trainer with the loss of `train.losses`, on LoRA at the selected blocks."""

import contextlib
from collections import defaultdict
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, TrainingArguments

from eavss.blocks import Blocks, capture_block_outputs, find_blocks, start_at_block
from eavss.selectors import Selection
from train import losses
from train.base.reading import BaseOutputs
from train.base.replay_texts import draw_text
from train.batching.packing import PackedBatch, Packer
from train.batching.pairs import ContrastPair, ContrastPairs, MicroBatch, PairBatch, collate, split_by_tokens
from train.losses import TERMS, LossWeights, TermInputs
from train.model.adapter_trainer import AdapterTrainer
from train.model.loading import causal_lm, checkpoint_activations
from train.model.logits import logits_at, target_logprobs
from train.recipe.trainer_arguments import with_values

_LOGGED = (
    *(f"loss/{term.name}" for term in TERMS),
    *("logps/chosen", "logps/rejected", "decline/accuracies"),
    *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"),
)


class ContrastiveTrainer(AdapterTrainer):
    """Minimises the weighted sum of the terms in `train.losses.TERMS` (docs/method.md).

    It logs every term, and by TRL's names both log-probabilities and the margin. In many a DPO run `logps/chosen` falls
    while the margin alone looks well. `decline/accuracies` is the share of own answers, and of wordings that
    decline, that are preferred where they should be.

    Args:
        model: the base with LoRA on the selected blocks.
        selection: the selected blocks, where InfoNCE reads its states.
        weights: the weights of the loss terms.
        training: the Trainer's arguments, which are left as they are.
        pairs: the training pairs.
        base: the references, the texts to replay, and what enters the lowest selected block, where the forward pass
            then starts.
        packer: how pairs become batches.
        tokenizer: saved with each checkpoint.
        token_budget: tokens in one forward and backward pass; a batch over it is divided.
    """

    def __init__(
        self,
        *,
        model: PeftModel,
        selection: Selection,
        weights: LossWeights,
        training: TrainingArguments,
        pairs: ContrastPairs,
        base: BaseOutputs,
        packer: Packer,
        tokenizer: PreTrainedTokenizerBase,
        token_budget: int,
    ) -> None:
        if training.activation_checkpointing:
            options = training.activation_checkpointing_kwargs
            checkpoint_activations(model, selection.lowest, options if isinstance(options, dict) else None)
        super().__init__(
            model=model,
            # The Trainer's own recomputation would cover the frozen blocks too.
            training=with_values(training, activation_checkpointing=False),
            texts=pairs,
            collate=lambda pairs: {"pairs": pairs},
            tokenizer=tokenizer,
        )
        self._selection = selection
        self._weights = weights
        self._base = base
        self._packer = packer
        self._token_budget = token_budget
        self._values: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)

    @property
    def adapted(self) -> PeftModel:
        """The base with the adapter that is being trained."""
        return cast(PeftModel, self.model)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run forward and backward over a batch in parts of at most `token_budget` tokens, equally many on each rank.

        The gradient is that of the mean over all pairs of the batch.

        Raises:
            ModelError: the loss is NaN or infinite, or it has exploded.
        """
        parts = self._parts(inputs["pairs"])
        state = self.accelerator.gradient_state
        last_syncs = state.sync_gradients
        total = torch.zeros((), device=self.args.device)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            state._set_sync_gradients(last_syncs and last)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                total += super().training_step(model, {"part": part})
        self.require_sound(total, inputs["pairs"][0].chosen.prompt)
        return total

    def _parts(self, pairs: list[ContrastPair]) -> list[MicroBatch]:
        parts = split_by_tokens(pairs, self._token_budget)
        if self.args.world_size > 1:
            most = torch.tensor(len(parts), device=self.args.device)
            torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
            parts = split_by_tokens(pairs, self._token_budget, int(most))
        # The key gives the same text in a resumed run, and another one on each rank and in each micro-batch.
        replay = draw_text(self._base.replay, f"{self.args.seed}:{self.state.global_step}:{pairs[0].chosen.ids}")
        return [MicroBatch(part, len(part) / len(pairs), None if n else replay) for n, part in enumerate(parts)]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the weighted sum of the terms for one part of a batch, `inputs["part"]`."""
        part: MicroBatch = inputs["part"]
        found = self._forward(model, collate(part, self._packer, self._base.references))
        values = {term.name: value for term in TERMS if (value := term.compute(found, self._weights)) is not None}
        self._record(values, found)
        loss = losses.weighted_sum(values, self._weights, part.share)
        return (loss, None) if return_outputs else loss

    def _forward(self, model: nn.Module, on_cpu: PairBatch) -> TermInputs:
        """Run the model from the lowest selected block on, with logits for answer tokens only."""
        batch = on_cpu.to(self.args.device)
        packed = batch.packed
        unwrapped = self.accelerator.unwrap_model(model)
        blocks = find_blocks(unwrapped)
        states: dict[int, Tensor] = {}
        captured = list(self._selection.blocks) if self._weights.infonce and len(batch.positives) else []
        with capture_block_outputs(blocks, captured, states.__setitem__), self._start(blocks, on_cpu.packed):
            logits = logits_at(
                model,
                causal_lm(unwrapped),
                packed.inputs | {"use_cache": False},
                packed.rows,
                packed.columns,
                extra_states=batch.base_head_inputs,
            )
        logits, base_logits = logits.split([len(packed.targets), len(logits) - len(packed.targets)])
        logprobs, _ = target_logprobs(logits, packed.targets)  # (N,)
        sums = packed.answer_sums(logprobs)  # (S,)
        pooled = None
        if captured:
            means = torch.stack([packed.answer_means(states[block]) for block in captured])  # (L, S, H)
            pooled = means[:, batch.anchors], means[:, batch.positives], means[:, batch.rejected]
        replayed = batch.base_head_inputs is not None
        return TermInputs(
            cross_entropies=losses.cross_entropy(logprobs, packed.sequence, packed.count)[batch.chosen],
            chosen=sums[batch.chosen],
            rejected=sums[batch.rejected],
            reference_chosen=batch.reference_chosen,
            reference_rejected=batch.reference_rejected,
            states=pooled,
            replay_logits=(base_logits.detach(), logits[batch.replayed_tokens]) if replayed else None,
            declines=batch.declines,
        )

    def _start(self, blocks: Blocks, packed: PackedBatch) -> contextlib.AbstractContextManager[None]:
        cache = self._base.block_inputs
        if cache is None:
            return contextlib.nullcontext()
        return start_at_block(blocks, cache.layer, cache.gather(packed).to(self.args.device))

    def _record(self, terms: dict[str, Tensor], found: TermInputs) -> None:
        values = {f"loss/{name}": term for name, term in terms.items()}
        if found.declines:
            values["decline/accuracies"] = (found.chosen > found.rejected).float().mean()
        else:
            values |= self._preferences(found)
        pairs = len(found.chosen)
        for name, value in values.items():
            self._values[name].append((value.detach() * pairs, pairs))

    def _preferences(self, found: TermInputs) -> dict[str, Tensor]:
        rewards_chosen = self._weights.beta * (found.chosen - found.reference_chosen)
        rewards_rejected = self._weights.beta * (found.rejected - found.reference_rejected)
        return {
            "logps/chosen": found.chosen.mean(),
            "logps/rejected": found.rejected.mean(),
            "rewards/chosen": rewards_chosen.mean(),
            "rewards/rejected": rewards_rejected.mean(),
            "rewards/margins": (rewards_chosen - rewards_rejected).mean(),
            "rewards/accuracies": (rewards_chosen > rewards_rejected).float().mean(),
        }

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the terms since the last log over all ranks."""
        if "loss" in logs and self._values:
            logs |= self._mean_values()
        super().log(logs, start_time)

    def _mean_values(self) -> dict[str, float]:
        # Fixed names, since a rank whose batches had no second truthful answer has no InfoNCE to add.
        rows = [[float(sum(each[i] for each in self._values[name])) for i in (0, 1)] for name in _LOGGED]
        totals = self.accelerator.reduce(torch.tensor(rows, device=self.args.device), reduction="sum")
        self._values.clear()
        return {name: (total / count).item() for name, (total, count) in zip(_LOGGED, totals, strict=True) if count}
