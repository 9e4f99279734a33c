"""Each chapter ends with questions to think about, and each of them has a folded answer."""

import re
from pathlib import Path

import pytest

from lecture_book.notebooks.myst import blocks

CHAPTERS = sorted((Path(__file__).resolve().parents[1] / "book").glob("[0-9]*.md"))
HEADING = "## Questions to think about"
SHORTEST = 15  # words; a shorter answer explains nothing


def unanswered(text: str) -> list[str]:
    """What is wrong with the questions of a chapter; one line each."""
    _, heading, rest = text.partition(f"\n{HEADING}\n")
    if not heading:
        return ["there are no questions"]
    section = re.split(r"(?m)^## ", rest)[0]
    numbers = [int(n) for n in re.findall(r"(?m)^(\d+)\. \S", section)]
    lines = [] if numbers and numbers == list(range(1, len(numbers) + 1)) else ["odd numbers"]
    answers: dict[int, str] = {}
    for block in blocks(section):
        title = re.fullmatch(r"Answer to question (\d+)", block.argument)
        if block.kind != "directive" or block.name != "admonition" or not title:
            continue
        if "dropdown" not in str(block.options.get("class", "")).split():
            lines.append(f"the answer to question {title[1]} is not folded")
        answers[int(title[1])] = block.body
    lines += [f"question {n} has no answer" for n in numbers if n not in answers]
    lines += [f"answer {n} has no question" for n in answers if n not in numbers]
    short = [n for n, body in answers.items() if len(body.split()) < SHORTEST]
    return lines + [f"the answer to question {n} is too short" for n in short]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_question_has_a_folded_answer(path):
    assert unanswered(path.read_text(encoding="utf8")) == []


def test_all_chapters_are_looked_at():
    assert len(CHAPTERS) >= 7


QUESTIONS = "# A\n\n## Questions to think about\n\n1. Why is it so?\n2. And what if not?\n"


def answer(number: int, words: int = SHORTEST, folded: str = ":class: dropdown tip\n") -> str:
    text = " ".join(["word"] * words)
    return f"\n```{{admonition}} Answer to question {number}\n{folded}\n{text}\n```\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# A\n\nText.\n", "there are no questions"),
        (QUESTIONS + answer(1), "question 2 has no answer"),
        (QUESTIONS + answer(1) + answer(2) + answer(3), "answer 3 has no question"),
        (QUESTIONS + answer(1) + answer(2, folded=""), "the answer to question 2 is not folded"),
        (QUESTIONS + answer(1) + answer(2, words=3), "the answer to question 2 is too short"),
        (QUESTIONS.replace("2.", "3.") + answer(1) + answer(3), "odd numbers"),
        (QUESTIONS + answer(1) + "\n## Next\n" + answer(2), "question 2 has no answer"),
    ],
)
def test_a_question_without_an_answer_is_reported(text, line):
    assert unanswered(text) == [line]


def test_questions_with_answers_are_fine():
    assert unanswered(QUESTIONS + answer(1) + answer(2)) == []
