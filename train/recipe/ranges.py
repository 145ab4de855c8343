"""The ranges of the keys that are numbers."""

from collections.abc import Callable, Sequence

from train.runtime.errors import require

_LEARNING = ("ce_weight", "dpo_weight", "infonce_weight", "decline_weight")
_COUNTS = ("score_answers", "lora_r", "lora_alpha", "pairs_per_question", "eval_token_budget", "train_token_budget")
_LIMITS = ("train_questions", "eval_limit", "retention_limit")
_OR_NONE = ("mined_answers", "knowledge_samples", "num_fewshot", "calibration_questions", "prefix_cache_gb")
# What a value should be, how that is checked, and the keys whose values are numbers of this kind, or unset.
_RANGES: dict[tuple[str, Callable[[float], bool]], Sequence[str]] = {
    ("above 0, at most 1", lambda value: 0 < value <= 1): ["select_fraction"],
    ("between 0 and 1", lambda value: 0 < value < 1): ["evaluation_share", "decline_share"],
    ("at least 0 and below 1", lambda value: 0 <= value < 1): ["validation_share", "lora_dropout"],
    ("16 or more", lambda value: value >= 16): ["max_length"],
    ("2 or more", lambda value: value >= 2): ["score_questions"],
    ("1 or more", lambda value: value >= 1): [*_COUNTS, *_LIMITS],
    ("above 0", lambda value: value > 0): ["beta", "infonce_temperature"],
    ("0 or more", lambda value: value >= 0): [*_LEARNING, *_OR_NONE, "replay_weight"],
}


def check_ranges(arguments: object) -> None:
    """Check every number among the arguments.

    Raises:
        RecipeError: one is out of its range, or nothing would be learnt.
    """
    for (right, holds), keys in _RANGES.items():
        for key in keys:
            value = getattr(arguments, key)
            require(value is None or holds(value), key, value, right)
    weights = [getattr(arguments, key) for key in _LEARNING]
    require(any(weights), ", ".join(_LEARNING), weights, "not all 0")
