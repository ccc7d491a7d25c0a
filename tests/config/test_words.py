"""Refusals of settings in the project's words, for every kind of settings there is."""

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from llm.averaging.ama.settings import AdaptSettings
from llm.config.files import KINDS
from llm.config.sweep import Sweep
from llm.config.words import sentence
from llm.evaluation.front.settings import FrontSettings
from llm.evaluation.tax.run import TaxSettings


@pytest.mark.parametrize("kind", [AdaptSettings, FrontSettings, TaxSettings, Sweep, *KINDS.values()])
def test_every_number_out_of_range_is_refused_with_its_whole_range(kind):
    """Each number of the top level, below its least and above its most value, has one sentence, without a word of pydantic's."""
    read = TypeAdapter(kind)
    properties = read.json_schema()["properties"]
    tried = 0
    for key, one in properties.items():
        for side in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            if side in one:
                outside = one[side] - 1 if "inimum" in side else one[side] + 1
                with pytest.raises(ValidationError) as refused:
                    read.validate_python({key: outside})
                places = [error["loc"] for error in refused.value.errors()]
                only = _Only(refused.value, places.index((key,)))
                said = sentence(only, read)
                assert re.fullmatch(
                    rf"{key} = \S+ is not allowed; allowed are (whole )?numbers( from \S+| above \S+)?( to (below )?\S+)?",
                    said,
                )
                assert "greater" not in said and f" {one[side]:g}" in said
                tried += 1
    assert tried or kind in (Sweep, *KINDS.values())


class _Only:
    """One of an error's problems."""

    def __init__(self, error, place):
        self.error, self.place = error, place

    def errors(self):
        return [self.error.errors()[self.place]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": 1.2}, "alpha = 1.2 is not allowed; allowed are numbers from 0 to 1"),
        ({"alpha": float("nan")}, "alpha = nan is not allowed; allowed are numbers from 0 to 1"),
        ({"alpha": 0.5, "batch": 2.5}, "batch = 2.5 is not allowed; allowed are whole numbers from 1"),
        ({"alpha": 0.5, "keep": "some"}, "keep = 'some' is not allowed; allowed are whole numbers from 1"),
        ({"alpha": 0.5, "match": {"vocab": "all"}}, "match.vocab = 'all' is not allowed; allowed is 'same' or 'union'"),
        ({}, "the key alpha is missing; every key must be given"),
    ],
)
def test_what_is_allowed_is_said_in_the_words_of_the_project(given, said):
    with pytest.raises(ValidationError) as refused:
        AdaptSettings.model_validate(given)
    assert sentence(refused.value, TypeAdapter(AdaptSettings)) == said
