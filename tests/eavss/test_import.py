"""What `import eavss` loads, seen from a fresh process."""

import subprocess
import sys

import eavss

CODE = """
import sys
import eavss
from eavss.blocks import find_blocks
from eavss.stability import tau

def heavy():
    return sorted({"matplotlib", "scipy", "sklearn"} & sys.modules.keys())

print(heavy())
import torch
tau(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
print(heavy())
"""


def test_an_import_does_not_load_the_plotting_and_statistics_libraries() -> None:
    """SciPy is loaded by the first function that needs it, so the test would see it."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['scipy']"]


def test_every_public_name_is_there() -> None:
    assert [name for name in eavss.__all__ if not hasattr(eavss, name)] == []
