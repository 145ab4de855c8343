"""Set the libraries up for a process of ours: its share of the cores, patience with the Hub, and who may print."""

import sys

import datasets
import transformers

from train.runtime.build_locks import end_waits_for_dead_builds
from train.runtime.distributed import is_main_process
from train.runtime.hardware import prepare_process
from train.runtime.hub_client import bound_requests


def prepare_libraries() -> None:
    """Set the libraries up; progress bars are shown by one rank, on a terminal, and none for reading files."""
    bound_requests()
    prepare_process()
    end_waits_for_dead_builds()
    datasets.disable_progress_bars()
    if not is_main_process() or not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    if not is_main_process():
        transformers.utils.logging.set_verbosity_error()
