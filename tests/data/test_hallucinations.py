"""Where wrong answers come from, and that none of them is right."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from data.answers import overlaps_answer
from data.errors import DataError
from data.examples import Example, wrong_answers
from data.hallucinations import with_model_answers, with_similar_answers
from tests.toys import origins_of


def example(question: str, answer: str, *wrong: str, aliases: tuple[str, ...] = ()) -> Example:
    return Example("toy", question, (answer,), wrong_answers(wrong, "dataset"), aliases=(answer, *aliases))


# More of each kind than the neighbours that are looked at, so that no other kind needs to serve.
BOOKS = [example(f"who wrote the novel number {number}", f"writer {number}") for number in range(30)]
LANDS = [example(f"what is the capital of land {number}", f"town {number}") for number in range(30)]
POOL = [*BOOKS, *LANDS]


def hallucinated(examples: list[Example]) -> dict[str, tuple[str, ...]]:
    return {example.question: example.hallucinated for example in examples}


def test_similar_answers_are_of_the_kind_asked_for() -> None:
    found = with_similar_answers(POOL, POOL, count=3, seed=0)
    assert [e.question for e in found] == [e.question for e in POOL]
    for one in found:
        assert len(set(one.hallucinated)) == 3
        assert origins_of(one) == ("similar",) * 3
        kind = "writer" if one.question.startswith("who wrote") else "town"
        assert {answer.split()[0] for answer in one.hallucinated} == {kind}
        assert not set(one.hallucinated) & set(one.truthful)


def test_conversations_are_told_apart_by_their_earlier_turns() -> None:
    """All ask "and who read it?" last; what was asked before says which are similar, and which are one question."""
    talk = [
        replace(example("and who read it?", f"{kind} {n}"), history=((f"who wrote the {kind} number {n}", "she"),))
        for kind, first in (("novel", 0), ("letter", 30))
        for n in range(first, first + 30)
    ]
    for one in with_similar_answers(talk, talk, count=2, seed=0):
        assert len(set(one.hallucinated)) == 2
        assert {answer.split()[0] for answer in one.hallucinated} == {one.truthful[0].split()[0]}
    with pytest.raises(DataError, match="no similar question"):
        with_similar_answers([talk[0]] * 2, [talk[0]] * 2, count=1, seed=0)


def test_similar_answers_leave_the_rest_of_an_example_as_it_is() -> None:
    one = Example("toy", "who wrote it", ("Homer",), aliases=("Homer", "a bard"), verbatim=True)
    found = with_similar_answers([one], [one, *BOOKS], count=1, seed=0)[0]
    assert found == Example("toy", "who wrote it", ("Homer",), found.wrong_answers, ("Homer", "a bard"), verbatim=True)


def test_similar_answers_are_never_right_by_an_alias() -> None:
    """Of 21 neighbours, 18 have an answer that is right by an alias, by containment either way; 3 can be drawn."""
    right = ["Mark Twain", "mark twain!", "Samuel L. Clemens of Hannibal", "Clemens", "the Twain", "Sam Clemens"]
    pool = [example(f"who wrote book {number}", right[number % 6]) for number in range(18)]
    pool += [example(f"who wrote book {number}", f"Wrong {number}") for number in range(18, 21)]
    one = example(
        "who wrote book zero", "Mark Twain", aliases=("Twain", "Samuel L. Clemens", "Sam Clemens of Hannibal")
    )
    for seed in range(20):
        found = with_similar_answers([one], pool, count=5, seed=seed)[0].hallucinated
        assert sorted(found) == ["Wrong 18", "Wrong 19", "Wrong 20"]
        assert not any(overlaps_answer(answer, one.aliases) for answer in found)


def test_similar_answer_is_drawn_once() -> None:
    pool = [example(f"who wrote book {number}", "Austen" if number % 2 else "The  AUSTEN") for number in range(10)]
    found = with_similar_answers([example("who wrote it", "Twain")], pool, count=3, seed=0)[0]
    assert len(found.hallucinated) == 1


def test_question_does_not_draw_from_itself() -> None:
    """The pool has the question with an answer that no alias covers: it may be right."""
    pool = [example("who wrote emma", "Jane Austen"), example("who wrote dracula", "Bram Stoker")]
    for seed in range(10):
        found = with_similar_answers([example("who wrote emma", "J. A.")], pool, count=2, seed=seed)[0]
        assert found.hallucinated == ("Bram Stoker",)


def test_similar_answers_are_seeded() -> None:
    first, again, other = (hallucinated(with_similar_answers(POOL, POOL, count=2, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_questions_draw_apart() -> None:
    """Ten questions that have the same neighbours do not all get the same answer."""
    asked = [example(f"who wrote the {name}", "Homer") for name in "abcdefghij"]
    assert len({one.hallucinated for one in with_similar_answers(asked, BOOKS, count=1, seed=0)}) > 3


def test_similar_answers_do_not_depend_on_the_order_of_examples() -> None:
    ordered = with_similar_answers(POOL, POOL, count=2, seed=0)
    assert with_similar_answers(POOL[::-1], POOL, count=2, seed=0) == ordered[::-1]
    assert with_similar_answers(POOL[7:8], POOL, count=2, seed=0) == ordered[7:8]


def test_similar_answers_do_not_depend_on_the_order_of_the_pool() -> None:
    """All thirty books are equally similar, so which twenty are the nearest is a matter of how ties are broken."""
    ordered = with_similar_answers(BOOKS, POOL, count=2, seed=0)
    assert hallucinated(with_similar_answers(BOOKS, POOL[::-1], count=2, seed=0)) == hallucinated(ordered)


@pytest.mark.parametrize(
    ("own", "count", "origins"),
    [
        ((), 2, ("similar", "similar")),
        (("ghost",), 3, ("dataset", "similar", "similar")),
        (("ghost", "spirit"), 3, ("dataset", "dataset", "similar")),
        (("ghost", "spirit"), 2, ("dataset", "dataset")),
        (("ghost", "spirit"), 1, ("dataset", "dataset")),
    ],
)
def test_similar_answers_top_up(own: tuple[str, ...], count: int, origins: tuple[str, ...]) -> None:
    one = example("who wrote the novel", "Homer", *own)
    found = with_similar_answers([one], BOOKS, count=count, seed=0)[0]
    assert found.hallucinated[: len(own)] == own
    assert origins_of(found) == origins
    assert len(found.hallucinated) == len(set(found.hallucinated)) == len(origins)


def test_similar_answer_that_the_example_has_is_not_added() -> None:
    pool = [example("who wrote dracula", "Bram Stoker"), example("who wrote emma", "Jane Austen")]
    one = example("who wrote it", "Twain", "bram stoker")
    assert with_similar_answers([one], pool, count=3, seed=0)[0].hallucinated == ("bram stoker", "Jane Austen")


def test_fewer_similar_answers_than_asked_for_are_no_error() -> None:
    pool = [example("who wrote dracula", "Bram Stoker"), example("who wrote emma", "Jane Austen")]
    found = with_similar_answers(pool, pool, count=3, seed=0)
    assert [one.hallucinated for one in found] == [("Jane Austen",), ("Bram Stoker",)]


@pytest.mark.parametrize(
    "pool",
    [
        pytest.param([example("who wrote emma", "Jane Austen")], id="itself"),
        pytest.param([example("who wrote persuasion", "Austen")], id="right"),
        pytest.param([], id="empty"),
    ],
)
def test_no_similar_answer_is_an_error(pool: list[Example]) -> None:
    with pytest.raises(DataError) as caught:
        with_similar_answers([example("who wrote emma", "Jane Austen")], pool, count=1, seed=0)
    assert "'who wrote emma'" in str(caught.value)
    assert "toy" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_lack_of_answers_no_pool_is_needed() -> None:
    examples = [example("who wrote emma", "Jane Austen", "Bram Stoker")]
    assert with_similar_answers(examples, [], count=1, seed=0) == examples


def replies(*answers: str) -> Callable[[Sequence[Example]], list[list[str]]]:
    """A model that gives these answers to every question."""
    return lambda examples: [list(answers) for _ in examples]


def test_model_answers_are_wrong_and_new() -> None:
    """Of seven: two right (one by containment), one twice in other letters, two empty once normalised."""
    one = example("who wrote emma", "Jane Austen", aliases=("J. Austen",))
    written = replies("Bram Stoker", "jane austen", "It was J Austen.", "the bram  stoker!", "", "The", "Mark Twain")
    assert with_model_answers([one], 5, written) == [
        Example(
            dataset="toy",
            question="who wrote emma",
            truthful=("Jane Austen",),
            wrong_answers=wrong_answers(["Bram Stoker", "Mark Twain"], "model"),
            aliases=("Jane Austen", "J. Austen"),
        )
    ]


@pytest.mark.parametrize(("count", "kept"), [(1, ("one",)), (2, ("one", "two")), (9, ("one", "two", "three"))])
def test_model_answers_are_the_first(count: int, kept: tuple[str, ...]) -> None:
    found = with_model_answers([example("how many", "four")], count, replies("one", "four", "two", "three"))[0]
    assert found.hallucinated == kept


def test_question_that_the_model_knows_stays_without_wrong_answers() -> None:
    known = example("how many", "four")
    assert with_model_answers([known], 3, replies("four", "four!")) == [known]


def test_model_is_asked_once_and_only_what_is_lacking() -> None:
    asked: list[list[str]] = []

    def generate(examples: Sequence[Example]) -> list[list[str]]:
        asked.append([example.question for example in examples])
        return [[f"reply to {example.question}"] for example in examples]

    own = example("why", "because", "magic")
    found = with_model_answers([example("how", "thus"), own, example("where", "here")], 2, generate)
    assert asked == [["how", "where"]]
    assert [one.hallucinated for one in found] == [("reply to how",), ("magic",), ("reply to where",)]
    assert found[1] == own


@pytest.mark.parametrize(
    ("examples", "count"),
    [([example("why", "because", "magic")], 2), ([example("why", "because")], 0), ([], 2)],
)
def test_model_is_not_asked_in_vain(examples: list[Example], count: int) -> None:
    def generate(examples: Sequence[Example]) -> list[list[str]]:
        raise AssertionError(f"asked for {examples}")

    assert with_model_answers(examples, count, generate) == examples


def test_model_that_answers_too_few_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        with_model_answers([example("why", "because"), example("how", "thus")], 1, lambda examples: [["magic"]])


@pytest.mark.parametrize("from_model", [False, True])
def test_examples_of_one_question_keep_their_own_answers(from_model: bool) -> None:
    """Two rows ask the same: the one that has a wrong answer stays as it is, and each keeps its own truth."""
    own, lacking = example("who wrote it", "Austen", "Stoker"), example("who wrote it", "Jane A.")
    if from_model:
        found = with_model_answers([own, lacking], 1, replies("Mark Twain"))
    else:
        found = with_similar_answers([own, lacking], [example("who wrote that", "Mark Twain")], count=1, seed=0)
    assert [(one.truthful, one.hallucinated) for one in found] == [
        (("Austen",), ("Stoker",)),
        (("Jane A.",), ("Mark Twain",)),
    ]
