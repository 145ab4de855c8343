"""What a user chooses by name or word, apart from what computes with it: command lines need this alone."""

from typing import Literal, get_args

# Which score tells the blocks to remove (eavss.pruning).
Criterion = Literal["avss", "avss_scale_free", "block_influence", "angular", "perplexity", "last", "random"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
# How a group of blocks is rewired (eavss.rewiring); one block dropped is skipped, two neighbours swapped are reversed.
Rewiring = Literal["skipped", "reversed", "shuffled", "centre_repeated", "parallel", "looped_parallel"]
REWIRINGS: tuple[Rewiring, ...] = get_args(Rewiring)
RewiringKind = Literal[Rewiring, "dropped", "swapped"]
REWIRING_KINDS: tuple[RewiringKind, ...] = get_args(RewiringKind)
# Above which activation a parameter counts as active (eavss.activation).
Threshold = Literal["paper", "scale_free"]
THRESHOLDS: tuple[Threshold, ...] = get_args(Threshold)
# The shares of right answers that a shipped threshold may keep, in per cent (eavss.confidence).
SHARES = (60, 80, 90)
# How a model that is trained to decline says so.
WORDINGS = ("I don't know", "I don't know the answer", "I'm not sure", "I am not sure")
