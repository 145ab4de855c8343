"""The pieces that packed sequences consist of: a preamble, prompts, and the tails that follow them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eavss.batches import TokenSequence
from eavss.encoding import common_length

# The sequences of one prompt: TokenSequences with equal `prompt`.
Group = Sequence[TokenSequence]
# Fewer tokens, such as "Question:", are not worth a piece of their own.
_SHORTEST_PREAMBLE = 16
# Stands for the index of a group.
PREAMBLE = -2


@dataclass(frozen=True)
class Piece:
    """A prompt, or the tokens that follow one (the tail), and its place in a batch.

    Args:
        row, column: the place of its first token.
        prompt, tail: token ids; a prompt itself has no tail.
        begun: how many of the prompt's tokens stand in the preamble's piece, of whose row this one is.
        sequence: the number of the tail's sequence; -1 for a prompt.
        answer: how many of the tail's tokens are the answer; an end-of-sequence may follow.
    """

    row: int
    column: int
    prompt: tuple[int, ...]
    tail: tuple[int, ...] = ()
    begun: int = 0
    sequence: int = -1
    answer: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.tail or self.prompt[self.begun :]

    @property
    def position(self) -> int:
        """The position of the first token in its own sequence."""
        return len(self.prompt) if self.tail else self.begun


def preamble_of(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Return the tokens that most prompts begin with, such as answered questions; () where they are few.

    A prompt keeps at least one token of its own. Those that begin otherwise, as a text that was cut, are left alone.
    """
    prompts = [sequence.prompt for sequence in sequences if sequence.answer_start > _SHORTEST_PREAMBLE]
    prompts = list(dict.fromkeys(prompts))
    heads = Counter(prompt[:_SHORTEST_PREAMBLE] for prompt in prompts)
    ((head, count),) = heads.most_common(1) or [((), 0)]
    if count < 2:
        return ()
    alike = [prompt for prompt in prompts if prompt[: len(head)] == head]
    return alike[0][: min(common_length(alike), min(map(len, alike)) - 1)]


def begun_by(prompt: tuple[int, ...], preamble: tuple[int, ...]) -> int:
    """Return how many tokens of a prompt the preamble's piece holds: all of the preamble's, or none."""
    size = len(preamble)
    return size if len(prompt) > size and prompt[:size] == preamble else 0


def row_length(group: Group, preamble: tuple[int, ...] = ()) -> int:
    """Count a group's tokens: its prompt once, and every tail; without those that stand in the preamble's piece."""
    start = group[0].answer_start
    return start - begun_by(group[0].prompt, preamble) + sum(len(sequence) - start for sequence in group)


def place_row(
    groups: Sequence[Group], members: Sequence[int], firsts: Sequence[int], row: int, preamble: tuple[int, ...]
) -> Iterator[tuple[int, list[Piece]]]:
    """Place the groups of a row side by side, after the preamble where a group begins with it.

    Args:
        groups: all groups.
        members: the indices of the row's groups.
        firsts: the number of each group's first sequence.
        row: the row's number.
        preamble: what prompts may begin with.

    Yields:
        The index of a group, or PREAMBLE, and its pieces.
    """
    column = 0
    if preamble and any(begun_by(groups[index][0].prompt, preamble) for index in members):
        yield PREAMBLE, [Piece(row, 0, preamble)]
        column = len(preamble)
    for index in members:
        yield index, _place(groups[index], row, column, firsts[index], preamble)
        column += row_length(groups[index], preamble)


def _place(group: Group, row: int, column: int, first: int, preamble: tuple[int, ...]) -> list[Piece]:
    """Place the group's prompt and tails side by side from `column` on; its sequences are numbered from `first`."""
    prompt = group[0].prompt
    pieces = [Piece(row, column, prompt, begun=begun_by(prompt, preamble))]
    for number, sequence in enumerate(group, first):
        end = pieces[-1].column + len(pieces[-1].tokens)
        tail = sequence.ids[len(prompt) :]
        pieces.append(Piece(row, end, prompt, tail, sequence=number, answer=len(sequence.answer)))
    return pieces


def predictions(prompt: Piece, tail: Piece) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield row, column, target, sequence and in_answer of a tail's tokens; the prompt predicts the first."""
    columns = [prompt.column + len(prompt.tokens) - 1, *range(tail.column, tail.column + len(tail.tokens) - 1)]
    for step, (column, token) in enumerate(zip(columns, tail.tail, strict=True)):
        yield tail.row, column, token, tail.sequence, step < tail.answer
