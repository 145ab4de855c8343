"""Make the rows of STS-B and of SICK-R from the table of sentence pairs (`data/samples/sentence_pairs.tsv`)."""

from pathlib import Path

import numpy as np

from scripts.samples.facts import VALIDATION, read_table
from scripts.samples.schemas import SICKR, STSB, Row


def sentence_pairs(table: Path) -> dict[str, list[Row]]:
    """Make the rows of both files, by their paths below the output folder.

    Args:
        table: `set` is stsb or sickr in it, and `score` is on that set's scale.
    """
    rows = read_table(table)
    stsb, sickr = ([row for row in rows if row["set"] == name] for name in ("stsb", "sickr"))
    return {
        # The Hub's file has single precision here.
        f"{STSB}/{VALIDATION}.parquet": [
            _sentences(row) | {"label": float(np.float32(row["score"])), "idx": number}
            for number, row in enumerate(stsb)
        ],
        f"{SICKR}/test.parquet": [_sentences(row) | {"score": float(row["score"])} for row in sickr],
    }


def _sentences(row: dict[str, str]) -> Row:
    return {key: row[key] for key in ("sentence1", "sentence2")}
