"""A finished run in miniature: its records, and its folder on disk."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import PreTrainedModel

from tests.toys import tiny_model
from train.evaluation.compare import item_file
from train.evaluation.statistics import Change
from train.publishing.run_folder import Item, QuestionRecord, Results
from train.selection.layers_file import LayersRecord

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def change(difference: float, low: float, high: float) -> Change:
    return {"difference": difference, "interval": [low, high], "mcnemar_p": None, "noise": low <= 0 <= high}


RESULTS: Results = {
    "model": "<script>alert(1)</script>",
    "dataset": "a & <i>toy</i>",
    "samples": False,
    "selected": [1, 3],
    "benchmarks": {
        "nq": {
            "n": 7,
            "before": {"contrast_accuracy": 0.5, "f1": 0.25},
            "after": {"contrast_accuracy": 0.625, "f1": 0.2},
            "change": {"contrast_accuracy": change(0.125, 0.025, 0.25), "f1": change(-0.05, -0.2, 0.1)},
            "hidden": {
                "before": {"contrast_accuracy": 0.5},
                "after": {"contrast_accuracy": 0.6},
                "change": {"contrast_accuracy": change(0.1, 0.0, 0.2)},
                "gained": {"contrast_accuracy": change(0.025, -0.1, 0.2)},
            },
            "length_rule": {"longest_contrast": 0.5},
        },
        "<b>own</b>": {
            "n": 3,
            "before": {"contrast_accuracy": 1.0},
            "after": {"contrast_accuracy": 1.0},
            "change": {"contrast_accuracy": change(0.0, 0.0, 0.0)},
            "length_rule": {"longest_contrast": 0.5},
        },
    },
    "retention": {"wikitext": {"before": {"n": 40, "perplexity": 20.0}, "after": {"n": 40, "perplexity": 21.5}}},
    "train": {
        "steps": 3,
        "seconds": 2.0,
        "pairs_per_second": 6.0,
        "peak_memory_bytes": 1000,
        "loss": 1.0,
        "log": [
            {"step": s, "loss/ce": 2.0 / s, "loss/replay": 0.1 * s, "logps/chosen": -s, "logps/rejected": -2 * s}
            for s in (1, 2, 3)
        ],
        "loss_weights": {"ce": 1.0, "dpo": 0.0, "infonce": 0.0, "replay": 1.0},
        "pairs": 12,
        "reading_seconds": 1.0,
        "flops": 3e12,
        "all_blocks_flops": 6e12,
    },
    "command": "python train/contrastive.py --seed 5",
    "versions": {"torch": "2.0"},
}
LAYERS: LayersRecord = {
    "model": "<script>alert(1)</script>",
    "dataset": "a & <i>toy</i>",
    "questions": 9,
    "pairs": 12,
    "tokens": 100,
    "seed": 5,
    "layers": [
        {
            "layer": number,
            "avss": {"paper": 10.0, "scale_free": 1.0},
            "navss": 0.25,
            "cavss": 0.25,
            "block_influence": 0.1,
            "hsav": 0.1,
            "hss": 0.5,
            "eavss": {"contrast": 0.2, "conditional": 10.0},
            "probe": 0.5,
            "bootstrap": {"interval": [0.1, 0.3], "frequency": 0.5},
        }
        for number in range(4)
    ],
    "selector": "eavss",
    "form": "contrast",
    "selected": [1, 3],
    "stability": {
        "split_half_tau": 0.9,
        "p_value": 0.005,
        "verdict": "Some blocks respond & the ranking is steady.",
    },
}
RECIPE = "dataset: <b>toy</b>\nseed: 5\n"


def item(question: str, before: float, after: float) -> Item:
    """A question whose truthful answer is ahead of its wrong one by these margins, in nats a token."""

    def record(margin: float) -> QuestionRecord:
        return {
            "question": question,
            "truthful": "<script>yes",
            "wrong": "<i>no",
            "metrics": {"contrast_accuracy": float(margin > 0)},
            "per_token": {"metrics": [margin - 3.0, -3.0], "hidden": [-margin, 0.0]},
        }

    return {"question": question, "before": record(before), "after": record(after)}


ITEMS = [
    item("stays", 0.1, 2.0),
    item("corrected a bit", -0.1, 0.1),
    item("spoilt", 0.3, -0.1),
    item("corrected", -0.1, 0.5),
]


def write_run(folder: Path, results: Results = RESULTS, items: list[Item] = ITEMS) -> Path:
    """Write the files of a run but its adapter; `items` are the questions of nq, and other sets have one."""
    (folder / "items").mkdir(parents=True, exist_ok=True)
    for name in results["benchmarks"]:
        lines = [json.dumps(each) + "\n" for each in (items if name == "nq" else ITEMS[:1])]
        (folder / "items" / item_file(name)).write_text("".join(lines), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "layers.json").write_text(json.dumps(LAYERS), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    Image.new("RGB", (4, 4)).save(folder / "layers.png")
    return folder


def write_adapter(folder: Path, base: Path, model: PreTrainedModel | None = None) -> Path:
    """Write a random adapter for blocks 1 and 3 of the llama that is saved in `base`, by default the tiny one."""
    torch.manual_seed(1)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "up_proj"],
        layers_to_transform=[1, 3],
        layers_pattern="layers",
        init_lora_weights=False,
    )
    model = get_peft_model(model or tiny_model("llama"), config)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return folder
