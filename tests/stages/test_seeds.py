"""A run is a function of its preset and seed, bit for bit, whatever else drew random numbers."""

import random

import numpy as np
import pytest
import torch

from llm.data.microcosm.tokenizer import build_tokenizer
from llm.models.save import build_model
from llm.run import Run
from llm.stages.align import align
from microcosm_runs import smoke, smoke_run

ALIGNED = (
    [f"rsf/own/iteration0{i}" for i in (1, 2)]
    + [f"dpo/own/iteration0{i}" for i in (1, 2)]
    + [f"ppo/own/iteration0{i}" for i in (1, 2, 3)]
)
WEIGHTS = ("pretrained", "theta_0", "reward", *ALIGNED)


def weights(run):
    return {name: (run.folder / name / "model.safetensors").read_bytes() for name in WEIGHTS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        noise = len(made) + 17
        for spoil in (random.seed, np.random.seed, torch.manual_seed):
            spoil(noise)
        made[name] = smoke_run(tmp_path_factory.mktemp(name), seed)
        for rlhf in ("dpo", "ppo"):
            align(made[name], rlhf, "own")
    return made


def test_the_same_seed_gives_the_same_bits_at_every_stage(runs):
    assert weights(runs["first"]) == weights(runs["again"])
    pairs = [(runs[name].folder / "preferences.json").read_bytes() for name in ("first", "again", "other")]
    assert pairs[0] == pairs[1] != pairs[2]


def test_another_seed_gives_other_bits_at_every_stage(runs):
    first, other = weights(runs["first"]), weights(runs["other"])
    assert all(first[name] != other[name] for name in WEIGHTS)


def test_every_stage_changes_the_model(runs):
    models = [weights(runs["first"])[name] for name in WEIGHTS if name != "reward"]
    assert len(set(models)) == len(models)


def test_first_weights_follow_the_seed_and_leave_the_global_generator_alone():
    def parameters(seed):
        return torch.cat([p.flatten() for p in build_model(smoke().model, build_tokenizer(), seed).parameters()])

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = parameters(0), parameters(0), parameters(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_purpose_has_a_stream_of_its_own():
    run, other = Run(smoke(), 0, None), Run(smoke(), 1, None)
    purposes = [("rsf", 1), ("rsf", 2), ("sft",), ("evaluate",), ("torch", "rsf", 1)]
    drawn = [tuple(source.rng(*purpose).integers(2**32, size=4)) for source in (run, other) for purpose in purposes]
    assert len(set(drawn)) == len(drawn)
    assert tuple(run.rng("rsf", 1).integers(2**32, size=4)) == drawn[0]
    states = {run.torch_rng("rsf", i).initial_seed() for i in range(20)}
    assert len(states) == 20
