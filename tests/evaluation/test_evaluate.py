"""Measuring: with replies that are known, the metrics are known; with the same model, the numbers are the same."""

import numpy as np
import pytest
import torch

from llm.evaluation import local as module
from llm.evaluation.measurement import f1
from llm.models.chat import prompt_ids, reply_ids
from llm.models.loading import load_model
from microcosm_runs import METRICS, evaluator, smoke, smoke_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sizes = {"prompts": 30, "qa": 40, "reading": 30, "translation": 20, "batch": 16}
    preset = smoke().model_copy(update={"evaluate": smoke().evaluate.model_copy(update=sizes)})
    return smoke_run(tmp_path_factory.mktemp("out"), upto="reward", preset=preset)


def measured_with(run, monkeypatch, answer, say="it goes"):
    """Measurements of a model that says `answer(item)` to an ability's prompt and `say` to every other."""
    measuring = evaluator(run)
    known = {item.prompt: item for item in measuring.items.reading + measuring.items.translation}

    def write(model, tokenizer, prompts, **_):
        return [(answer(known[prompt]) if prompt in known else say, True) for prompt in prompts]

    monkeypatch.setattr(module, "generate_replies", write)
    return measuring, measuring.measure(load_model(run.folder / "theta_0"))[0]


def test_right_replies_to_the_abilities_are_worth_everything(run, monkeypatch):
    _, measured = measured_with(run, monkeypatch, lambda item: item.reference)
    assert (measured["reading_f1"].value, measured["reading_f1"].stderr, measured["reading_f1"].n) == (1, 0, 30)
    assert measured["bleu"].value == pytest.approx(100)
    assert (measured["bleu"].stderr, measured["bleu"].n) == (pytest.approx(0, abs=1e-9), 20)
    assert set(measured) == set(METRICS)


def test_the_whole_reply_counts_so_chatter_costs(run, monkeypatch):
    measuring, measured = measured_with(run, monkeypatch, lambda item: f"{item.reference} what lovely weather !")
    scores = [f1(f"{item.reference} what lovely weather !", item.reference) for item in measuring.items.reading]
    assert measured["reading_f1"].value == pytest.approx(np.mean(scores)) == pytest.approx(4 / 7)
    assert 40 < measured["bleu"].value < 80


def test_the_gold_reward_and_the_length_are_those_of_the_replies(run, monkeypatch):
    measuring, measured = measured_with(run, monkeypatch, lambda item: "", say="what a lovely day red blue")
    gold = [run.source.gold_reward(prompt, "what a lovely day red blue", True) for prompt in measuring.prompts]
    assert measured["gold_reward"].value == pytest.approx(np.mean(gold))
    assert measured["gold_reward"].stderr == pytest.approx(np.std(gold, ddof=1) / np.sqrt(30))
    assert (measured["length"].value, measured["length"].stderr, measured["length"].n) == (6, 0, 30)
    assert (measured["reading_f1"].value, measured["bleu"].value) == (0, 0)


def test_a_choice_is_the_reply_of_highest_likelihood_computed_one_by_one(run):
    measuring, model = evaluator(run), load_model(run.folder / "theta_0")
    with torch.no_grad():
        model.lm_head.weight.mul_(10)  # a model with opinions
        right = []
        for item in measuring.items.qa:
            scores = []
            for choice in item.choices:
                context, said = (
                    prompt_ids(measuring.tokenizer, item.prompt),
                    reply_ids(measuring.tokenizer, choice, False),
                )
                logs = torch.log_softmax(model(torch.tensor([context + said])).logits[0], dim=-1)
                scores.append(sum(logs[len(context) - 1 + k, token].item() for k, token in enumerate(said)))
            right.append(int(np.argmax(scores)) == item.answer)
    measured, _ = measuring.measure(model)
    assert measured["qa"].items.tolist() == right
    assert 0 < measured["qa"].value < 1
    assert measured["qa"].n == 40


def test_measuring_a_model_twice_gives_the_same_numbers_and_prompts_are_held_out(run):
    model = load_model(run.folder / "theta_0")
    first, again = (evaluator(run).measure(model)[0] for _ in range(2))
    assert {key: (m.value, m.stderr, m.n) for key, m in first.items()} == {
        key: (m.value, m.stderr, m.n) for key, m in again.items()
    }
    held_out = set(run.source.world.conversations["test"])
    asked = [prompt for prompt in evaluator(run).prompts if prompt.kind == "talk"]
    for prompt in asked:
        assert any(topic == prompt.content[0] and person in prompt.text.split() for topic, person in held_out)
    assert len(asked) > 5


def test_the_win_rate_counts_the_prompts_whose_reply_is_worth_more_than_theta_0s(run):
    measuring, model = evaluator(run), load_model(run.folder / "theta_0")
    itself = measuring.measure(model)[0]["win_rate"]
    assert (itself.value, itself.stderr, itself.n) == (0.5, 0, 30)
    with torch.no_grad():
        model.lm_head.weight.mul_(-3)
    own, rival = (
        measuring.dialogue(one, measuring.prompts)["gold_reward"].items
        for one in (model, load_model(run.folder / "theta_0"))
    )
    won, lost = (sum(a > b for a, b in zip(*pair)) for pair in ((own, rival), (rival, own)))
    assert 0 < won + lost < 2 * 30
    assert measuring.measure(model)[0]["win_rate"].value == pytest.approx((won + (30 - won - lost) / 2) / 30)
