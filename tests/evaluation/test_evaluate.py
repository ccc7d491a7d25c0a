"""Measuring: with replies that are known, the metrics are known; with the same model, the numbers are the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from llm.evaluation import abilities, local
from llm.evaluation.measurement import f1, per_token
from llm.models.chat import prompt_ids, reply_ids
from llm.models.loading import load_model
from llm.models.reader import Reader
from microcosm_runs import METRICS, evaluator, smoke, smoke_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sizes = {"prompts": 30, "qa": 40, "reading": 30, "translation": 20, "batch": 16}
    preset = smoke().model_copy(update={"evaluate": smoke().evaluate.model_copy(update=sizes)})
    return smoke_run(tmp_path_factory.mktemp("out"), upto="reward", preset=preset)


def measured_with(run, monkeypatch, answer, say="it goes"):
    """Measurements of a model that says `answer(item)` to an ability's prompt and `say` to every other."""
    measuring = evaluator(run)
    items = measuring.abilities.items.reading + measuring.abilities.items.translation
    known = {tuple(prompt_ids(measuring.tokenizer, item.prompt)): item for item in items}

    def write(model, tokenizer, contexts, end, **_):
        return [(answer(known[tuple(ids)]) if tuple(ids) in known else say, True) for ids in contexts]

    for module in (local, abilities):
        monkeypatch.setattr(module, "continue_texts", write)
    return measuring, measuring.measure(load_model(run.folder / "theta_0"))[0]


def test_right_replies_to_the_abilities_are_worth_everything(run, monkeypatch):
    _, measured = measured_with(run, monkeypatch, lambda item: item.reference)
    assert (measured["reading_f1"].value, measured["reading_f1"].stderr, measured["reading_f1"].n) == (1, 0, 30)
    assert measured["bleu"].value == pytest.approx(100)
    assert (measured["bleu"].stderr, measured["bleu"].n) == (pytest.approx(0, abs=1e-9), 20)
    assert set(measured) == set(METRICS)


def test_the_whole_reply_counts_so_chatter_costs(run, monkeypatch):
    measuring, measured = measured_with(run, monkeypatch, lambda item: f"{item.reference} what lovely weather !")
    readings = measuring.abilities.items.reading
    scores = [f1(f"{item.reference} what lovely weather !", item.reference) for item in readings]
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
        for item in measuring.abilities.items.qa:
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


def test_theta_0_is_no_way_from_itself_and_another_model_is(run):
    measuring, theta_0 = evaluator(run), load_model(run.folder / "theta_0")
    itself = measuring.measure(theta_0)[0]
    for name in ("forward_kl", "reverse_kl"):
        assert (itself[name].value, itself[name].stderr, itself[name].n) == (0.0, 0.0, 30)
    assert itself["weight_displacement"].value == 0.0
    length = np.sqrt(sum(float(p.detach().double().square().sum()) for p in theta_0.parameters()))
    with torch.no_grad():
        head = float(theta_0.lm_head.weight.detach().double().norm())
        theta_0.lm_head.weight.mul_(1.5)
    other = measuring.measure(theta_0)[0]
    assert other["weight_displacement"].value == pytest.approx(0.5 * head / length)
    assert other["forward_kl"].value > 0
    assert 0 < other["reverse_kl"].value != other["forward_kl"].value


def test_divergences_a_token_are_those_of_each_reply_alone(run):
    measuring, model = evaluator(run), load_model(run.folder / "theta_0")
    start = load_model(run.folder / "theta_0")
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    replies = measuring._write(Reader(start), measuring.prompts)
    total, tokens = 0.0, 0
    for prompt, reply in zip(measuring.prompts, replies, strict=True):
        context, said = prompt_ids(measuring.tokenizer, prompt.text), reply_ids(measuring.tokenizer, *reply)
        with torch.no_grad():
            p, q = (
                one(torch.tensor([context + said])).logits[0].double().softmax(-1).numpy() for one in (start, model)
            )
        places = slice(len(context) - 1, len(context) + len(said) - 1)
        total += (p[places] * (np.log(p[places]) - np.log(q[places]))).sum()
        tokens += len(said)
    measured = measuring.measure(model)[0]["forward_kl"]
    assert measured.value == pytest.approx(total / tokens, rel=1e-3)
    assert measured.items.mean() == pytest.approx(measured.value)


def test_a_reference_is_as_likely_as_transformers_finds_it_with_its_end(run):
    measuring, model = evaluator(run), load_model(run.folder / "theta_0")
    measured, items = measuring.measure(model)[0], measuring.abilities.items
    for name, of_ability in (("reading", items.reading), ("translation", items.translation)):
        losses = []
        for item in of_ability:
            context = prompt_ids(measuring.tokenizer, item.prompt)
            said = reply_ids(measuring.tokenizer, item.reference, finished=True)
            ids, labels = torch.tensor([context + said]), torch.tensor([[-100] * len(context) + said])
            with torch.no_grad():
                losses.append(model(input_ids=ids, labels=labels).loss.item())
        assert measured[f"{name}_log_likelihood"].value == pytest.approx(-np.mean(losses), rel=1e-4)
    assert measured["qa_log_likelihood"].value < 0 < measured["qa_probability"].value < 1


@pytest.mark.parametrize("batch", [1, 7])
def test_how_many_are_written_together_changes_no_score(run, batch):
    model, sizes = load_model(run.folder / "theta_0"), {"batch": batch}
    evaluate = run.preset.evaluate.model_copy(update=sizes)
    other = replace(run, preset=run.preset.model_copy(update={"evaluate": evaluate}))
    first, again = (evaluator(one).abilities.measure(model) for one in (run, other))
    for name in first:
        np.testing.assert_allclose(first[name].items, again[name].items, rtol=1e-4, atol=1e-5)


def test_a_mean_over_tokens_has_the_error_of_a_ratio():
    rng, values, stated = np.random.default_rng(0), [], []
    for _ in range(300):
        lengths = rng.integers(1, 20, 200)
        items = per_token(rng.normal(1 / np.repeat(lengths, lengths), 0.1), lengths.tolist())
        values.append(items.mean())
        stated.append(items.std(ddof=1) / np.sqrt(200))
    assert np.mean(values) == pytest.approx(1 / 10, rel=0.02)  # a mean over texts of means would be larger
    assert np.mean(stated) == pytest.approx(np.std(values), rel=0.15)
