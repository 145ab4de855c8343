"""Bad input through the real commands, each in a process of its own.

python -m pytest tests/hostile/test_processes.py -m "slow or drill"     # all 20; without -m, four of them
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.refusal import content
from tests.train.publishing.toy_run import LAYERS, write_adapter, write_run
from train.recipe.arguments import REPOSITORY

TRAIN = "train/contrastive.py --model_name_or_path MODEL --output_dir OUT --datasets_root samples --retention none"
# A command, where names in capitals are files of `broken_files`, and what its error says.
FEW: list[tuple[str, str]] = [
    ("train/contrastive.py --config BOMB", "aliases are not allowed"),
    (f"{TRAIN} --dataset ROWS", "row 2: chosen is 3, of type int"),
    ("scripts/score_layers.py --model_name_or_path PICKLE --datasets_root samples", "cannot be loaded"),
    ("scripts/summarise_runs.py RUN --json OUT/x.json", "results.json: it is no JSON"),
]
MANY: list[tuple[str, str]] = [
    ("train/contrastive.py --config PYTHON", "is not YAML"),
    ("train/contrastive.py --config ENV", "'env' is not allowed"),
    ("train/contrastive.py --config /dev/zero", "should have at most 1,000,000 characters"),
    (f"{TRAIN} --lora_rank 8", "unknown key 'lora_rank'"),
    (f"{TRAIN} --learning_rate nan", "learning_rate: nan should be"),
    (f"{TRAIN} --dataset ../secret", "dataset: '../secret' is neither"),
    (f"{TRAIN} --dataset CSV", "is neither one of"),
    (f"{TRAIN} --dataset PARQUET", "cannot be read as parquet"),
    (f"{TRAIN} --layers 9 --dataset nq", "[9] lie outside the model's blocks"),
    (f"{TRAIN} --resume_from_checkpoint ../nowhere", "no folder ../nowhere"),
    ("train/contrastive.py --model_name_or_path MODEL --output_dir ROWS/out", "cannot be written: Not a directory"),
    ("train/heal.py --model_name_or_path MODEL --output_dir OUT --cut RUN", "--cut: no file"),
    ("scripts/score_layers.py --model_name_or_path MODEL --against LAYERS", "selected is [-1]"),
    ("scripts/export_checkpoint.py ADAPTER --output_dir OUT/new", "no adapter in"),
    ("scripts/ask.py RUN Who?", "results.json: it is no JSON"),
    ("scripts/compare_cuts.py --model_name_or_path MODEL --json OUT/a.json --shares nan", "--shares: nan should be"),
]
ROWS = [pytest.param(*row, marks=pytest.mark.slow) for row in FEW]
ROWS += [pytest.param(*row, marks=[pytest.mark.slow, pytest.mark.drill]) for row in MANY]


@pytest.fixture(scope="module")
def broken_files(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files and folders with one fault each, by the names that stand for them above."""
    root = tmp_path_factory.mktemp("broken")
    texts = {
        "BOMB": "a: &a [x, x]\nb: &b [*a, *a]\nlayers: [*b, *b]\n",
        "PYTHON": "seed: !!python/object/apply:os.getcwd []\n",
        "ENV": "env: {HF_TOKEN: x}\n",
        "CSV": "prompt,chosen,rejected\n",
        "PARQUET": "PAR1",
        "ROWS": '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": 3, "rejected": "c"}\n',
        "LAYERS": json.dumps(LAYERS | {"selected": [-1]}),
    }
    endings = {"CSV": ".csv", "PARQUET": ".parquet", "ROWS": ".jsonl"}
    found = {name: root / f"{name.lower()}{endings.get(name, '.yaml')}" for name in texts}
    for name, text in texts.items():
        found[name].write_text(text)
    run = write_run(root / "run")
    os.truncate(run / "results.json", 100)
    pickled, adapter = (
        Path(shutil.copytree(saved_model, root / "pickled")),
        write_adapter(root / "adapter", saved_model),
    )
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    return found | {"RUN": run, "PICKLE": pickled, "ADAPTER": adapter, "MODEL": saved_model, "OUT": root / "out"}


@pytest.mark.parametrize(("line", "message"), ROWS)
def test_a_command_ends_with_one_line(line: str, message: str, broken_files: dict[str, Path], tmp_path: Path) -> None:
    output = broken_files["OUT"]
    output.mkdir(exist_ok=True)
    (output / "mine.txt").write_text("mine")
    before = content(output)
    for name, path in broken_files.items():
        line = line.replace(name, str(path))
    done = subprocess.run(
        [sys.executable, *line.split(" ")],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "EAVSS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    errors = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-2000:]
    assert message in errors[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert content(output) == before
