"""RSF: the best of n, imitated; and a run that goes on where it stopped."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores
from llm.stages.rsf import rsf, sample
from llm.training.rlhf.rsf import best_of
from microcosm_runs import contents, smoke_run

SCORES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return smoke_run(tmp_path_factory.mktemp("out"))


def again(run, lr=None, name="own"):
    folder = run.folder / "rsf" / name
    rsf(run, run.folder / "theta_0", run.folder / "reward", folder, lr)
    return folder


@given(SCORES)
def test_the_chosen_sample_is_its_prompts_own_and_never_worse_than_the_mean(scores):
    prompts, samples = scores.shape
    chosen = best_of(scores)
    assert (chosen // samples == np.arange(prompts)).all()
    assert (scores.ravel()[chosen] == scores.max(axis=1)).all()
    assert (scores.ravel()[chosen] >= scores.astype(float).mean(axis=1) - 1e-9).all()


def test_of_equal_samples_the_first_is_chosen():
    assert best_of(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [1, 3]


def test_every_iteration_says_what_it_sampled_and_chose_better_than_its_mean(run):
    for iteration in (1, 2):
        log = json.loads((run.folder / "rsf" / "own" / f"iteration0{iteration}.json").read_text())
        assert (log["iteration"], log["lr"]) == (iteration, run.preset.rsf.optimiser.lr)
        assert log["reward_chosen"] > log["reward"]


def test_the_first_iteration_imitates_the_best_replies_of_theta_0(run, tmp_path, monkeypatch):
    """What is imitated, against a plain choice among theta_0's samples to the same prompts."""
    from llm.stages import rsf as module

    seen, real = [], module.imitation_example
    monkeypatch.setattr(module, "imitation_example", lambda tokenizer, *one: seen.append(one) or real(tokenizer, *one))
    one = run.preset.model_copy(update={"rsf": run.preset.rsf.model_copy(update={"iterations": 1})})
    rsf(type(run)(one, run.seed, run.out), run.folder / "theta_0", run.folder / "reward", tmp_path / "rsf", None)
    model, tokenizer = load_model(run.folder / "theta_0"), load_tokenizer(run.folder / "theta_0")
    prompts = run.source.prompts("train", run.preset.prompts, run.preset.rsf.prompts, run.rng("rsf", 1))
    samples = sample(run, model, tokenizer, prompts, run.preset.rsf.samples, 1.0, ("rsf", 1))
    scores = reward_scores(load_reward_model(run.folder / "reward"), tokenizer, samples, 100).tolist()
    size = run.preset.rsf.samples
    expected = [
        max(zip(scores[i : i + size], samples[i : i + size], strict=True))[1] for i in range(0, len(samples), size)
    ]
    assert sorted(seen) == sorted(expected)
    assert [tuple(row) for row in json.loads((tmp_path / "rsf" / "chosen01.json").read_text())] == expected


def test_each_iteration_samples_from_and_trains_the_model_of_the_one_before(run, tmp_path, monkeypatch):
    from llm.stages import rsf as module

    loaded = []
    monkeypatch.setattr(
        module, "load_model", lambda folder, *device: loaded.append(folder) or load_model(folder, *device)
    )
    rsf(run, run.folder / "theta_0", run.folder / "reward", tmp_path, None)
    assert loaded == [run.folder / "theta_0", tmp_path / "iteration01"]


def test_a_missing_last_iteration_is_made_again_to_the_byte(run):
    folder = run.folder / "rsf" / "own"
    before = contents(folder)
    shutil.rmtree(folder / "iteration02")
    assert contents(again(run)) == before


def test_a_last_iteration_whose_output_a_workflow_removed_is_made_again_to_the_byte(run):
    folder = run.folder / "rsf" / "own"
    before = contents(folder)
    (folder / "iteration02" / "config.json").unlink()
    assert contents(again(run)) == before


def test_finished_iterations_are_kept_and_those_older_than_the_reward_model_made_again(run):
    folder = run.folder / "rsf" / "own"
    configs = [folder / f"iteration0{i}" / "config.json" for i in (1, 2)]
    before, made = contents(folder), [path.stat().st_mtime_ns for path in configs]
    again(run)
    assert [path.stat().st_mtime_ns for path in configs] == made
    now = time.time()
    os.utime(run.folder / "reward" / "config.json", (now, now))
    again(run)
    assert all(path.stat().st_mtime_ns > time for path, time in zip(configs, made, strict=True))
    assert contents(folder) == before


def test_the_learning_rate_is_the_presets_or_the_one_given(run):
    own = contents(run.folder / "rsf" / "own")
    same = contents(again(run, lr=run.preset.rsf.optimiser.lr, name="same"))
    other = contents(again(run, lr=2e-3, name="other"))
    assert same == own
    weights = [key for key in own if key.suffix == ".safetensors"]
    assert len(weights) == 2
    assert all(own[key] != other[key] for key in weights)
