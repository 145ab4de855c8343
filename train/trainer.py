"""The contrastive trainer: HF's Trainer with the three-term loss, on LoRA at the selected blocks."""

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from eavss.blocks import capture_block_outputs, find_blocks
from eavss.moments import masked_mean
from train import losses
from train.arguments import EavssArguments
from train.likelihood import token_logprobs
from train.pairs import ContrastPairs, collate


class ContrastiveTrainer(Trainer):
    """Minimises ce_weight * CE + dpo_weight * DPO + infonce_weight * InfoNCE (docs/method.md).

    Logs each term, and, by TRL's names, both log-probabilities and the margin: `logps/chosen` falls in many a DPO run
    that looks well by its margin alone.

    Args:
        model: the base with LoRA on `layers`.
        layers: the selected blocks, where InfoNCE reads its states.
    """

    def __init__(
        self,
        model: PeftModel,
        layers: list[int],
        args: EavssArguments,
        training: TrainingArguments,
        pairs: ContrastPairs,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        training.remove_unused_columns = False  # the pairs are no columns of the model's
        training.label_names = []
        super().__init__(
            model=model,
            args=training,
            train_dataset=pairs,
            data_collator=partial(collate, pad_id=tokenizer.pad_token_id or 0),
            processing_class=tokenizer,
        )
        self.model_accepts_loss_kwargs = False  # our loss is a mean over the micro-batch
        self._layers = layers
        self._weights = args
        self._terms: dict[str, list[Tensor]] = defaultdict(list)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The weighted sum of the terms for one micro-batch, as `train.pairs.collate` makes it."""
        pairs = inputs["has_positive"].shape[0]  # B
        base = self.accelerator.unwrap_model(model)
        states: dict[int, Tensor] = {}
        wanted = self._layers if self._weights.infonce_weight else []
        predicted = inputs["answer_mask"] | inputs["end_mask"]  # (2B + P, T)
        predicted = predicted & (torch.arange(len(predicted), device=predicted.device) < 2 * pairs).unsqueeze(1)
        with capture_block_outputs(find_blocks(base), wanted, states.__setitem__):
            logprobs = token_logprobs(
                model, base.get_output_embeddings(), inputs["input_ids"], inputs["attention_mask"], predicted
            )  # (2B + P, T)
        sums = (logprobs * inputs["answer_mask"]).sum(1)
        chosen, rejected = sums[:pairs], sums[pairs : 2 * pairs]  # (B,)
        terms = {
            "ce": losses.cross_entropy(logprobs[:pairs], predicted[:pairs]),
            "dpo": losses.dpo(
                chosen, rejected, inputs["reference_chosen"], inputs["reference_rejected"], self._weights.beta
            ),
        }
        if wanted and inputs["has_positive"].any():
            terms["infonce"] = self._infonce(states, inputs)
        self._record(terms, chosen, rejected, inputs)
        loss = sum(getattr(self._weights, f"{name}_weight") * term for name, term in terms.items())
        return (loss, None) if return_outputs else loss

    def _infonce(self, states: dict[int, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        pairs = inputs["has_positive"].shape[0]
        means = torch.stack([masked_mean(states[layer].float(), inputs["answer_mask"]) for layer in self._layers])
        anchors = means[:, :pairs][:, inputs["has_positive"]]  # (L, P, H)
        return losses.infonce(
            anchors, means[:, 2 * pairs :], means[:, pairs : 2 * pairs], self._weights.infonce_temperature
        )

    def _record(self, terms: dict[str, Tensor], chosen: Tensor, rejected: Tensor, inputs: dict[str, Tensor]) -> None:
        rewards_chosen = self._weights.beta * (chosen - inputs["reference_chosen"])
        rewards_rejected = self._weights.beta * (rejected - inputs["reference_rejected"])
        values = {f"loss/{name}": term for name, term in terms.items()} | {
            "logps/chosen": chosen.mean(),
            "logps/rejected": rejected.mean(),
            "rewards/chosen": rewards_chosen.mean(),
            "rewards/rejected": rewards_rejected.mean(),
            "rewards/margins": (rewards_chosen - rewards_rejected).mean(),
            "rewards/accuracies": (rewards_chosen > rewards_rejected).float().mean(),
        }
        for name, value in values.items():
            self._terms[name].append(value.detach())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the terms since the last log, over all ranks."""
        if "loss" in logs and self._terms:
            logs |= self._mean_terms()
        super().log(logs, start_time)

    def _mean_terms(self) -> dict[str, float]:
        # Fixed names, since a rank whose batches had no second truthful answer has no InfoNCE to add.
        rows = [[float(sum(self._terms[name])), float(len(self._terms[name]))] for name in _LOGGED]
        totals = self.accelerator.reduce(torch.tensor(rows, device=self.args.device), reduction="sum")
        self._terms.clear()
        return {name: (total / count).item() for name, (total, count) in zip(_LOGGED, totals, strict=True) if count}


_LOGGED = (
    *("loss/ce", "loss/dpo", "loss/infonce", "logps/chosen", "logps/rejected"),
    *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"),
)
