"""What `import train` does for every command: one line that says nothing to users is left out."""

import os
import subprocess
import sys
from pathlib import Path

from train.recipe.arguments import REPOSITORY

# As bitsandbytes warns when it is imported, and something that a user should see.
PACKAGE = """
import logging
logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s.", "No module named 'kernels'")
logger.warning("this processor computes wrongly")
"""


def test_a_missing_product_of_packed_weights_is_not_told_and_all_else_is(tmp_path: Path) -> None:
    (tmp_path / "bitsandbytes.py").write_text(PACKAGE)
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-c", "import train, bitsandbytes"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "this processor computes wrongly\n"
