"""Bad recipes, each in its own way."""

from pathlib import Path

import pytest

from tests.hostile.refusal import check_refused
from train.contrastive import run

# The lines of a recipe, and what the error says.
ROWS: list[tuple[str, str]] = [
    # Keys
    ("lora_rank: 8", "recipe: unknown key 'lora_rank'"),
    ("Lora_r: 8", "did you mean 'lora_r'"),
    ("leraning_rate: 1e-4", "did you mean 'learning_rate'"),
    ("select-fraction: 0.5", "did you mean 'select_fraction'"),
    ("evaluate: [nq]", "unknown key 'evaluate'"),
    ("'': 1", "unknown key ''"),
    ("' seed': 1", "unknown key ' seed'"),
    ("s\u0435ed: 1", "unknown key"),  # a Cyrillic letter
    ("seed: 1\nseed: 1", "line 4: the key 'seed' stands there twice"),
    ("{seed: 1, 'seed': 2}", "is not YAML"),
    ("lr_scheduler_kwargs: {a: 1, a: 2}", "line 3: the key 'a' stands there twice"),
    ("1: 2", "line 3: the key 1 should be text"),
    ("null: 2", "the key None should be text"),
    ("true: 2", "the key True should be text"),
    ("[a, b]: 2", "the key ['a', 'b'] should be text"),
    ("? {a: 1}\n: 2", "the key {'a': 1} should be text"),
    ("2024-01-01: x", "should be text"),
    ("env: {HF_TOKEN: x}", "'env' is not allowed"),
    ("env:", "'env' is not allowed"),
    ("config: other.yaml", "unknown key 'config'"),
    # YAML that is none, or does more than hold values
    ("seed: [1", "is not YAML"),
    ("seed: 1\n\tlora_r: 8", "is not YAML"),
    ("seed: 'x", "is not YAML"),
    ("seed: @x", "is not YAML"),
    ("--- \nseed: 1\n--- \nseed: 2", "is not YAML"),
    ("seed: !!python/object/apply:os.getcwd []", "is not YAML"),
    ("seed: !!python/name:os.system", "is not YAML"),
    ("seed: !!python/object/new:type {}", "is not YAML"),
    ("seed: !new 1", "is not YAML"),
    ("seed: !!int x", "is not YAML"),
    ("seed: !!bool x", "is not YAML"),
    ("seed: !!float x", "is not YAML"),
    ("seed: !!timestamp x", "is not YAML"),
    ("seed: !!binary é", "is not YAML"),
    ("seed: 2024-02-31", "is not YAML"),
    ("seed: " + "9" * 5000, "is not YAML"),
    ("seed: \x00", "is not YAML"),
    ("seed: \x1b[31m1", "is not YAML"),
    ("layers: &a [*a]", "aliases are not allowed"),
    ("layers: &a [1, 2]\nretention: *a", "line 4: aliases are not allowed"),
    ("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nlayers: [*c,*c,*c]", "aliases"),
    ("base: &base {a: 1}\nlr_scheduler_kwargs:\n  <<: *base", "aliases are not allowed"),
    ("layers: " + "[" * 3000 + "]" * 3000, "is not YAML"),
    ("# " + "x" * 1_000_000, "should have at most 1,000,000 characters"),
    # Types
    ("seed: x", "seed: 'x' should be an integer"),
    ("seed: 1.0", "seed: 1.0 should be an integer"),
    ("seed: true", "seed: True should be an integer"),
    ("seed:", "seed: None should be an integer"),
    ("seed: [1]", "seed: [1] should be an integer"),
    ("seed: {a: 1}", "seed: {'a': 1} should be an integer"),
    ("seed: 2024-01-01", "should be an integer"),
    ("lora_alpha: '16'", "lora_alpha: '16' should be an integer"),
    ("max_length: 5e2", "should be an integer"),
    ("learning_rate: [1e-4]", "learning_rate: ['1e-4'] should be a number"),
    ("learning_rate: 1e-4x", "should be a number"),
    ("beta: ''", "beta: '' should be a number"),
    ("pack_answers: 1", "pack_answers: 1 should be true or false"),
    ("pack_answers: ja", "pack_answers: 'ja' should be true or false"),
    ("trust_remote_code: 'true'", "should be true or false"),
    ("trust_remote_code:", "should be true or false"),
    ("dataset: 3", "dataset: 3 should be text"),
    ("dataset: [nq, sciq]", "dataset: ['nq', 'sciq'] should be text"),
    ("dataset: !!binary aGk=", "dataset: b'hi' should be text"),
    ("dataset: !!set {nq}", "should be text"),
    ("evaluate_on: nq", "evaluate_on: 'nq' should be a list"),
    ("evaluate_on: {nq: true}", "should be a list"),
    ("evaluate_on: [[nq]]", "should be a list"),
    ("layers: '3'", "should be a list"),
    ("layers: [1.5]", "should be a list, each item an integer"),
    ("layers: [true]", "should be a list, each item an integer"),
    ("decline_wordings: [1]", "should be a list, each item text"),
    ("lr_scheduler_kwargs: x", "lr_scheduler_kwargs: 'x' should be a mapping"),
    # Choices
    ("selector: EAVSS", "selector: 'EAVSS' should be one of eavss"),
    ("estimator: scale-free", "should be one of paper, scale_free"),
    ("prompt_style: chatml", "should be one of auto, plain, chat"),
    ("evaluation_split: train", "evaluation_split: 'train' should be"),
    ("retention: [wikitext, c4]", "retention: ['c4'] should be among"),
    ("optim: sgdd", "optim: 'sgdd' should be one of"),
    ("lr_scheduler_type: 3", "should be one of linear"),
    ("log_level: loud", "log_level: 'loud' should be one of"),
    ("train_sampling_strategy: best", "train_sampling_strategy: 'best' should be one of"),
    ("report_to: [excel]", "report_to"),
    ("eval_strategy: epoch", "eval_strategy"),
    ("hub_token: hf_x", "hub_token: should be left out"),
    ("hub_strategy: checkpoint", "hub_strategy"),
    ("decline_wordings: [Paris]", "decline_wordings: 'Paris' should be one that declines"),
    ("decline_wordings: []", "decline_wordings"),
    # Ranges
    ("lora_r: -1", "lora_r: -1 should be 1 or more"),
    ("lora_r: 1000000", "lora_r: 1000000 should be 16384 or less"),
    ("lora_dropout: 1.0", "lora_dropout: 1.0 should be at least 0 and below 1"),
    ("select_fraction: -0.1", "should be above 0, at most 1"),
    ("evaluation_share: 1", "should be between 0 and 1"),
    ("max_length: 15", "should be 16 or more"),
    ("score_questions: 1", "should be 2 or more"),
    ("mined_answers: 100000", "should be between 0 and 1000"),
    ("eval_limit: 0", "eval_limit: 0 should be 1 or more"),
    ("dataset_rows: 100", "dataset_rows: 100 should be unset for truthfulqa"),
    ("dataset: own.csv\ndataset_rows: 1", "dataset_rows: 1 should be 2 or more"),
    ("prefix_cache_gb: -1", "should be 0 or more"),
    ("per_device_train_batch_size: 0", "should be 1 or more"),
    ("gradient_accumulation_steps: -2", "should be 1 or more"),
    ("max_steps: 0\nnum_train_epochs: 0", "should be above 0, one of them"),
    ("seed: -1", "seed: -1 should be 0 or more"),
    ("seed: 4294967296", "should be an integer of at most 4294967295"),
    ("seed: 1000000000000000000000000000000", "should be an integer of at most 4294967295"),
    ("data_seed: -5", "data_seed: -5 should be 0 or more"),
    ("adam_beta1: 1.0", "adam_beta1: 1.0 should be at least 0 and below 1"),
    ("weight_decay: -0.1", "weight_decay: -0.1 should be 0 or more"),
    ("save_total_limit: 0", "save_total_limit: 0 should be 1 or more"),
    ("logging_steps: -1", "logging_steps: -1"),
    ("dataloader_num_workers: 100000", "should be between 0 and 1024"),
    # NaN and infinities
    ("learning_rate: .nan", "learning_rate: nan should be"),
    ("learning_rate: .inf", "learning_rate: inf should be a finite number"),
    ("learning_rate: 1e400", "learning_rate: inf should be a finite number"),
    ("beta: .inf", "beta: inf should be a finite number"),
    ("dpo_weight: .nan", "dpo_weight: nan should be"),
    ("max_grad_norm: .nan", "max_grad_norm: nan should be a finite number"),
    ("weight_decay: -.inf", "weight_decay: -inf should be a finite number"),
    ("logging_steps: .inf", "logging_steps: inf should be a finite number"),
    ("warmup_steps: nan", "warmup_steps: nan should be a finite number"),
    ("lr_scheduler_kwargs: {num_cycles: .nan}", "lr_scheduler_kwargs.num_cycles: nan should be a finite number"),
    # Options of other libraries, which they would refuse after the profile
    ("lr_scheduler_kwargs: {a: 1}", "lr_scheduler_type, lr_scheduler_kwargs: their values should fit each other"),
    ("optim_args: x", "optim_args, lr_scheduler_type"),
    ("accelerator_config: {a: 1}", "unexpected keyword argument 'a'"),
    ("activation_checkpointing_kwargs: {a: 1}", "activation_checkpointing_kwargs: ['a'] should be among"),
    ("activation_checkpointing_kwargs: x", "activation_checkpointing_kwargs: 'x' should be a mapping"),
    # Names
    ("dataset: ''", "dataset: '' should be a name"),
    ("dataset: '../../etc/passwd'", "dataset: '../../etc/passwd' is neither"),
    ("dataset: ../secret", "dataset: '../secret' is neither"),
    ("dataset: secret/..", "dataset: 'secret/..' is neither"),
    ("dataset: /etc/passwd", "dataset: '/etc/passwd' is neither"),
    ("dataset: squad", "dataset: 'squad' is neither one of nq"),
    ('dataset: "nq\\0"', "dataset: 'nq\\x00' should be text without control characters"),
    ('dataset: "nq\\nsciq"', "dataset: 'nq\\nsciq' should be text without control characters"),
    ('model_name_or_path: "a\\u2028b"', "should be text without control characters"),
    ("model_name_or_path: ''", "model_name_or_path: '' should be a name"),
    ("model_name_or_path: ../nowhere", "model_name_or_path: no folder ../nowhere"),
    ("model_name_or_path: a/../../b", "model_name_or_path: no folder a/../../b"),
    ('output_dir: "x\\0y"', "output_dir: 'x\\x00y' should be text without control characters"),
    ('output_dir: "x\\ny"', "output_dir: 'x\\ny' should be text without control characters"),
    ("output_dir: ''", "output_dir: '' should be a name"),
    ("output_dir: /dev/null", "output_dir: /dev/null is a file"),
    ("output_dir: /dev/null/x", "output_dir: /dev/null/x cannot be written: Not a directory"),
    (f"output_dir: {'x' * 300}", "cannot be written: File name too long"),
    ("push_to_hub: true\nhub_model_id: ../../x", "hub_model_id: '../../x' should be NAME or OWNER/NAME"),
    ("push_to_hub: true\nhub_model_id: /x", "hub_model_id: '/x' should be NAME or OWNER/NAME"),
    ("push_to_hub: true\nhub_model_id: a/b/c", "hub_model_id: 'a/b/c' should be NAME or OWNER/NAME"),
    ("datasets_root: /nowhere", "datasets_root '/nowhere' should be"),
    ("resume_from_checkpoint: ../nowhere", "resume_from_checkpoint: no folder ../nowhere"),
    ("resume_from_checkpoint: 'true'", "there is no whole checkpoint"),
    ("deepspeed: /etc/hostname", "deepspeed: /etc/hostname should be a JSON object"),
    ("deepspeed: /dev", "deepspeed: no file /dev"),
    ("deepspeed: {a: 1}", "should be a JSON object with a zero_optimization"),
    ("deepspeed: {zero_optimization: {stage: 9}}", "of stage 0, 1, 2 or 3"),
]  # fmt: skip


def recipe(folder: Path, model: Path, lines: str) -> list[str]:
    """Write a recipe in which only `lines` are wrong."""
    path = folder / "recipe.yaml"
    given = {line.partition(":")[0] for line in lines.splitlines()}
    base = {"model_name_or_path": model, "output_dir": folder / "out", "evaluate_on": "[]", "retention": "[]"}
    above, below = (
        "".join(f"{key}: {base[key]}\n" for key in keys if key not in given)
        for keys in (list(base)[:2], list(base)[2:])
    )
    path.write_text(f"{above}{lines}\n{below}", encoding="utf-8")
    return ["--config", str(path)]


@pytest.mark.parametrize(("lines", "message"), ROWS, ids=[f"{n}" for n, _ in enumerate(ROWS)])
def test_a_bad_recipe(
    lines: str,
    message: str,
    tmp_path: Path,
    saved_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")  # as under a launcher, where `deepspeed` counts
    check_refused(run, recipe(tmp_path, saved_model, lines), message, tmp_path, capsys)
