"""What this machine is, and how the ranks on it share it."""

import os
import resource

import torch


def choose_dtype(wanted: str) -> torch.dtype:
    """`auto` as the dtype in which this machine computes fast; any other name as that dtype.

    On a GPU bfloat16 where it is native. On a CPU bfloat16 with AMX or AVX512-BF16 (2-4x float32 here), otherwise
    float32, because emulated bfloat16 is slower. Told by the instruction set, not by a timing, so that a machine
    always answers alike.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def prepare_process() -> None:
    """Settings that a process needs before it computes: its share of the machine's cores, and a bounded memory.

    Without the first each rank starts a thread on every core. Without the second oneDNN keeps up to 1024 compiled
    matrix products, one for each new length of text, which come to some hundred megabytes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_SIZE", "1")))  # set by DeepSpeed's launcher
        os.environ["OMP_NUM_THREADS"] = str(threads)  # otherwise accelerate takes all cores for each rank
        torch.set_num_threads(threads)


def peak_memory_bytes() -> int:
    """The most memory this process has held: on the GPU if it uses one, otherwise resident on the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
