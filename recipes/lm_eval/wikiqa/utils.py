"""The harness loads this file by itself, so it imports nothing of eavss; a test holds the two to the same numbers."""

from typing import Any

import datasets


def by_question(rows: datasets.Dataset) -> datasets.Dataset:
    """One document a question, its correct sentences first; questions with none, or with nothing else, are left out."""
    questions: dict[str, dict[str, Any]] = {}
    for row in rows:
        question = questions.setdefault(row["question_id"], {"question": row["question"], "candidates": []})
        question["candidates"].append((row["label"], row["answer"]))
    documents = []
    for question in questions.values():
        ordered = sorted(question["candidates"], key=lambda candidate: -candidate[0])
        labels, sentences = (list(column) for column in zip(*ordered, strict=True))
        if 0 < sum(labels) < len(labels):
            documents.append({"question": question["question"], "sentences": sentences, "labels": labels})
    return datasets.Dataset.from_list(documents)


def ranking(document: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Average precision, reciprocal rank and precision at 1 of the sentences by log-likelihood per character."""
    scores = [logprob / len(text) for (logprob, _), text in zip(results, document["sentences"], strict=True)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    ranks = [rank for rank, i in enumerate(order, start=1) if document["labels"][i]]
    precisions = [number / rank for number, rank in enumerate(ranks, start=1)]
    return {"map": sum(precisions) / len(precisions), "mrr": 1 / ranks[0], "p_at_1": float(ranks[0] == 1)}
