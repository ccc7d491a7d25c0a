"""The learned reward: how pairs are labelled, what is fitted to them and how it is judged."""

import json

import numpy as np
import pytest
import torch

from llm.models.chat import prompt_ids, reply_ids
from llm.models.loading import load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores, sequence_scores
from llm.stages.reward import judge, load_fresh_reward_model, preferences, train_reward
from microcosm_runs import smoke, smoke_run

PAIRS = 1500
LONGEST = 24  # tokens of a reply; some writers write more


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    preset = smoke().model_copy(
        update={
            "preferences": smoke().preferences.model_copy(update={"pairs": PAIRS, "test_pairs": 300}),
            "reward": smoke().reward.model_copy(update={"batch": 50}),
            "max_new_tokens": LONGEST,
            "generation_batch": 300,
        }
    )
    return smoke_run(tmp_path_factory.mktemp("out"), upto="sft", preset=preset)


@pytest.fixture(scope="module")
def pairs(run):
    path = run.folder / "preferences.json"
    preferences(run, run.folder / "theta_0", path)
    return path


@pytest.fixture(scope="module")
def rows(pairs):
    return json.loads(pairs.read_text())


def advantages(rows, split):
    return np.array([row["chosen"]["gold"] - row["rejected"]["gold"] for row in rows if row["split"] == split])


def test_pairs_are_labelled_with_the_noise_that_the_preset_says(run, rows):
    gold = advantages(rows, "train")
    assert len(gold) == PAIRS
    gold = gold[gold != 0]
    wrong = 1 / (1 + np.exp(run.preset.preferences.noise_scale * np.abs(gold)))
    assert abs((gold < 0).sum() - wrong.sum()) < 4 * np.sqrt((wrong * (1 - wrong)).sum())
    assert (gold < 0).sum() > 20


def test_the_test_pairs_have_no_noise_and_prompts_of_their_own(rows):
    assert len(advantages(rows, "test")) == 300
    assert (advantages(rows, "test") >= 0).all()
    prompts = {split: {row["prompt"] for row in rows if row["split"] == split} for split in ("train", "test")}
    assert not prompts["train"] & prompts["test"]


def test_replies_come_from_theta_0_and_from_writers_by_their_shares(run, monkeypatch):
    from llm.stages import reward as module

    monkeypatch.setattr(
        module, "generate_replies", lambda model, tokenizer, prompts, **_: [("by theta_0", True)] * len(prompts)
    )
    tokenizer, prompts = (
        load_tokenizer(run.folder / "theta_0"),
        run.source.prompts("train", run.preset.prompts, PAIRS, run.rng("x")),
    )
    replies = module._replies(run, None, tokenizer, prompts, 0, run.rng("y"))
    share = sum(run.preset.preferences.temperatures.values())
    by_model = replies.count(("by theta_0", True)) / PAIRS
    assert abs(by_model - share) < 4 * np.sqrt(share * (1 - share) / PAIRS)


def test_no_reply_is_longer_than_a_models_may_be_and_a_cut_one_has_no_end(run, rows):
    replies = [row[key] for row in rows for key in ("chosen", "rejected")]
    lengths = {end: [len(r["text"].split()) for r in replies if r["finished"] == end] for end in (True, False)}
    assert max(lengths[True]) < LONGEST
    assert set(lengths[False]) == {LONGEST}
    assert min(map(len, lengths.values())) > 0.05 * len(replies)


def test_the_loss_is_bradley_and_terrys_over_the_sequences_one_by_one(run, rows):
    from llm.stages.reward import _bradley_terry, _pair_ids

    tokenizer, model = (
        load_tokenizer(run.folder / "theta_0"),
        load_fresh_reward_model(run.folder / "theta_0", run.preset.reward, seed=3),
    )
    chosen = [_pair_ids(tokenizer, row) for row in rows[:9]]
    with torch.no_grad():
        alone = [
            [model(input_ids=torch.tensor([context + reply])).logits.item() for context, reply in pair]
            for pair in chosen
        ]
        loss = _bradley_terry(tokenizer.pad_token_id)(model, chosen).item()
    assert loss == pytest.approx(np.mean([np.log1p(np.exp(bad - good)) for good, bad in alone]), rel=1e-5)
    assert np.std(alone) > 0


def test_a_score_does_not_depend_on_the_sequences_beside_it(run, rows):
    tokenizer, model = (
        load_tokenizer(run.folder / "theta_0"),
        load_fresh_reward_model(run.folder / "theta_0", run.preset.reward, seed=3),
    )
    replies = [(row["prompt"], row["chosen"]["text"], row["chosen"]["finished"]) for row in rows[:25]]
    together = reward_scores(model, tokenizer, replies, batch_size=7).numpy()
    ids = [(prompt_ids(tokenizer, p), reply_ids(tokenizer, r, done)) for p, r, done in replies]
    with torch.no_grad():
        alone = [sequence_scores(model, [one], tokenizer.pad_token_id).item() for one in ids]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)
    assert together.std() > 1e-3


def test_a_zero_head_knows_nothing_yet_and_leaves_the_body_as_it_was(run, rows):
    theta_0 = run.folder / "theta_0"
    drawn, zero = (
        load_fresh_reward_model(theta_0, run.preset.reward.model_copy(update={"head": head}), seed=3)
        for head in ("drawn", "zero")
    )
    replies = [(row["prompt"], row["chosen"]["text"], row["chosen"]["finished"]) for row in rows[:25]]
    assert not reward_scores(zero, load_tokenizer(theta_0), replies, batch_size=7).any()
    different = [
        name for name, tensor in drawn.state_dict().items() if not torch.equal(tensor, zero.state_dict()[name])
    ]
    assert different == ["score.weight"]


def test_fitting_lowers_the_loss_on_pairs_and_begins_from_theta_0(run, pairs, rows, tmp_path):
    judged = train_reward(run, run.folder / "theta_0", pairs, tmp_path / "reward")
    fitted, tokenizer = load_reward_model(tmp_path / "reward"), load_tokenizer(tmp_path / "reward")
    assert judged == judge(
        fitted, tokenizer, [row for row in rows if row["split"] == "test"], run.preset.evaluate.batch
    )
    fresh = load_fresh_reward_model(run.folder / "theta_0", run.preset.reward, seed=run.seed)
    before = judge(fresh, tokenizer, [row for row in rows if row["split"] == "test"], 500)
    assert judged["accuracy"] > before["accuracy"] + 0.05
    assert judged["accuracy"] > 0.6


def test_judging_counts_right_orders_and_correlates_with_gold(run, monkeypatch):
    from llm.stages import reward as module

    def row(chosen, rejected):
        return {
            "prompt": "",
            "chosen": {"text": "", "finished": True, "gold": chosen},
            "rejected": {"text": "", "finished": True, "gold": rejected},
        }

    learned = torch.tensor([2.0, 1.0, 0.0, 1.0, 5.0, 4.0, 3.0, 3.5])
    monkeypatch.setattr(module, "reward_scores", lambda *_: learned)
    gold = [2.0, 0.0, 1.0, 0.0, 4.0, 3.0, 2.0, 2.0]  # the last pair is a tie and has no right order
    judged = judge(None, None, [row(*gold[i : i + 2]) for i in range(0, 8, 2)], 4)
    assert (judged["accuracy"], judged["n"], judged["replies"]) == (2 / 3, 3, 8)
    assert judged["correlation"] == pytest.approx(np.corrcoef(learned, gold)[0, 1])
