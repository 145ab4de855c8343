"""The ranges of the keys that are numbers, our own and those of the Trainer."""

from collections.abc import Callable, Sequence

from train.runtime.errors import require

_LEARNING = ("ce_weight", "dpo_weight", "infonce_weight", "decline_weight", "decline_ce_weight")
_COUNTS = ("score_answers", "lora_r", "lora_alpha", "pairs_per_question", "eval_token_budget", "train_token_budget")
_LIMITS = ("train_questions", "eval_limit", "retention_limit")
_OR_NONE = ("num_fewshot", "calibration_questions", "prefix_cache_gb")
# What a value should be, how that is checked, and the keys whose values are numbers of this kind, or unset.
_Ranges = dict[tuple[str, Callable[[float], bool]], Sequence[str]]
_RANGES: _Ranges = {
    ("16384 or less", lambda value: value <= 16384): ["lora_r"],  # more would fill any memory
    ("between 0 and 1000", lambda value: 0 <= value <= 1000): ["mined_answers", "knowledge_samples"],
    ("above 0, at most 1", lambda value: 0 < value <= 1): ["select_fraction"],
    ("between 0 and 1", lambda value: 0 < value < 1): ["evaluation_share", "decline_share"],
    ("at least 0 and below 1", lambda value: 0 <= value < 1): ["validation_share", "lora_dropout"],
    ("16 or more", lambda value: value >= 16): ["max_length"],
    ("2 or more", lambda value: value >= 2): ["score_questions", "dataset_rows"],
    ("1 or more", lambda value: value >= 1): [*_COUNTS, *_LIMITS],
    ("above 0", lambda value: value > 0): ["beta", "infonce_temperature"],
    ("0 or more", lambda value: value >= 0): [*_LEARNING, *_OR_NONE, "replay_weight", "eval_seed"],
}
_TRAINER_RANGES: _Ranges = {
    ("above 0", lambda value: value > 0): ["learning_rate", "logging_steps", "save_steps"],
    ("1 or more", lambda value: value >= 1): [
        *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
        *("save_total_limit", "ddp_timeout"),
    ],
    ("at least 0 and below 1", lambda value: 0 <= value < 1): ["adam_beta1", "adam_beta2", "label_smoothing_factor"],
    ("0 or more", lambda value: value >= 0): [
        *("seed", "data_seed", "weight_decay", "max_grad_norm", "adam_epsilon", "warmup_steps", "neftune_noise_alpha"),
    ],
    ("between 0 and 1024", lambda value: 0 <= value <= 1024): ["dataloader_num_workers"],
}


def check_ranges(arguments: object) -> None:
    """Check every number among the arguments.

    Raises:
        RecipeError: one is out of its range, or nothing would be learnt.
    """
    _check(arguments, _RANGES)
    weights = [getattr(arguments, key) for key in _LEARNING]
    require(any(weights), ", ".join(_LEARNING), weights, "not all 0")


def check_trainer_ranges(training: object) -> None:
    """Check the numbers among the Trainer's arguments, which it would take as they are.

    Raises:
        RecipeError: one is out of its range.
    """
    _check(training, _TRAINER_RANGES)


def _check(arguments: object, ranges: _Ranges) -> None:
    for (right, holds), keys in ranges.items():
        for key in keys:
            value = getattr(arguments, key)
            require(value is None or holds(value), key, value, right)
