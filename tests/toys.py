"""Small doubles of what the real thing would download: random models and a tokenizer, made in memory."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from torch.nn import functional as F
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainingArguments,
)

from data.examples import Example, wrong_answers
from eavss.selectors import Selection
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.evaluation.likelihood import AnswerScorer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.trainer import ContrastiveTrainer
from train.training import TrainingSetup

EOS = "<eos>"
BLOCKS = 4
HIDDEN = 32
VOCABULARY = 300
BLOCK_PATHS = {
    "llama": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "qwen2": "model.layers",
}
KINDS = tuple(BLOCK_PATHS)


def tiny_model(kind: str) -> PreTrainedModel:
    """A random causal LM of a few thousand weights, the same at each call; its states are of order 1."""
    shared = {"vocab_size": VOCABULARY, "initializer_range": 0.1, "bos_token_id": 256, "eos_token_id": 256}
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}
    torch.manual_seed(0)
    match kind:
        case "llama":
            model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**shared, **sizes))
        case "gpt2":
            model = GPT2LMHeadModel(GPT2Config(**shared, n_embd=HIDDEN, n_layer=BLOCKS, n_head=2))
        case "gpt_neox":
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**shared, **sizes))
        case "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**shared, **sizes, num_key_value_heads=1))
        case _:
            raise ValueError(f"no toy of kind {kind!r}")
    return model.float().eval()


def count_hooks(model: nn.Module) -> int:
    """How many forward hooks a model carries."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte: any text can be tokenised, and the number of tokens is told by its length in bytes.

    It has an end-of-sequence token (256), and neither a padding token nor a chat template.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS)


EXAMPLES = [
    Example(
        "toy",
        f"which number follows {i}?",
        (f"it is {i + 1}", f"{i + 1} follows"),
        wrong_answers([f"it is {i + 2}"], "dataset"),
    )
    for i in range(6)
]


def origins_of(example: Example) -> tuple[str, ...]:
    """Return where each of the example's wrong answers comes from."""
    return tuple(answer.origin for answer in example.wrong_answers)


def save_tiny(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny llama and its tokenizer on disk, as a user's model is."""
    tiny_model("llama").to(dtype).save_pretrained(folder)  # type: ignore[arg-type]
    tiny_tokenizer().save_pretrained(folder)
    return folder


def save_packable(folder: Path, inner: int = 128) -> Path:
    """A tiny llama and its tokenizer on disk, whose linear layers have 64 or `inner` inputs.

    bitsandbytes 0.50.2 unpacks rows of 32 or 96 inputs wrongly on some processors.
    """
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": inner, "num_hidden_layers": BLOCKS}
    ids = {"bos_token_id": 256, "eos_token_id": 256}
    LlamaForCausalLM(LlamaConfig(**sizes, **ids, num_attention_heads=2, initializer_range=0.1)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def arguments(folder: Path, *words: str) -> tuple[EavssArguments, TrainingArguments]:
    """A recipe for tiny models, with `words` as its command line."""
    common = ["--model_name_or_path", "toy/toy", "--dtype", "float32", "--output_dir", str(folder)]
    return parse([*common, "--save_strategy", "no", "--logging_steps", "1", *words])


def naive_logprobs(model: nn.Module, ids: Sequence[int], start: int, end: int) -> torch.Tensor:
    """log p(token) of the tokens from `start` to `end`, from the full softmax, one sequence alone."""
    logits = model(input_ids=torch.tensor([list(ids)])).logits[0]
    return torch.stack([F.log_softmax(logits[t - 1].double(), -1)[ids[t]] for t in range(start, end)])


def toy_scorer(kind: str = "llama", token_budget: int = 512) -> AnswerScorer:
    """Scores answers with a tiny model, in the plain style."""
    return AnswerScorer(tiny_model(kind), Encoder(tiny_tokenizer(), "plain", 128), token_budget)


def toy_setup(args: EavssArguments) -> TrainingSetup:
    """Return what training on `EXAMPLES` needs: a tiny model and two pairs of each example."""
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    encoder = Encoder(tokenizer, "plain", 128)
    pairs = make_pairs(EXAMPLES, encoder, 2, with_positive=args.infonce_weight > 0, seed=0)
    return TrainingSetup(model, tokenizer, pairs, args, seed=0)


def train_toy(folder: Path, *words: str) -> tuple[ContrastiveTrainer, PeftModel, dict[str, torch.Tensor]]:
    """Train blocks 1 and 2 of a toy for six steps; return the trainer, the model, and its parameters before."""
    args, training = arguments(folder, "--max_steps", "6", "--learning_rate", "5e-3", "--seed", "1", *words)
    setup, selection = toy_setup(args), Selection((1, 2), "layers")
    trainer = setup.trainer(selection, training)
    adapted = trainer.adapted
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    trainer.train()
    return trainer, adapted, before
