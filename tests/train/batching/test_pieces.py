"""What prompts have in common, and the places of the pieces in a row."""

from eavss.batches import TokenSequence
from train.batching.pieces import PREAMBLE, begun_by, place_row, preamble_of, row_length

COMMON = tuple(range(30, 50))


def begun(own: int, answer: int = 1, shift: int = 0) -> TokenSequence:
    """A prompt of the 20 common tokens and some of its own, and its answer."""
    ids = (*COMMON, *range(60, 60 + own), *range(100 + shift, 100 + shift + answer))
    return TokenSequence(ids, 20 + own, 20 + own + answer)


OTHER = TokenSequence((5, 6, 7, 8), 2, 4)


def test_a_preamble_is_what_most_prompts_begin_with() -> None:
    assert preamble_of([begun(1), OTHER, begun(4), begun(2, 3)]) == (*COMMON, 60)[:20]
    assert preamble_of([begun(3), begun(3, 2)]) == (), "one prompt alone has none"
    assert preamble_of([OTHER, TokenSequence((5, 6, 9, 8), 3, 4)]) == (), "few tokens are not worth a piece"
    assert preamble_of([]) == ()


def test_each_prompt_keeps_a_token_of_its_own() -> None:
    longer = TokenSequence((*begun(3).prompt, 70, 9), 24, 25)
    preamble = preamble_of([begun(3), longer])
    assert preamble == begun(3).prompt[:-1]
    assert begun_by(begun(3).prompt, preamble) == len(preamble) == 22


def test_a_row_holds_the_preamble_once() -> None:
    groups = [[begun(2), begun(2, 2, 5)], [OTHER], [begun(1)]]
    assert [row_length(group, COMMON) for group in groups] == [5, 4, 2]
    assert row_length(groups[0]) == 25
    placed = list(place_row(groups, [1, 0, 2], [0, 2, 3], row=4, preamble=COMMON))
    assert [index for index, _ in placed] == [PREAMBLE, 1, 0, 2]
    pieces = [piece for _, of_group in placed for piece in of_group]
    assert {piece.row for piece in pieces} == {4}
    assert [piece.column for piece in pieces] == [0, 20, 22, 24, 26, 27, 29, 30]
    assert [piece.position for piece in pieces] == [0, 0, 2, 20, 22, 22, 20, 21]
    tokens = [token for piece in pieces for token in piece.tokens]
    assert tokens == [*COMMON, 5, 6, 7, 8, 60, 61, 100, 105, 106, 60, 100]


def test_a_row_without_such_prompts_has_no_preamble() -> None:
    placed = list(place_row([[OTHER]], [0], [0], row=0, preamble=COMMON))
    assert [index for index, _ in placed] == [0]
