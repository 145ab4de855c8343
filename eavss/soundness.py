"""Refuse a profile that says nothing, before a selection is made from it."""

from torch import Tensor

from eavss.errors import EavssError
from eavss.profile import LayerProfile

# Differences below this share of the largest state are rounding.
_ROUNDING = 1e-6


def require_sound(profile: LayerProfile) -> None:
    """Check that every block computes something, and that some block tells truthful answers from hallucinated ones.

    Raises:
        EavssError: a block's states are NaN or infinite, or have no variance over hidden units; or the two kinds of
            answers have the same states at every block.
    """
    states = profile.states  # (n, 2, L, H)
    broken = _blocks(~(states.isfinite().all(-1).all(1).all(0) & profile.all_tokens.squares.isfinite()))
    if broken:
        raise EavssError(
            f"scoring: the activations of blocks {broken} are NaN or infinite; "
            "float16 overflows where bfloat16 and float32 do not, and the base itself may be broken"
        )
    constant = _blocks(profile.all_tokens.variance == 0)
    if constant:
        raise EavssError(
            f"scoring: the output of blocks {constant} is the same in every hidden unit (variance 0), "
            "so the base is broken or not trained"
        )
    if profile.differences.abs().max() <= _ROUNDING * states.abs().max():
        raise EavssError(
            f"scoring: truthful and hallucinated answers have the same states at every block in all "
            f"{profile.questions} questions, so the two answers of a question are probably the same text"
        )


def _blocks(flags: Tensor) -> list[int]:
    return flags.nonzero().flatten().tolist()
