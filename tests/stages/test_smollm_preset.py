"""The preset smollm2-135m made tiny: every stage on a public model's architecture, end to end."""

import json
from math import log

import numpy as np
import pytest
import torch

from llm.config import load_preset, load_sweep, runnable
from llm.errors import UserError
from llm.evaluation.measurement import f1
from llm.evidence.rows import read_rows, write_rows
from llm.models.chat import prompt_ids
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.run import Run
from llm.stages import average, oracle, trajectory
from llm.stages.adapt import ratios_of
from llm.stages.align import align
from llm.stages.backend import LocalBackend
from microcosm_runs import DIALOGUE, QA, evaluator, make_reward, theta, values
from smollm_runs import fetched_folder, fetched_run, tiny_preset

METRICS = {*DIALOGUE, *QA, "reading_f1", "reading_log_likelihood", "log_likelihood"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With everything up to theta done."""
    return aligned(fetched_run(tmp_path_factory.mktemp("out")))


def aligned(run):
    LocalBackend(run).pretrain(shipped=None)
    LocalBackend(run).sft()
    make_reward(run)
    align(run, "rsf", "own")
    return run


def entry_rows(run, sweep: str, label: str) -> list[dict]:
    entry, folder = load_sweep(sweep).entry(label), run.folder / "ama" / "rsf" / "own"
    found = []
    if entry.method in ("ama", "adamerging"):
        found = ratios_of(run, theta(run), entry, folder)
    elif entry.method == "oracle":
        found = oracle.oracle_ratios(evaluator(run), theta(run), entry, folder)
    return average.measure_averages(evaluator(run), theta(run), "rsf", entry, None, found)


def test_theta_0_is_the_fetched_model_without_a_second_copy_of_its_weights(run):
    fetched = fetched_folder(run.out)
    for folder in (run.folder / "pretrained", run.folder / "theta_0"):
        assert {path.name for path in folder.iterdir()} == {path.name for path in fetched.iterdir()}
        assert all(path.samefile(fetched / path.name) for path in folder.iterdir() if path.name != "config.json")
        assert not (folder / "config.json").samefile(fetched / "config.json")


def test_training_leaves_the_fetched_model_as_it_was(run):
    fetched, after = load_model(fetched_folder(run.out)).state_dict(), load_model(theta(run)).state_dict()
    assert fetched.keys() == after.keys()
    assert any(not torch.equal(fetched[name], after[name]) for name in fetched)
    fetched_run(run.out / "again")
    again = load_model(fetched_folder(run.out / "again")).state_dict()
    assert all(torch.equal(fetched[name], again[name]) for name in fetched)


def test_theta_0_writes_both_replies_of_every_pair(run):
    rows = json.loads((run.folder / "preferences.json").read_text())
    replies = [row[side] for row in rows for side in ("chosen", "rejected")]
    assert len(rows) == 18
    assert len({reply["text"] for reply in replies}) > 18
    assert all(row["chosen"]["gold"] >= row["rejected"]["gold"] for row in rows if row["split"] == "test")


def test_every_model_of_the_core_is_measured_by_the_abilities_that_the_preset_has(run, tmp_path):
    rows = trajectory.measure_baseline(evaluator(run)) + trajectory.measure_trajectory(evaluator(run), "rsf", "own")
    for label in ("ma", "part-input", "ama"):
        rows += entry_rows(run, "core", label)
    assert set(values(rows, "theta_0")) == set(values(rows, "theta")) == METRICS
    assert set(values(rows, "chance")) == {"qa", "reading_f1", "log_likelihood"}
    assert values(rows, "chance")["log_likelihood"] == (pytest.approx(-log(run.preset.model.vocabulary)), 0)
    assert values(rows, "ma", alpha=0.0) == values(rows, "theta_0")
    assert values(rows, "ma", alpha=1.0) == values(rows, "theta")
    write_rows(tmp_path / "core.jsonl", rows)
    read = read_rows(tmp_path / "core.jsonl")
    assert set(read["preset"]) == {"smollm2-135m-tiny"}
    with_items = read[read["items"].notna()]
    assert set(with_items["metric"]) == METRICS - {"weight_displacement"}
    assert with_items["items"].map(np.mean).to_numpy() == pytest.approx(with_items["value"].to_numpy(), abs=1e-5)
    assert set(with_items["method"]) == {"theta_0", "chance", "theta", "early-stopping", "ma", "part", "ama"}
    assert {method: int(count) for method, count in read[read["metric"] == "qa"]["method"].value_counts().items()} == {
        "theta_0": 1,
        "chance": 1,
        "theta": 1,
        "early-stopping": 2,
        "ma": 13,
        "part": 11,
        "ama": 4,
    }


def test_the_preset_for_a_gpu_goes_the_same_way_with_a_reward_model_that_is_trained_whole(tmp_path):
    run = aligned(fetched_run(tmp_path, name="smollm2-135m-gpu"))
    align(run, "dpo", "own")
    theta_0, judge = load_model(run.folder / "theta_0"), load_reward_model(run.folder / "reward")
    assert run.preset.reward.head == "zero" and judge.config.num_hidden_layers == run.preset.model.layers
    assert not torch.equal(theta_0.get_input_embeddings().weight, judge.get_input_embeddings().weight)
    rows = trajectory.measure_baseline(evaluator(run)) + trajectory.measure_trajectory(evaluator(run), "dpo", "own")
    rows += entry_rows(run, "core", "ama-own-embeddings")
    assert set(values(rows, "theta_0")) == set(values(rows, "theta")) == METRICS
    assert {entry.label for entry in runnable(load_sweep("core"), run.preset).averaging} > {"ama", "ama-own-embeddings"}


@pytest.mark.parametrize("label", ["adamerging", "oracle"])
def test_ratios_are_found_by_labelled_items_and_by_the_reward_too(run, label):
    for row in entry_rows(run, "ratios", label):
        assert np.mean([row["setting"]["alphas"][f"part{k}"] for k in (1, 2, 3)]) == pytest.approx(
            row["setting"]["alpha"], abs=1e-6
        )


def test_choices_go_on_a_plain_text_or_reply_to_a_chat_and_the_likeliest_is_the_answer(run):
    measuring, model, tokenizer = evaluator(run), load_model(theta(run)), load_tokenizer(theta(run))
    measured, _ = measuring.measure(model)
    for items, name, score in (
        (measuring.abilities.items.qa, "qa", lambda item, chosen: float(chosen == item.reference)),
        (measuring.abilities.items.reading, "reading_f1", lambda item, chosen: f1(chosen, item.reference)),
    ):
        contexts = [
            tokenizer.encode(item.prompt) if name == "qa" else prompt_ids(tokenizer, item.prompt) for item in items
        ]
        places = [likeliest(model, tokenizer, ids, item.choices) for ids, item in zip(contexts, items, strict=True)]
        chosen = [item.choices[place] for item, place in zip(items, places)]
        wanted = [score(item, said) for item, said in zip(items, chosen, strict=True)]
        assert measured[name].items.tolist() == pytest.approx(wanted)


def likeliest(model, tokenizer, context: list[int], choices: tuple[str, ...]) -> int:
    scores = []
    for choice in choices:
        ids = torch.tensor([context + tokenizer.encode(choice)])
        with torch.no_grad():
            logs = torch.log_softmax(model(ids).logits[0, len(context) - 1 : -1], dim=-1)
        scores.append(logs.gather(1, ids[0, len(context) :, None]).sum().item())
    return int(np.argmax(scores))


def test_the_likelihood_of_text_is_the_mean_over_its_tokens_but_the_first(run):
    measuring, model = evaluator(run), load_model(theta(run))
    found = measuring.measure(model)[0]["log_likelihood"]
    means = []
    for text in measuring.abilities.items.text:
        ids = torch.tensor([load_tokenizer(theta(run)).encode(text)])
        with torch.no_grad():
            means.append(-model(input_ids=ids, labels=ids).loss.item())
    assert found.items == pytest.approx(means, rel=1e-5)
    assert (found.value, found.n) == (pytest.approx(np.mean(means)), 3)
    assert len({len(text) for text in measuring.abilities.items.text}) > 1


def test_dpo_learns_from_the_same_pairs_and_ppo_is_refused(run):
    align(run, "dpo", "own")
    assert (
        load_model(run.folder / "dpo" / "own" / "iteration02").num_parameters()
        == load_model(theta(run)).num_parameters()
    )
    with pytest.raises(
        UserError, match="rlhf = 'ppo' is not allowed with preset = smollm2-135m-tiny; allowed are rsf, dpo"
    ):
        align(run, "ppo", "own")


def test_a_model_that_was_not_fetched_is_one_sentence(tmp_path):
    run = Run(tiny_preset(), 0, tmp_path)
    with pytest.raises(
        UserError, match="model = 'smollm2-135m' is not at .*; give `python -m llm fetch smollm2-135m --to .*` first"
    ):
        LocalBackend(run).pretrain(shipped=None)
    with pytest.raises(
        UserError, match="shipped = .* is not allowed with preset = smollm2-135m-tiny; its weights are fetched"
    ):
        LocalBackend(run).pretrain(shipped=tmp_path)
    assert not run.folder.exists()


def test_only_theta_0_writes_so_the_shares_of_its_temperatures_sum_to_1(tmp_path):
    path = tmp_path / "half.yaml"
    path.write_text("{base: smollm2-135m, name: half, preferences: {temperatures: {1.0: 0.5}}}")
    with pytest.raises(
        UserError, match="preferences.temperatures = {1.0: 0.5} is not allowed: the shares sum to 0.5; allowed is 1"
    ):
        load_preset(str(path))
