"""The contrastive trainer: HF's Trainer with the three-term loss, on LoRA at the selected blocks."""

import contextlib
from collections import defaultdict
from typing import Any

import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from eavss.batches import TokenSequence
from eavss.blocks import Blocks, capture_block_outputs, find_blocks, start_at_block
from train import losses
from train.base.reading import BaseOutputs
from train.base.replay_texts import draw_text
from train.batching.packing import PackedBatch, Packer
from train.batching.pairs import ContrastPair, ContrastPairs, PairBatch, collate, split_by_tokens
from train.model.loading import causal_lm, checkpoint_activations
from train.model.logits import logits_at, target_logprobs
from train.recipe.arguments import EavssArguments


class ContrastiveTrainer(Trainer):
    """Minimises ce_weight * CE + dpo_weight * DPO + infonce_weight * InfoNCE + replay_weight * divergence
    (docs/method.md).

    Logs each term, and, by TRL's names, both log-probabilities and the margin: `logps/chosen` falls in many a DPO run
    that looks well by its margin alone.

    Args:
        model: the base with LoRA on `layers`.
        layers: the selected blocks, where InfoNCE reads its states.
        base: the references, and what enters the lowest selected block, where the forward pass then starts. One of the
            texts that it has read to its head joins each micro-batch.
        packer: how pairs become batches.
    """

    def __init__(
        self,
        model: PeftModel,
        layers: list[int],
        args: EavssArguments,
        training: TrainingArguments,
        pairs: ContrastPairs,
        base: BaseOutputs,
        packer: Packer,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        training.push_to_hub = False  # a run is pushed once, by train.publishing.publish, without its resume state
        training.remove_unused_columns = False  # the pairs are no columns of the model's
        training.label_names = []
        if training.activation_checkpointing:
            options = training.activation_checkpointing_kwargs
            checkpoint_activations(model, layers[0], options if isinstance(options, dict) else None)
            training.activation_checkpointing = False  # the Trainer's own would cover the frozen blocks too
        super().__init__(
            model=model,
            args=training,
            train_dataset=pairs,
            data_collator=lambda pairs: {"pairs": pairs},
            processing_class=tokenizer,
        )
        self.model_accepts_loss_kwargs = False  # our loss is a mean over the micro-batch
        self._layers = layers
        self._weights = args
        self._base = base
        self._packer = packer
        self._texts = list(base.head_inputs)
        self._terms: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """`Trainer.train`, without PEFT's cast of each adapter's input to float32 where autocast casts it back."""
        with disable_input_dtype_casting(self.accelerator.unwrap_model(self.model), active=self.args.bf16):
            return super().train(*args, **kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward over the pairs in parts of at most `train_token_budget` tokens, equally many on each
        rank; the gradient is that of the mean over all pairs."""
        pairs: list[ContrastPair] = inputs["pairs"]
        parts = self._parts(pairs)
        state = self.accelerator.gradient_state
        last_syncs = state.sync_gradients
        total = torch.zeros((), device=self.args.device)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            state._set_sync_gradients(last_syncs and last)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                texts = self._draw(pairs) if number == 0 else []
                total += super().training_step(model, {"pairs": part, "share": len(part) / len(pairs), "texts": texts})
        return total

    def _draw(self, pairs: list[ContrastPair]) -> list[TokenSequence]:
        """The same in a resumed run, and another one on each rank and in each micro-batch."""
        return draw_text(self._texts, f"{self.args.seed}:{self.state.global_step}:{pairs[0].chosen.ids}")

    def _parts(self, pairs: list[ContrastPair]) -> list[list[ContrastPair]]:
        parts = split_by_tokens(pairs, self._weights.train_token_budget)
        if self.args.world_size == 1:
            return parts
        most = torch.tensor(len(parts), device=self.args.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return split_by_tokens(pairs, self._weights.train_token_budget, int(most))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The weighted sum of the terms: the pairs', times their share of the batch, and the replayed texts'."""
        texts: list[TokenSequence] = inputs.get("texts", [])
        on_cpu = collate(inputs["pairs"], self._packer, self._base.references, texts)
        batch = on_cpu.to(self.args.device)
        packed = batch.packed
        base = self.accelerator.unwrap_model(model)
        blocks = find_blocks(base)
        states: dict[int, Tensor] = {}
        wanted = self._layers if self._weights.infonce_weight and len(batch.positives) else []
        with capture_block_outputs(blocks, wanted, states.__setitem__), self._entry(blocks, on_cpu.packed):
            called_with = packed.inputs | {"use_cache": False}
            states_of = self._base.head_inputs
            extra_states = torch.cat([states_of[text] for text in texts]).to(self.args.device) if texts else None
            logits = logits_at(model, causal_lm(base), called_with, packed.rows, packed.columns, extra_states)
        logits, of_base = logits.split([len(packed.targets), len(logits) - len(packed.targets)])
        logprobs, _ = target_logprobs(logits, packed.targets)  # (N,)
        sums = packed.answer_sums(logprobs)  # (S,)
        chosen, rejected = sums[batch.chosen], sums[batch.rejected]  # (B,)
        terms = {
            "ce": losses.cross_entropy(logprobs, packed.sequence, packed.count)[batch.chosen].mean(),
            "dpo": losses.dpo(chosen, rejected, batch.reference_chosen, batch.reference_rejected, self._weights.beta),
        }
        if wanted:
            means = torch.stack([packed.answer_means(states[layer]) for layer in self._layers])  # (L, S, H)
            terms["infonce"] = losses.infonce(
                means[:, batch.anchors],
                means[:, batch.positives],
                means[:, batch.rejected],
                self._weights.infonce_temperature,
            )
        loss = sum(getattr(self._weights, f"{name}_weight") * term for name, term in terms.items()) * inputs["share"]
        if texts:
            terms["replay"] = losses.divergence(of_base.detach(), logits[packed.tokens_of_last(len(texts))])
            loss = loss + self._weights.replay_weight * terms["replay"]
        self._record(terms, chosen, rejected, batch)
        return (loss, None) if return_outputs else loss

    def _entry(self, blocks: Blocks, packed: PackedBatch) -> contextlib.AbstractContextManager[None]:
        prefix = self._base.prefix
        if prefix is None:
            return contextlib.nullcontext()
        return start_at_block(blocks, prefix.layer, prefix.gather(packed).to(self.args.device))

    def _record(self, terms: dict[str, Tensor], chosen: Tensor, rejected: Tensor, batch: PairBatch) -> None:
        rewards_chosen = self._weights.beta * (chosen - batch.reference_chosen)
        rewards_rejected = self._weights.beta * (rejected - batch.reference_rejected)
        values = {f"loss/{name}": term for name, term in terms.items()} | {
            "logps/chosen": chosen.mean(),
            "logps/rejected": rejected.mean(),
            "rewards/chosen": rewards_chosen.mean(),
            "rewards/rejected": rewards_rejected.mean(),
            "rewards/margins": (rewards_chosen - rewards_rejected).mean(),
            "rewards/accuracies": (rewards_chosen > rewards_rejected).float().mean(),
        }
        for name, value in values.items():
            self._terms[name].append((value.detach() * len(chosen), len(chosen)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the terms since the last log, over all ranks."""
        if "loss" in logs and self._terms:
            logs |= self._mean_terms()
        super().log(logs, start_time)

    def _mean_terms(self) -> dict[str, float]:
        # Fixed names, since a rank whose batches had no second truthful answer has no InfoNCE to add.
        rows = [[float(sum(each[i] for each in self._terms[name])) for i in (0, 1)] for name in _LOGGED]
        totals = self.accelerator.reduce(torch.tensor(rows, device=self.args.device), reduction="sum")
        self._terms.clear()
        return {name: (total / count).item() for name, (total, count) in zip(_LOGGED, totals, strict=True) if count}


_LOGGED = (
    *("loss/ce", "loss/dpo", "loss/infonce", "loss/replay", "logps/chosen", "logps/rejected"),
    *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"),
)
