"""The names and columns of the sets on the Hugging Face Hub, and a writer of Parquet files with these columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

NQ = "google-research-datasets/nq_open/nq_open"
SCIQ = "allenai/sciq/default"
TRIVIAQA = "mandarjoshi/trivia_qa/rc.nocontext"
TRUTHFULQA_CHOICES = "truthfulqa/truthful_qa/multiple_choice"
TRUTHFULQA_GENERATION = "truthfulqa/truthful_qa/generation"
WIKIQA = "microsoft/wiki_qa/default"
STSB = "nyu-mll/glue/stsb"
SICKR = "mteb/sickr-sts/default"


def struct(**fields: pa.DataType) -> pa.DataType:
    """Return a struct type with these fields, in their order."""
    return pa.struct(list(fields.items()))


def schemas() -> dict[str, pa.Schema]:
    """Return the columns of each set, as the Hub's files have them."""
    text, texts = pa.string(), pa.list_(pa.string())
    targets = struct(choices=texts, labels=pa.list_(pa.int32()))
    pages = struct(doc_source=texts, filename=texts, title=texts, wiki_context=texts)
    results = struct(
        description=texts, filename=texts, rank=pa.list_(pa.int32()), title=texts, url=texts, search_context=texts
    )
    answer = struct(
        aliases=texts,
        normalized_aliases=texts,
        matched_wiki_entity_name=text,
        normalized_matched_wiki_entity_name=text,
        normalized_value=text,
        type=text,
        value=text,
    )
    return {
        NQ: pa.schema({"question": text, "answer": texts}),
        SCIQ: pa.schema(
            dict.fromkeys(["question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"], text)
        ),
        TRIVIAQA: pa.schema(
            {
                "question": text,
                "question_id": text,
                "question_source": text,
                "entity_pages": pages,
                "search_results": results,
                "answer": answer,
            }
        ),
        TRUTHFULQA_CHOICES: pa.schema({"question": text, "mc1_targets": targets, "mc2_targets": targets}),
        TRUTHFULQA_GENERATION: pa.schema(
            {
                "type": text,
                "category": text,
                "question": text,
                "best_answer": text,
                "correct_answers": texts,
                "incorrect_answers": texts,
                "source": text,
            }
        ),
        WIKIQA: pa.schema(
            {"question_id": text, "question": text, "document_title": text, "answer": text, "label": pa.int64()}
        ),
        STSB: pa.schema({"sentence1": text, "sentence2": text, "label": pa.float32(), "idx": pa.int32()}),
        SICKR: pa.schema({"sentence1": text, "sentence2": text, "score": pa.float64()}),
    }


def write_lines(rows: list[Row], path: Path) -> None:
    """Write rows as JSON, one a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write(files: dict[str, list[Row]], folder: Path) -> None:
    """Write each file's rows as Parquet below `folder`."""
    columns = schemas()
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=columns[str(Path(name).parent)]), path)
        print(f"{path}: {len(rows)} rows")
