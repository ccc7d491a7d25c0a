"""Distillation style: every method trains on RSF's samples, equals plain training at strength 0, and can be resumed."""

import json
import os
import time

import numpy as np
import pytest
import torch

from llm.config import TrainingEntry, load_sweep
from llm.evidence.rows import write_rows
from llm.models.loading import load_model, load_tokenizer
from llm.stages import materials as stage_materials
from llm.stages import mitigate
from llm.stages.mitigate import distil, measure_trained, train
from llm.training.loop import count_minibatches
from microcosm_runs import METRICS, command, evaluator, timeless, values

ZERO = [
    ("l1", {"strength": 0.0}),
    ("l2", {"strength": 0.0}),
    ("kd", {"strength": 0.0}),
    ("sma", {"strength": 0.0, "interval": 1}),
    ("er", {"strength": 0.0}),
]
SOME = [
    ("l1", {"strength": 0.01}),
    ("l2", {"strength": 10.0}),
    ("kd", {"strength": 1000.0}),
    ("sma", {"strength": 0.5, "interval": 1}),
    ("er", {"strength": 0.5}),
    ("lora", {"rank": 2, "targets": "mlp", "lora_alpha": 8.0}),
]


def samples(run):
    files = [run.folder / "rsf" / "own" / f"chosen{i:02d}.json" for i in range(1, run.preset.rsf.iterations + 1)]
    return [tuple(row) for file in files for row in json.loads(file.read_text())]


def trained(run, method, setting, lr=None):
    theta_0 = run.folder / "theta_0"
    optimiser = run.preset.distil.optimiser.model_copy(update={} if lr is None else {"lr": lr})
    return distil(run, load_model(theta_0), load_tokenizer(theta_0), samples(run), method, setting, optimiser)


def same(left, right):
    ours, theirs = left.state_dict(), right.state_dict()
    assert list(ours) == list(theirs)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def plain(run):
    return trained(run, "distilled", {})


@pytest.mark.parametrize(("method", "setting"), ZERO)
def test_at_strength_0_every_method_is_plain_training_bit_for_bit(run, plain, method, setting):
    assert same(trained(run, method, setting), plain)


@pytest.mark.parametrize(("method", "setting"), SOME)
def test_every_method_changes_what_is_learned_and_repeats_itself(run, plain, method, setting):
    model = trained(run, method, setting)
    assert same(model, trained(run, method, setting))
    assert not same(model, plain)
    assert not same(model, load_model(run.folder / "theta_0"))


def test_strong_penalties_and_resets_keep_the_model_nearer_to_theta_0(run, plain):
    start = load_model(run.folder / "theta_0")

    def far(model):
        return sum(((p - q) ** 2).sum().item() for p, q in zip(model.parameters(), start.parameters(), strict=True))

    for method, setting in SOME[:2] + SOME[3:4]:
        assert far(trained(run, method, setting)) < far(plain)


def test_it_imitates_every_sample_that_rsf_chose_once_an_epoch(run, monkeypatch):
    seen, real = [], mitigate.imitation_example
    monkeypatch.setattr(
        mitigate, "imitation_example", lambda tokenizer, *sample: seen.append(sample) or real(tokenizer, *sample)
    )
    two = run.preset.model_copy(update={"distil": run.preset.distil.model_copy(update={"epochs": 2})})
    trained(type(run)(two, run.seed, run.out), "distilled", {})
    assert sorted(seen) == sorted(2 * samples(run))
    assert len(samples(run)) == run.preset.rsf.iterations * run.preset.rsf.prompts


