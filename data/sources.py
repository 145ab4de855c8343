"""Load examples from the Hub, a local mirror in Hub layout, the samples that ship, or a user's own file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from data.conversion import converted, faults
from data.dataset import DataSet
from data.errors import DataError
from data.examples import Example, hash_fraction, normalise_question
from data.files import Row
from data.forms import own_data, row_reader
from data.own_data import OwnData
from data.places import hub_layout_rows, locate, locate_own, own_rows
from data.sets import ALL, SETS

# Which split of a set with several is evaluated on.
EvaluationSplit = Literal["test", "validation"]

T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """The examples to learn from and those kept for evaluation.

    No question is in both; of conversations, none that opens one.
    """

    train: list[Example]
    evaluation: list[Example]


@dataclass(frozen=True)
class DataSource:
    """Where rows come from, and how questions are divided between training and evaluation.

    Args:
        root: None for the Hub, `samples` for the sets that ship, or a folder in Hub layout:
            `<root>/<owner>/<name>/<config>/<split>.parquet`. A file of preferences does not depend on it.
        evaluation_share: the share of preferences, by a hash of the prompt, that is kept for evaluation.
        validation_share: above 0, this share of the training questions, by another hash, is evaluated on instead of
            the evaluation questions, which are then left alone.
        evaluation_split: which split of a set is evaluated on; None for the set's test split where it has labels, as
            papers and lm-evaluation-harness do, and else for its validation split. The samples have no test split.
        row_limit: at most so many rows of own data are kept in memory (`data.own_data.drawn`); None for all of them.
    """

    root: str | None = None
    evaluation_share: float = 0.1
    validation_share: float = 0.0
    evaluation_split: EvaluationSplit | None = None
    row_limit: int | None = None

    def evaluated_split(self, known: DataSet) -> str:
        """Return the name of the split of `known` that is evaluated on.

        Raises:
            DataError: the test split is asked for, and the set has none with labels.
        """
        if self.evaluation_split == "test" and known.test_split is None:
            raise DataError(
                f"evaluation_split: {known.name} has no test split with labels; leave the key unset, or set it to "
                "validation"
            )
        wanted = self.evaluation_split or ("validation" if self.root == "samples" else "test")
        return (wanted == "test" and known.test_split) or known.validation_split

    def evaluated_rows(self, dataset: str) -> str:
        """Return the name of the split that the evaluation questions of `dataset` are drawn from."""
        if dataset not in SETS:
            return "train"
        return SETS[dataset].train_split if self.validation_share else self.evaluated_split(SETS[dataset])

    def evaluation(self, dataset: str) -> list[Example]:
        """Load the evaluation examples of `dataset`, and open no other split where they have one of their own.

        Raises:
            DataError: see `split`.
        """
        known = SETS.get(dataset)
        if known is None or self.validation_share or known.train_split == self.evaluated_split(known):
            return self.split(dataset).evaluation
        return self.converted(known, self.evaluated_split(known), known.examples)

    def require(self, dataset: str, *, to_train: bool) -> None:
        """Refuse a data set that is not there, as far as that can be told without the Hub and without reading rows.

        Args:
            to_train: it is trained on, too, and not just evaluated on.

        Raises:
            DataError: there is no such set, or a file of it is missing.
        """
        if dataset not in (*SETS, ALL):
            locate_own(dataset, self.root)
            return
        for known in SETS.values() if dataset == ALL else [SETS[dataset]]:
            train = [known.train_split] if to_train or self.validation_share else []
            for split in (*train, self.evaluated_split(known)):
                locate(known.hub_id, known.config, split, self.root)

    def split(self, dataset: str) -> Split:
        """Load the training and evaluation examples of `dataset`.

        Args:
            dataset: one of `SETS`, or own data: a file with one of the endings of `READERS`, or a Hub id.

        Raises:
            DataError: there is no such set, file or split, or a row has no question or no answer.
        """
        if dataset in SETS:
            split = self._split_of_set(SETS[dataset])
        else:
            data = self.own(dataset)
            data.warn(dataset)
            split = self.divided(data, dataset)
        if not self.validation_share:
            return split
        validation = _split_by_hash(split.train, self.validation_share, "validation ")
        return _require_both(validation, f"{dataset}: validation_share")

    def own(self, dataset: str) -> OwnData:
        """Read a user's own data, before they are divided.

        Raises:
            DataError: see `split`.
        """
        path = locate_own(dataset, self.root)
        if self.row_limit is None:
            return _own_data(dataset, path, None)
        return _drawn_data(dataset, path, self.row_limit, path and (path.stat().st_mtime_ns, path.stat().st_size))

    def own_faults(self, dataset: str) -> Iterator[str]:
        """Say of each own row that cannot be read what is wrong with it.

        Raises:
            DataError: the file is broken at a row; or see `split`.
        """
        rows, where = own_rows(dataset, locate_own(dataset, self.root), streamed=self.row_limit is not None)
        return faults(row_reader(), rows, where)

    def divided(self, data: OwnData, dataset: str) -> Split:
        """Divide own data by a hash of the words that a conversation opens with; neither side may be empty."""
        return _require_both(_split_by_hash(data.examples, self.evaluation_share), dataset)

    def training_pools(self, dataset: str) -> list[list[Example]]:
        """Load the examples to learn from: one pool for `dataset`, or one for each of the five sets where it is `all`.

        No pool of `all` holds a question that any of the five sets evaluates on.

        Raises:
            DataError: see `split`.
        """
        if dataset != ALL:
            return [self.split(dataset).train]
        splits = [self.split(name) for name in SETS]
        held_out = {normalise_question(example.question) for split in splits for example in split.evaluation}
        return [[e for e in split.train if normalise_question(e.question) not in held_out] for split in splits]

    def _split_of_set(self, known: DataSet) -> Split:
        evaluated = self.evaluated_split(known)
        train = self.converted(known, known.train_split, known.examples)
        if known.train_split == evaluated:
            return _require_both(_split_by_hash(train, known.evaluation_share), known.hub_id)
        evaluation = self.converted(known, evaluated, known.examples)
        held_out = {normalise_question(example.question) for example in evaluation}
        unseen = [example for example in train if normalise_question(example.question) not in held_out]
        return _require_both(Split(unseen, evaluation), known.hub_id)

    def converted(self, known: DataSet, split: str, convert: Callable[[Iterable[Row]], list[T]]) -> list[T]:
        """Load a split of a set as what `convert` makes of it.

        Args:
            convert: makes something from the rows, such as `known.examples`.

        Raises:
            DataError: it cannot be read, or nothing can be made from its rows.
        """
        rows, where = hub_layout_rows(known.hub_id, known.config, split, self.root)
        found = converted(convert, rows, where)
        if not found:
            raise DataError(f"{where} holds no question with a truthful answer")
        return found


def _require_both(split: Split, where: str) -> Split:
    if not split.train or not split.evaluation:
        raise DataError(
            f"{where}: {len(split.train)} questions are left to train on and {len(split.evaluation)} for evaluation; "
            "both need at least one"
        )
    return split


def _split_by_hash(examples: list[Example], share: float, salt: str = "") -> Split:
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        parts[hash_fraction(f"{salt}{example.opening}") < share].append(example)
    return Split(*parts)


def _own_data(dataset: str, path: Path | None, limit: int | None) -> OwnData:
    rows, where = own_rows(dataset, path, streamed=limit is not None)
    return converted(lambda counted: own_data(counted, dataset, limit), rows, where)


@lru_cache(maxsize=2)
def _drawn_data(dataset: str, path: Path | None, limit: int, _version: tuple[int, int] | None) -> OwnData:
    """Read what may be far larger than memory once for all stages of a run; `_version` is the file's."""
    return _own_data(dataset, path, limit)
