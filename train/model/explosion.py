"""Tell a loss that explodes from one that varies from batch to batch."""

from collections import deque
from statistics import median

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# A loss counts as exploded above so many times its usual value, which is taken as 1 where it is less: the loss of a
# few batches may be many times one that is close to 0.
_FACTOR = 5
# So many batches in a row stop the run. One or two may be far off in any run.
_IN_A_ROW = 5
# The usual value is the lowest that the median of so many batches has had.
_WINDOW = 20


class LossWatch(TrainerCallback):
    """Follows the loss of each batch, the same on all ranks, and keeps what is saved from before an explosion.

    The first batch counts as usual, since the adapter has no effect yet. A warm-up needs no exception.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._usual = float("inf")
        self._above = 0

    @property
    def limit(self) -> float:
        """The loss above which a batch counts as exploded; infinite before the first."""
        return _FACTOR * max(1.0, self._usual)

    @property
    def batches(self) -> int:
        """How many batches in a row have been above the limit."""
        return self._above

    def exploded(self, loss: float) -> bool:
        """Note the loss of a batch, and return whether the run should stop."""
        if loss > self.limit:
            self._above += 1
        else:
            self._above = 0
            self._recent.append(loss)
            self._usual = min(self._usual, median(self._recent))
        return self._above >= _IN_A_ROW

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Put off saving while the loss is above the limit, so that the last checkpoint from before is kept."""
        if self._above and state.global_step < state.max_steps:
            control.should_save = False
