"""The machine's fast dtype, its memory, and each process's share of it."""

import ctypes
import gc
import os
import resource

import torch


def choose_dtype(name: str) -> torch.dtype:
    """Return the dtype with this name; for `auto`, the one in which this machine computes fast.

    That is bfloat16 on a GPU where it is native, and on a CPU with AMX or AVX512-BF16 (2 to 4 times as fast).
    Elsewhere it is float32, because emulated bfloat16 is slower. The instruction set decides, not a timing, so that a
    machine always gives the same answer.
    """
    if name != "auto":
        return getattr(torch, name)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def prepare_process() -> None:
    """Give this process its share of the machine's cores, and bound the memory of compiled matrix products.

    Otherwise each rank would start a thread on every core, and oneDNN would keep up to 1024 compiled matrix products,
    one for each new length of text, which take some hundred megabytes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_SIZE", "1")))  # set by DeepSpeed's launcher
        os.environ["OMP_NUM_THREADS"] = str(threads)  # otherwise accelerate takes all cores for each rank
        torch.set_num_threads(threads)


def release_memory() -> None:
    """Give back to the machine what no object takes any more.

    The C library keeps what is freed in parts below some megabytes, as activations are: 5 GB after the selector
    `gradient` on the embedded model (135M parameters). glibc gives it back when it is asked.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held: on the GPU if it uses one, otherwise in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
