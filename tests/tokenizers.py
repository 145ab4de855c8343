"""Small trained tokenizers of the kinds that models have, so that a text's tokens depend on what stands beside them."""

from collections.abc import Callable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_TEXT = [
    "Question: What is the capital of France?\nAnswer: Paris",
    "Question: Who wrote Emma?\nAnswer: Jane Austen wrote it.",
    "Question: how many people live in Paris?\nAnswer: some 2 million, 1234567 in 1901.",
    "Say it: it is, they say; it was (they said). Is it? Yes, it is! The answers: one, two.",
    "user assistant system It is seven. Be brief.",
]
_SPECIAL = ["<unk>", "<s>", "</s>", "<|end|>"]
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def _llama_2() -> Tokenizer:
    """A space mark is put before every text, and spaces become marks, without words being divided first."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.train_from_iterator(_TEXT, trainers.BpeTrainer(vocab_size=270, special_tokens=_SPECIAL, max_token_length=6))
    return _begun(made)


def _llama_3() -> Tokenizer:
    made = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_LLAMA_3), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return _begun(_trained_bytes(made))


def _gpt_2() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _trained_bytes(made)


def _metaspace() -> Tokenizer:
    """T5's kind: pieces of a unigram model, each word with the mark of the space before it."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=_SPECIAL, unk_token="<unk>")
    made.train_from_iterator(_TEXT, trainer)
    return made


def _bytes() -> Tokenizer:
    """One token a byte, in whose few merges a space joins what stands before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, ":Ġ", "ĠP"])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[(":", "Ġ"), ("Ġ", "P")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def _trained_bytes(made: Tokenizer) -> Tokenizer:
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        _TEXT, trainers.BpeTrainer(vocab_size=330, special_tokens=_SPECIAL, initial_alphabet=alphabet)
    )
    return made


def _begun(made: Tokenizer) -> Tokenizer:
    """Put <s> before every text."""
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return made


_KINDS: dict[str, Callable[[], Tokenizer]] = {
    "llama-2": _llama_2,
    "llama-3": _llama_3,
    "gpt-2": _gpt_2,
    "metaspace": _metaspace,
    "bytes": _bytes,
}
TOKENIZER_KINDS = tuple(_KINDS)


def trained_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of one kind, with a chat template whose turns end in another token than a text does."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=_KINDS[kind](), unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    made.chat_template = CHAT_TEMPLATE
    return made
