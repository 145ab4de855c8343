"""Load the three text sets that show what fine-tuning cost. Nothing is trained on them.

- WikiText-2 (Merity et al., 2017), https://huggingface.co/datasets/Salesforce/wikitext, CC BY-SA: articles, with rare
  words as <unk>. lm-evaluation-harness reads the raw text instead, so its figures are not ours.
- LAMBADA (Paperno et al., 2016) in OpenAI's version, https://huggingface.co/datasets/EleutherAI/lambada_openai:
  passages whose last word needs the whole passage.
- SST-2 (Socher et al., 2013) in GLUE, https://huggingface.co/datasets/nyu-mll/glue: phrases on films, 1 if positive.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from data.errors import DataError
from data.places import hub_layout_rows, locate

# Where each set is: its id and config on the Hub, and the split that is read.
_PLACES = {
    "wikitext": ("Salesforce/wikitext", "wikitext-2-v1", "validation"),
    "lambada": ("EleutherAI/lambada_openai", "default", "test"),
    "sst2": ("nyu-mll/glue", "sst2", "validation"),
}


def require_texts(names: Iterable[str], root: str | None) -> None:
    """Refuse a set whose file is missing, before anything is read.

    Args:
        names: `wikitext`, `lambada`, `sst2` and what begins with one of these names.
        root: as for `load_wikitext`.

    Raises:
        DataError: there is no such file.
    """
    for name in names:
        locate(*_PLACES[name.partition("_")[0]], root)


def load_wikitext(root: str | None) -> str:
    """Load the validation split of WikiText-2, its rows joined as they stand.

    Args:
        root: None for the Hub, or a folder in Hub layout: see `data.sources.DataSource`.

    Raises:
        DataError: the split cannot be read, holds no text, or a row is not text.
    """
    rows = checked_rows(*_PLACES["wikitext"], {"text": str}, root)
    text = "".join(row["text"] for _, row in rows)
    if not text.strip():
        raise DataError("Salesforce/wikitext (wikitext-2-v1, validation) holds no text")
    return text


def load_lambada(root: str | None) -> list[tuple[str, str]]:
    """Load each passage as its beginning and its last word: ("But I don't care about", " signs").

    It is split at the last space as in lm-evaluation-harness (task lambada_openai, version 1).

    Args:
        root: as for `load_wikitext`.

    Raises:
        DataError: the split cannot be read, or a row is not two words or more.
    """
    passages = []
    for place, row in checked_rows(*_PLACES["lambada"], {"text": str}, root):
        before, _, word = row["text"].rpartition(" ")
        if not before.strip() or not word:
            raise DataError(f"{place}: the text {row['text']!r} has no last word after a space and a beginning")
        passages.append((before, f" {word}"))
    return passages


def load_sst2(root: str | None) -> list[tuple[str, int]]:
    """Load each phrase with its label, 1 if it is positive: ("a charming journey", 1).

    Args:
        root: as for `load_wikitext`.

    Raises:
        DataError: the split cannot be read, or a label is not 0 or 1.
    """
    phrases = []
    for place, row in checked_rows(*_PLACES["sst2"], {"sentence": str, "label": int}, root):
        if row["label"] not in (0, 1):
            raise DataError(f"{place}: label is {row['label']}, where 0 (negative) or 1 (positive) would be right")
        phrases.append((row["sentence"], row["label"]))
    return phrases


def checked_rows(
    hub_id: str, config: str, split: str, columns: Mapping[str, type], root: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with its place, after checking that its columns are there and of their types.

    Raises:
        DataError: the split cannot be read, or a row has another form.
    """
    rows, where = hub_layout_rows(hub_id, config, split, root)
    for number, row in rows:
        place = f"{where}: row {number}"
        for column, kind in columns.items():
            if column not in row:
                raise DataError(f"{where} has no column {column!r}")
            if not isinstance(row[column], kind):
                raise DataError(f"{place}: {column} is {row[column]!r}, where a value of type {kind.__name__} belongs")
        yield place, row
