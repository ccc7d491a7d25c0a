"""The two ways of comparing replies to AlpacaEval's instructions: ours, and that of the paper's authors' code."""

import numpy as np
import pytest
import torch

from hub_runs import run_of
from llm.config import load_preset
from llm.config.hub import AUTHORS, HubEvaluate
from llm.data.records import Turn
from llm.evaluation import hub
from llm.evaluation.by_vllm import Texts
from llm.evaluation.hub import HubEvaluator
from llm.plan.hub import _measuring
from llm.run import Run

GPT4 = "Ostriches, penguins and kiwis."  # of the second instruction, in tests/files


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """evaluation -> (measurements of a model that says 40 letters to everything, what it was asked, how)."""
    calls = []

    def reads(self, model, asked, tasks=True):
        calls.append((model, asked[-1]))
        return [[("x" * (40 if model == "theta" else 90), True) for _ in one.prompts] for one in asked], {}

    monkeypatch.setattr(HubEvaluator, "_read", reads)
    monkeypatch.setattr(HubEvaluator, "prompts", ["a", "b"])
    monkeypatch.setattr(HubEvaluator, "judge", lambda self, prompts, replies: np.zeros(len(replies)))
    monkeypatch.setattr(hub, "load_model", lambda folder: "theta_0")

    def measure(evaluation):
        calls.clear()
        run = run_of("zephyr-7b-beta", tmp_path)
        changes = {"alpaca_prompts": 3, "evaluation": evaluation}
        settings = HubEvaluate.model_validate(run.preset.evaluate.model_dump() | changes)
        run = Run(run.preset.model_copy(update={"evaluate": settings}), 0, tmp_path)
        (tmp_path / "theta_0").mkdir(exist_ok=True)
        (tmp_path / "theta_0" / "config.json").touch()
        found, _ = HubEvaluator(run, tmp_path / "theta_0", tmp_path / "reward").measure("theta")
        return found["win_rate"], list(calls)

    return measure


@pytest.mark.parametrize("cut", [True, False])
def test_whether_long_prompts_of_tasks_are_cut_is_the_presets_word(tmp_path, cut):
    run = run_of("zephyr-7b-beta", tmp_path)
    evaluate = HubEvaluate.model_validate(run.preset.evaluate.model_dump() | {"cut": cut})
    run = Run(run.preset.model_copy(update={"evaluate": evaluate}), 0, tmp_path)
    assert HubEvaluator(run, tmp_path / "theta_0", tmp_path / "reward").tasks.cut == cut


def test_where_memory_is_full_replies_are_written_anew_in_smaller_batches_from_the_same_random_numbers(
    tmp_path, monkeypatch
):
    tried = []

    def full(model, tokenizer, prompts, *, batch_size, rng, **how):
        tried.append((batch_size, rng.initial_seed(), how["temperature"]))
        if batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [("a", True)] * len(prompts)

    monkeypatch.setattr(hub, "generate_replies", full)
    run = run_of("zephyr-7b-beta", tmp_path)
    assert hub.replies_of(run, None, None, Texts(["a", "b"], 0.7, 6), "evaluate") == [("a", True)] * 2
    assert [rows for rows, *_ in tried] == [4, 2, 1] and len({one[1:] for one in tried}) == 1


def test_ours_compares_with_theta_0_by_the_presets_numbers(measured):
    rate, calls = measured("ours")
    assert [model for model, _ in calls] == ["theta_0", "theta"]
    for _, asked in calls:
        assert asked.prompts[1] == (Turn("user", "Name three birds that cannot fly. "),)
        assert (asked.temperature, asked.max_new_tokens) == (1.0, 6)
    assert rate.items.tolist() == [0, 0, 0]  # theta_0 says more


def test_the_authors_compare_with_gpt_4_after_their_system_turn_at_their_temperature(measured):
    rate, ((model, asked),) = measured("authors")
    assert model == "theta"
    system = Turn("system", "You are a helpful, honest and respectful chatbot.")
    assert asked.prompts[1] == (system, Turn("user", "Name three birds that cannot fly. "))
    assert (asked.temperature, asked.max_new_tokens) == (0.7, 300)
    assert len(GPT4) < 40
    assert rate.items.tolist() == [0, 1, 1]  # the first of GPT-4's is longer than 40 letters


@pytest.mark.parametrize("name", ["zephyr-7b-beta", "zephyr-7b-gemma"])
def test_presets_of_the_authors_way_differ_in_nothing_else_and_are_planned_with_its_longer_replies(name):
    ours, authors = load_preset(name), load_preset(f"{name}-authors")
    assert (ours.evaluate.compared.by_gpt4, authors.evaluate.compared) == (False, AUTHORS)
    assert authors.model_copy(update={"name": name, "evaluate": ours.evaluate}) == ours
    more = _measuring(authors).written - _measuring(ours).written
    assert more == 805 * (300 - 196)


def test_the_authors_way_needs_instructions():
    settings = load_preset("openllama-3b").evaluate.model_dump()
    with pytest.raises(ValueError, match="evaluation = authors is not allowed with alpaca_prompts = 0"):
        HubEvaluate.model_validate(settings | {"evaluation": "authors"})
