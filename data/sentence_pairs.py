"""Load pairs of sentences with human judgements of how alike their meanings are. Nothing is trained on them.

- STS-B (Cer et al., 2017) in GLUE, https://huggingface.co/datasets/nyu-mll/glue: captions, headlines and posts, from
  0 (nothing in common) to 5 (the same meaning).
- SICK-R (Marelli et al., 2014), https://huggingface.co/datasets/mteb/sickr-sts, CC BY-NC-SA 3.0: plain sentences, from
  1 (unrelated) to 5.
"""

from dataclasses import dataclass

from data.errors import DataError
from data.text import checked_rows


@dataclass(frozen=True)
class SentencePair:
    """Two sentences, and how alike their meanings are, from 0 to 5."""

    one: str
    other: str
    score: float


@dataclass(frozen=True)
class _PairSet:
    """Where a set is on the Hub, and which column holds its judgements."""

    hub_id: str
    config: str
    split: str
    score: str


_SETS = {
    "stsb": _PairSet("nyu-mll/glue", "stsb", "validation", "label"),
    "sickr": _PairSet("mteb/sickr-sts", "default", "test", "score"),
}
PAIR_SETS = tuple(_SETS)


def load_sentence_pairs(name: str, root: str | None) -> list[SentencePair]:
    """Load the pairs of one set, in its order.

    Args:
        name: among `PAIR_SETS`.
        root: None for the Hub, `samples`, or a folder in Hub layout: see `data.sources.DataSource`.

    Raises:
        DataError: the split cannot be read, a sentence is empty, or a score is not from 0 to 5.
    """
    known, pairs = _SETS[name], []
    columns = {"sentence1": str, "sentence2": str, known.score: float}
    for place, row in checked_rows(known.hub_id, known.config, known.split, columns, root):
        pair = SentencePair(row["sentence1"].strip(), row["sentence2"].strip(), row[known.score])
        if not pair.one or not pair.other:
            raise DataError(f"{place}: a sentence is empty")
        if not 0 <= pair.score <= 5:
            raise DataError(f"{place}: {known.score} is {pair.score}, where a number from 0 to 5 belongs")
        pairs.append(pair)
    return pairs
