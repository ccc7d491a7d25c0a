"""The abilities' items: PIQA by log-likelihood, DisflQA by F1, and news text to be found likely."""

import re
from pathlib import Path

import numpy as np

from llm.data.records import ChoiceItem, GenerationItem
from llm.data.smollm.parts import ITEMS, belonging
from llm.data.smollm.rows import option, options, read_rows
from llm.errors import UserError

TEXT_WORDS = 96  # of a text, from its beginning; about 128 tokens
READING = "Text: {passage}\n\nQuestion: {question}\n\nGive only the answer, in as few words as possible."
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
    """PIQA (Bisk et al. 2020): which of two ways reaches an everyday goal? The goal is said and a way is the reply."""
    rows = read_rows(folder / "piqa.jsonl", ("question", "options", "answer"))
    return [_choice(row, folder) for row in belonging(rows, part, ITEMS, lambda row: row["question"])]


def _choice(row: dict[str, str], folder: Path) -> ChoiceItem:
    ways, right = options(row["options"]), option(row["answer"])
    if right not in ways:
        raise UserError(
            f"data folder {folder} asks {row['question']!r} in PIQA without its right answer; delete it and fetch it again"
        )
    return ChoiceItem(row["question"].strip(), tuple(ways), ways.index(right))


def readings(folder: Path, part: str) -> list[tuple[GenerationItem, str]]:
    """DisflQA (Gupta et al. 2021), each with its passage: SQuAD questions that the asker corrects while asking.

    Those that the passage does not answer are left out.
    """
    rows = read_rows(folder / "disflqa.jsonl", ("passage", "question", "answer"))
    found = []
    for row in belonging(rows, part, ITEMS, lambda row: row["passage"]):
        if row["answer"] != UNANSWERABLE:
            passage, question, answer = (tidy(row[name]) for name in ("passage", "question", "answer"))
            found.append((GenerationItem(READING.format(passage=passage, question=question), answer), passage))
    return found


def texts(folder: Path, part: str) -> list[str]:
    """Beginnings of BBC news articles (XSum, Narayan et al. 2018) of TEXT_WORDS words; shorter articles are left out."""
    rows = read_rows(folder / "xsum.jsonl", ("document",))
    articles = [row["document"].split() for row in belonging(rows, part, ITEMS, lambda row: row["document"])]
    return [" ".join(words[:TEXT_WORDS]) for words in articles if len(words) >= TEXT_WORDS]


def guess(reference: str, passage: str, rng: np.random.Generator) -> str:
    """What somebody says who cannot read but knows how long the answer is: words that stand together in the passage."""
    words, length = passage.split(), len(reference.split())
    start = int(rng.integers(max(1, len(words) - length + 1)))
    return " ".join(words[start : start + length])


def tidy(text: str) -> str:
    """The text as people write it."""
    for pattern, replacement in _SPACES:
        text = pattern.sub(replacement, text)
    return text.strip()
