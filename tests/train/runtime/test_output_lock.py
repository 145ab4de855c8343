"""Two runs do not write one folder at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ranks import on_two_ranks
from train.recipe.arguments import REPOSITORY
from train.runtime.errors import RecipeError
from train.runtime.output_lock import only_writer

HOLD = """
import sys
from pathlib import Path
from train.runtime.output_lock import only_writer

with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_one_is_dead(tmp_path: Path) -> None:
    output = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(RecipeError, match=r"output_dir: another run is writing .*run; wait"),
        only_writer(output),
    ):
        pytest.fail("two runs write one folder")
    with only_writer(tmp_path / "other"):
        assert not output.exists(), "the lock leaves the folder alone"
    holder.kill()
    holder.wait()
    with only_writer(output):
        pass


def test_it_is_released_after_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="mistake"), only_writer(tmp_path):
        raise RecipeError("mistake")
    with only_writer(tmp_path):
        pass


def test_a_cache_folder_that_cannot_be_written_to_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    with only_writer(tmp_path / "run"), only_writer(tmp_path / "run"):
        pass


def test_machines_that_do_not_share_the_folder_are_refused(tmp_path: Path) -> None:
    """Each rank has a folder of its own, as where the same path is another disk on another machine."""

    def work(rank: int) -> object:
        folder = tmp_path / str(rank)
        folder.mkdir()
        with pytest.raises(RecipeError) as raised, only_writer(folder / "run"):
            pass
        with only_writer(tmp_path / "shared" / "run"):
            pass
        return str(raised.value).replace(str(folder), ""), list(folder.iterdir())

    said = "output_dir: /run is another folder for rank 1 than for rank 0; name one that all machines share"
    assert on_two_ranks(work) == [(said, [])] * 2