def test_replayed_documents_are_those_of_pre_trainings_last_phase_and_as_many_as_asked(run, monkeypatch):
    batches, mixtures, real, draw = [], [], mitigate.pad_right, stage_materials.draw_document
    monkeypatch.setattr(
        mitigate, "pad_right", lambda examples, pad_id: batches.append(len(examples)) or real(examples, pad_id)
    )
    monkeypatch.setattr(
        stage_materials, "draw_document", lambda run, mixture, rng: mixtures.append(mixture) or draw(run, mixture, rng)
    )
    trained(run, "er", {"strength": 1.5})
    settings, count = run.preset.distil, len(samples(run))
    assert len(batches) == count_minibatches(count, settings.batch, settings.epochs)
    assert sum(batches) == count * settings.epochs * 2.5
    assert mixtures == [run.preset.pretrain.phases[-1].mixture] * int(1.5 * count * settings.epochs)


def test_the_learning_rate_is_the_presets_or_the_one_given(run, plain, tmp_path):
    rsf = run.folder / "rsf" / "own"
    for name, lr in (("own", None), ("same", run.preset.distil.optimiser.lr), ("other", 0.02)):
        train(run, rsf, "distilled", {}, lr, tmp_path / name)
    assert same(load_model(tmp_path / "own"), plain)
    assert same(load_model(tmp_path / "same"), plain)
    assert same(load_model(tmp_path / "other"), trained(run, "distilled", {}, lr=0.02))
    assert not same(load_model(tmp_path / "other"), plain)


def test_finished_models_are_kept_and_those_older_than_the_samples_made_again(run, monkeypatch):
    rsf, entry = run.folder / "rsf" / "own", TrainingEntry(method="l2", label="x", options={"strength": [0.0, 5.0]})
    calls, real = [], mitigate.distil
    monkeypatch.setattr(mitigate, "distil", lambda *arguments: calls.append(arguments[5]) or real(*arguments))
    rows = timeless(measure_trained(evaluator(run), entry, "own"))
    (run.folder / "mitigations/own/l2/strength5.0/config.json").unlink()  # as a killed run, or a workflow, leaves it
    assert timeless(measure_trained(evaluator(run), entry, "own")) == rows
    assert calls == [{"strength": 0.0}, {"strength": 5.0}, {"strength": 5.0}]
    for made_from in (rsf / "chosen02.json", run.folder / "theta_0" / "config.json"):
        calls.clear()
        later = time.time_ns() + 10**6
        os.utime(made_from, ns=(later, later))
        time.sleep(0.01)
        assert timeless(measure_trained(evaluator(run), entry, "own")) == rows
        assert calls == [{"strength": 0.0}, {"strength": 5.0}]


def ends(entry: TrainingEntry) -> TrainingEntry:
    """The entry with the first and the last value of each option."""
    first_and_last = {key: tuple(dict.fromkeys((values[0], values[-1]))) for key, values in entry.options.items()}
    return entry.model_copy(update={"options": first_and_last})


@pytest.mark.parametrize("some", [ends, pytest.param(lambda entry: entry, id="all", marks=pytest.mark.long)])
def test_every_training_entry_of_the_sweeps_runs_and_its_rows_are_complete(run, tmp_path, some):
    rows, entries = [], [some(entry) for entry in load_sweep("mitigations").training]
    for entry in entries:
        rows += measure_trained(evaluator(run), entry, "own")
        for setting in entry.settings():
            assert set(values(rows, entry.method, **setting)) == set(METRICS)
    assert len(rows) == len(METRICS) * sum(len(entry.settings()) for entry in entries)
    assert all(np.isfinite(row["value"]) for row in rows)
    assert {row["rlhf"] for row in rows} == {"rsf"}
    write_rows(tmp_path / "rows.jsonl", rows)


def test_the_command_writes_the_rows_with_the_rate_in_the_setting(run, monkeypatch, tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text(run.preset.model_dump_json())
    options = ("--entry", "distilled", "--preset", preset, "--out", run.out, "--lr", "0.02")
    done = command(monkeypatch, "mitigate", "mitigations", *options)
    assert done == 0
    rows = [
        json.loads(line) for line in (run.folder / "rows" / "rsf" / "0.02" / "distilled.jsonl").read_text().splitlines()
    ]
    assert {row["metric"] for row in rows} == set(METRICS)
    assert [row["setting"] for row in rows] == [{"lr": 0.02}] * len(METRICS)
