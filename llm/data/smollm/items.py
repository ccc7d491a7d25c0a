"""The abilities' items: PIQA and DisflQA, chosen by log-likelihood, and news text to be found likely."""

import re
from pathlib import Path

from ...errors import UserError
from ..records import ChoiceItem
from .rows import ITEMS, belonging, option, options, place_of, read_rows

TEXT_WORDS = 96  # of a text, from its beginning; about 128 tokens
GOAL = "Goal: {}\nSolution:"
READING = "{passage}\n\n{question}"
N_ANSWERS = 8  # to choose from: the right one and those of other passages
UNANSWERABLE = "unknown"
# DisflQA's texts come with spaces between words and punctuation marks
_SPACES = (
    (re.compile(r"(\d) , (?=\d{3}\b)"), r"\1,"),
    (re.compile(r"(\d) \. (?=\d)"), r"\1."),
    (re.compile(r" ([.,;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[]) "), r"\1"),
    (re.compile(r" ' (s|t|re|ve|m|ll|d)\b"), r"'\1"),
    (re.compile(r'" ([^"]*?) "'), r'"\1"'),
    (re.compile(r"(\w) ([-–]) (?=\w)"), r"\1\2"),
)


def choices(folder: Path, part: str) -> list[ChoiceItem]:
    """PIQA (Bisk et al. 2020): which of two ways reaches an everyday goal? Asked without chat, as lm-eval does.

    In the chat format SmolLM2-135M knows less (docs/log.md), and its system turn costs as much time as the question.
    """
    rows = read_rows(folder / "piqa.jsonl", ("question", "options", "answer"))
    return [_choice(row, folder) for row in belonging(rows, part, ITEMS, lambda row: row["question"])]


def _choice(row: dict[str, str], folder: Path) -> ChoiceItem:
    ways, right = options(row["options"]), option(row["answer"])
    if right not in ways:
        raise UserError(
            f"data folder {folder} asks {row['question']!r} in PIQA without its right answer; delete it and fetch it again"
        )
    return ChoiceItem(
        GOAL.format(row["question"].strip()), tuple(f" {way}" for way in ways), ways.index(right), is_plain=True
    )


def readings(folder: Path, part: str) -> list[ChoiceItem]:
    """DisflQA (Gupta et al. 2021): which answer is in the text? The others answer other questions of the part.

    Its questions are SQuAD's, spoken and corrected while they are asked; those that the passage does not answer are left out.
    A model of this size cannot say the answer (docs/log.md), but can find it.
    """
    rows = read_rows(folder / "disflqa.jsonl", ("passage", "question", "answer"))
    rows = belonging(rows, part, ITEMS, lambda row: row["passage"])
    told = [{name: tidy(text) for name, text in row.items()} for row in rows if row["answer"] != UNANSWERABLE]
    return [_reading(row, told[place + 1 :] + told[:place]) for place, row in enumerate(told)]


def _reading(row: dict[str, str], following: list[dict[str, str]]) -> ChoiceItem:
    """With the answers of the rows that come next which stand neither in its passage nor in its answer."""
    known = f"{row['passage']}\n{row['answer']}".lower()
    wrong = dict.fromkeys(other["answer"] for other in following if other["answer"].lower() not in known)
    answers = [row["answer"], *list(wrong)[: N_ANSWERS - 1]]
    answers.sort(key=lambda answer: place_of(row["question"] + answer))
    return ChoiceItem(READING.format(**row), tuple(answers), answers.index(row["answer"]))


def texts(folder: Path, part: str) -> list[str]:
    """Beginnings of BBC news articles (XSum, Narayan et al. 2018) of TEXT_WORDS words; shorter articles are left out."""
    rows = read_rows(folder / "xsum.jsonl", ("document",))
    articles = [row["document"].split() for row in belonging(rows, part, ITEMS, lambda row: row["document"])]
    return [" ".join(words[:TEXT_WORDS]) for words in articles if len(words) >= TEXT_WORDS]


def tidy(text: str) -> str:
    """The text as people write it."""
    for pattern, replacement in _SPACES:
        text = pattern.sub(replacement, text)
    return text.strip()
