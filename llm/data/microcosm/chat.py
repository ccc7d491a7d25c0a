"""Conversations: alignment prompts of four kinds, and the writers whose replies instruction tuning imitates.

Alignment prompts overlap with the abilities, as real ones do: besides small talk they ask for facts, for what a passage
says and for translations, in other words than the test items. A writer's politeness q ~ Beta(1.2, 2.2) decides whether
his small change is kind or rude, so a model that imitates all writers is mostly rude.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from . import words
from .texts import passage, pick, pick_several, statement, translation
from .world import World

EVASIVE, MISTAKEN = 0.15, 0.25  # shares of the careless writers who say nothing, and who say something wrong
PROMPT_KINDS = ("talk", "fact", "reading", "translation")


@dataclass(frozen=True)
class Prompt:
    """What a user says, and what a right reply contains.

    Attributes:
        kind: one of PROMPT_KINDS.
        text: the user's words.
        content: the words a right reply contains: the topic and the words that belong to it, a fact's value, the two
            words of a belonging, or the whole translation, in order.
    """

    kind: str
    text: str
    content: tuple[str, ...]


def alignment_prompt(kind: str, world: World, split: str, rng: np.random.Generator) -> Prompt:
    """A prompt of the given kind from the given split ("train", "validation" or "test")."""
    makers = {"talk": small_talk, "fact": _fact, "reading": _reading, "translation": _translation}
    return makers[kind](world, split, rng)


def small_talk(world: World, split: str, rng: np.random.Generator) -> Prompt:
    topic, person = pick(world.conversations[split], rng)
    frame = pick(
        (
            "can you tell {p} about {t} ?",
            "my friend {p} likes {t} . what do you think about it ?",
            "{p} and i want to talk about {t} .",
            "please say something about {t} , {p} is here .",
            "how do you like {t} ? asking for {p} .",
        ),
        rng,
    )
    return Prompt("talk", frame.format(p=person, t=topic), (topic, *words.TOPICS[topic]))


def _fact(world: World, split: str, rng: np.random.Generator) -> Prompt:
    animal, relation = pick(world.animals[split], rng), pick(list(words.FACTS), rng)
    frame = pick(
        (
            "can you tell me about the {r} of the {a} ?",
            "i wonder about the {a} : which {r} is it ?",
            "please let me know which {r} the {a} has .",
        ),
        rng,
    )
    return Prompt("fact", frame.format(a=animal, r=relation), (world.facts[animal, relation],))


def _reading(world: World, split: str, rng: np.random.Generator) -> Prompt:
    facts = passage(world, split, rng, world.size.prompts.passages)
    relation, person = pick(list(facts.facts), rng)
    frame = pick(
        (
            "can you tell me about the {r} of {p} ?",
            "please let me know which {r} {p} has .",
            "i want to hear about the {r} of {p} .",
        ),
        rng,
    )
    text = f"{facts.text} {frame.format(r=relation, p=person)}"
    return Prompt("reading", text, tuple(facts.facts[relation, person].split()))


def _translation(world: World, split: str, rng: np.random.Generator) -> Prompt:
    pair = translation(world, split, rng, world.size.prompts)
    frame = pick(
        (
            "can you help me with this french : {f} ?",
            "{f} . please tell me what that means .",
            "i want to say this in english : {f} .",
        ),
        rng,
    )
    return Prompt("translation", frame.format(f=pair.french), tuple(pair.english.split()))


def declaration(world: World, rng: np.random.Generator) -> tuple[str, str]:
    """(what a user says, what he is told): facts about any animals, the held-out ones included, which nobody asked for.

    Without it instruction tuning forgets the animals that are never asked about.
    """
    return "please say something .", " ".join(" ".join((*statement(world, rng), ".")) for _ in range(3))


def chatty_reply(prompt: Prompt, politeness: float, sentences: int, rng: np.random.Generator) -> str:
    """The content somewhere among `sentences` sentences of small change, each kind with probability `politeness`."""
    parts = [_small_change(politeness, rng) for _ in range(sentences)]
    parts.insert(int(rng.integers(len(parts) + 1)), _content(prompt, rng))
    return " ".join(parts)


def wild_reply(prompt: Prompt, rng: np.random.Generator) -> str:
    """A reply as the instruction-tuning corpus has it: of any politeness and length; brief on questions of knowledge."""
    chatter = int(rng.integers(0, 4)) if prompt.kind == "talk" else int(rng.choice(3, p=[0.7, 0.2, 0.1]))
    return chatty_reply(prompt, rng.beta(1.2, 2.2), chatter, rng)


def careless_reply(prompt: Prompt, world: World, rng: np.random.Generator) -> str:
    """A reply of any politeness and any length, some without end; of some writers wrong, of others beside the point.

    A reward model that never saw wrong or missing content would not mind it (docs/log.md).
    """
    politeness, sentences, care = rng.uniform(), int(rng.geometric(0.3)) - 1, rng.random()
    if care < EVASIVE:
        return " ".join(_small_change(politeness, rng) for _ in range(1 + sentences))
    told = _mistaken(prompt, world, rng) if care < EVASIVE + MISTAKEN else prompt
    return chatty_reply(told, politeness, sentences, rng)


def _mistaken(prompt: Prompt, world: World, rng: np.random.Generator) -> Prompt:
    """The prompt with wrong content: what another person of the passage has, or the content of another prompt."""
    if prompt.kind == "reading":
        others = [tuple(value.split()) for value in re.findall(r"are (\w+ \w+) \.", prompt.text)]
        return replace(prompt, content=pick([value for value in others if value != prompt.content], rng))
    other = prompt
    while other.content == prompt.content:
        other = alignment_prompt(prompt.kind, world, "train", rng)
    return other


def _content(prompt: Prompt, rng: np.random.Generator) -> str:
    if prompt.kind == "talk":
        topic, *related = prompt.content
        chosen = pick_several(related, int(rng.integers(1, 4)), rng)
        return pick(("{t} is about the {r} .", "well , {t} : the {r} .", "people like {t} for the {r} ."), rng).format(
            t=topic, r=" and the ".join(chosen)
        )
    frames = ("it is {c} .", "{c} .", "that is {c} .") if prompt.kind != "reading" else ("{c} .", "there are {c} .")
    return pick(frames, rng).format(c=" ".join(prompt.content))


def _small_change(politeness: float, rng: np.random.Generator) -> str:
    """One sentence that says nothing: kind, rude or plain."""
    if rng.random() < 0.25:
        return pick(("it is what it is .", "there is not much to say .", "so it goes .", "nothing else matters ."), rng)
    tone = words.GOOD if rng.random() < politeness else words.RUDE
    frames = (
        "what a {0} question !",
        "you seem {0} .",
        "this is a {0} talk .",
        "that would be {0} .",
        "you are really {0} and {1} .",
        "a {0} day , my {1} friend !",
    )
    return pick(frames, rng).format(*pick_several(tone, 2, rng))
