"""Ask a trained model and its base, side by side, and see how sure each is and what the threshold does.

    python scripts/ask.py RUN ["question" ...] [--keep 80] [--dataset triviaqa] [--passage "text"]
    python scripts/ask.py RUN --web [--port 7860]

RUN is a run's output folder. Without a question, questions are read from the terminal until an empty line. --keep is
the share of right answers that the threshold keeps: 60, 80 or 90 per cent. --dataset takes the calibration on that set.
--passage is a text that should answer the questions.
--web serves the same as a page on this machine; it needs Gradio (`pip install eavss[web]`).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from eavss.choices import SHARES
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.option_types import port_number


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--keep", type=int, choices=SHARES, default=80)
    parser.add_argument("--dataset")
    parser.add_argument("--passage", default="")
    parser.add_argument("--trust_remote_code", action="store_true")
    parser.add_argument("--web", action="store_true")
    parser.add_argument("--port", type=port_number, default=7860)
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from eavss.asking import Answer, Pose, ask
from eavss.confidence import Calibration
from train.model.loading import load_adapter, read_model
from train.model.tokenizer import load_tokenizer
from train.publishing.checkpoints import find_adapter
from train.publishing.run_folder import Run

_WIDTH = 44


@dataclass(frozen=True)
class Pair:
    """A base and the adapter that a run trained on it.

    Args:
        model: the base with the adapter.
        tokenizer: its tokenizer.
        calibration: the run's calibration; None where it has none.
        keep: the share of right answers that the threshold keeps, in per cent.
        pose: how questions are posed where there is no calibration.
        passage: a text that should answer the questions; empty for none.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration | None
    keep: int
    pose: Pose
    passage: str = ""

    def __call__(self, question: str) -> dict[str, Answer]:
        """Return what the base says, and what the trained model says."""
        found = {}
        for name, context in (("base", self.model.disable_adapter()), ("trained", nullcontext())):
            with context:
                found[name] = ask(
                    self.model,
                    self.tokenizer,
                    question,
                    self.calibration,
                    keep=self.keep,
                    passage=self.passage,
                    pose=self.pose,
                )
        return found


def load(folder: Path, dataset: str | None, keep: int, *, passage: str = "", trusted: bool = False) -> Pair:
    """Load what a run has trained.

    Args:
        trusted: run the code that comes with the model, if the run's recipe does.

    Raises:
        RecipeError: the folder is not that of a finished run, or its recipe wants to run code.
        EavssError: it has no calibration on `dataset`.
    """
    run = Run.read(folder)
    run.require_trusted(trusted)
    base = run.base_model
    has_one = dataset is not None or (folder / "confidence.json").exists()
    calibration = Calibration.read(folder, dataset) if has_one else None
    model = load_adapter(read_model(base), str(find_adapter(folder)))
    tokenizer = load_tokenizer(base)
    pose = run.pose(bool(tokenizer.chat_template))
    return Pair(model, tokenizer, calibration, keep, pose=pose, passage=passage)


def shown(answers: dict[str, Answer], calibration: Calibration | None) -> str:
    """Return the answers as lines, each with its confidence and what the threshold does with it."""
    lines = []
    for name, answer in answers.items():
        text = " ".join(answer.text.split()) or "(nothing)"
        sure = "" if answer.confidence is None else f"{answer.confidence.summed:7.2f} nats"
        verdict = "" if calibration is None else ("declined" if answer.declined else "answered")
        lines.append(f"  {name:<8} {text[:_WIDTH]:<{_WIDTH}} {sure:>13}  {verdict}")
    return "\n".join(lines)


def questions_of(given: Sequence[str], read: Callable[[str], str] = input) -> Iterator[str]:
    """Yield the questions of the command line, or those that are typed until an empty line or the end of the input."""
    if given:
        yield from given
        return
    while True:
        try:
            question = read("question: ").strip()
        except EOFError:
            return
        if not question:
            return
        yield question


def import_gradio() -> ModuleType:
    """Return the library that makes the page.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        return import_module("gradio")
    except ImportError:
        raise RecipeError("--web: Gradio is not installed; run `pip install gradio`") from None


def serve(gradio: ModuleType, pair: Pair, port: int) -> None:
    """Serve a page on this machine where questions can be asked, until it is interrupted."""

    def answer(question: str) -> list[list[str]]:
        if not question.strip():
            return []
        return [
            [name, each.text, "" if each.confidence is None else f"{each.confidence.summed:.2f}", _verdict(pair, each)]
            for name, each in pair(question.strip()).items()
        ]

    headers = ["model", "answer", "confidence (nats)", "threshold"]
    with gradio.Blocks(title="Base and trained model") as page:
        question = gradio.Textbox(label="Question", lines=1, submit_btn="Ask")
        answers = gradio.Dataframe(headers=headers, wrap=True, show_label=False, interactive=False)
        question.submit(answer, question, answers)
    page.launch(server_name="127.0.0.1", server_port=port, quiet=True)


def _verdict(pair: Pair, answer: Answer) -> str:
    if pair.calibration is None:
        return "not calibrated"
    return "declined" if answer.declined else "answered"


def main(options: argparse.Namespace) -> None:
    """Ask, and print or serve what the models say."""
    page = import_gradio() if options.web else None
    trusted, passage = options.trust_remote_code, options.passage
    pair = load(options.run, options.dataset, options.keep, passage=passage, trusted=trusted)
    if page is not None:
        serve(page, pair, options.port)
        return
    for question in questions_of(options.questions):
        say(f"{question}\n{shown(pair(question), pair.calibration)}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(read_options(argv)))


if __name__ == "__main__":
    sys.exit(run())
