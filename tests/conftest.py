"""What all tests share: no network, caches of their own, and the toys."""

import os

# Read when the libraries are imported, so they are set before the first test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.toys import KINDS, save_tiny, tiny_model, tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep data sets and results of other runs out of the tests, and those of the tests out of other runs."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EAVSS_CACHE", str(folder / "eavss"))
        patch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))  # for the processes that tests start
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        patch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", folder / "datasets" / "downloads")
        patch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", folder / "datasets" / "downloads" / "extracted")
        yield


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama and its tokenizer on disk, which no test changes."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(params=KINDS)
def model_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def model(model_kind: str) -> PreTrainedModel:
    return tiny_model(model_kind)
