"""Methods in every iteration of RSF and DPO: neutral ones change nothing, killed runs end with the same bytes, each samples from
what it makes."""

import json
import os
import shutil

import pytest
import torch

from llm.config import TrainingEntry, load_sweep
from llm.errors import UserError
from llm.files import write_json
from llm.methods import METHODS, family
from llm.models.loading import load_model
from llm.stages import dpo as dpo_stage
from llm.stages import rsf as rsf_stage
from llm.stages.align import align
from llm.stages.mitigate import _model as trained_model
from llm.stages.mitigate import changed_model, measure_trained
from microcosm_runs import METRICS, command, contents, evaluator, far_stepping, smoke_run, values

NEUTRAL = {
    "l1-on-policy": {"strength": 0.0},
    "l2-on-policy": {"strength": 0.0},
    "kd-on-policy": {"strength": 0.0},
    "sma-on-policy": {"strength": 0.0, "interval": 1},
    "er-on-policy": {"strength": 0.0},
    "ema-anchor": {"strength": 0.0, "rate": 0.1},
    "bema": {"strength": 0.0, "bias_power": "none", "lag": 10.0, "interval": 1, "multiplier": 1.0},
    "warp": {"share": 1.0, "runs": 1, "anchor": 0.0, "rate": 0.01, "eta": 1.0},
    "onties": {"keep": 1.0, "pull": 0.0},
    "nspo": {"threshold": 2.0, "targets": "mlp", "samples": 4, "reference": "documents"},
}
SOME = {  # those that carry something from iteration to iteration, and those that draw at random
    "sma-on-policy": {"strength": 0.5, "interval": 3},
    "er-on-policy": {"strength": 0.5},
    "lora-on-policy": {"rank": 2, "lora_alpha": 8.0, "targets": "mlp"},
    "ema-anchor": {"strength": 1.0, "rate": 0.2},
    "bema": {"strength": 0.5, "bias_power": 0.2, "lag": 10.0, "interval": 1, "multiplier": 1.0},
    "ondare": {"keep": 0.5, "pull": 0.001},
    "ogpsa": {"rank": 2, "interval": 2, "samples": 4, "reference": "documents"},
    "warp": {"share": 0.5, "runs": 2, "anchor": 0.1, "rate": 0.01, "eta": 0.8},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = smoke_run(tmp_path_factory.mktemp("out"), preset=far_stepping())
    align(run, "dpo", "own")
    return run


def changed(run, method, setting, rlhf, out):
    return changed_model(run, method, setting, rlhf, "own", out).state_dict()


def theta(run, rlhf):
    return load_model(run.folder / rlhf / "own" / "iteration02").state_dict()


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


CASES = [("rsf", method) for method in NEUTRAL] + [
    ("dpo", method) for method in ("er-on-policy", "bema", "warp", "nspo")
]
KILLED = [("rsf", method) for method in SOME] + [("dpo", method) for method in ("lora-on-policy", "ema-anchor", "warp")]


@pytest.mark.parametrize(("rlhf", "method"), CASES)
def test_a_neutral_method_is_the_algorithm_itself_bit_for_bit(run, tmp_path, method, rlhf):
    assert same(changed(run, method, NEUTRAL[method], rlhf, tmp_path), theta(run, rlhf))


@pytest.mark.parametrize(("rlhf", "method"), KILLED)
def test_a_killed_run_goes_on_at_the_iteration_that_is_missing_and_ends_with_the_same_bytes(
    run, tmp_path, method, rlhf
):
    found = changed(run, method, SOME[method], rlhf, tmp_path)
    assert not same(found, theta(run, rlhf))
    before = contents(tmp_path)
    (tmp_path / "iteration02" / "config.json").unlink()
    (tmp_path / "iteration02.json").unlink()
    assert same(changed(run, method, SOME[method], rlhf, tmp_path), found)
    assert contents(tmp_path) == before


def test_what_a_method_remembers_is_made_again_where_it_was_lost(run, tmp_path):
    found = changed(run, "ema-anchor", SOME["ema-anchor"], "rsf", tmp_path)
    (tmp_path / "training01.safetensors").unlink()
    assert same(changed(run, "ema-anchor", SOME["ema-anchor"], "rsf", tmp_path), found)


def test_each_iteration_samples_from_what_the_method_has_made(run, tmp_path, monkeypatch):
    sampled, real = [], rsf_stage.sample
    monkeypatch.setattr(
        rsf_stage,
        "sample",
        lambda run, model, *others: (
            sampled.append(model.state_dict()["lm_head.weight"].clone()) or real(run, model, *others)
        ),
    )
    changed(run, "l2-on-policy", {"strength": 100.0}, "rsf", tmp_path)
    (head,) = sampled  # RSF has theta_0's
    assert torch.equal(head, load_model(tmp_path / "iteration01").lm_head.weight)
    assert not torch.equal(head, load_model(run.folder / "rsf" / "own" / "iteration01").lm_head.weight)


@pytest.mark.parametrize(
    ("method", "drawn"),
    [("l2-on-policy", [("rsf", 2)]), ("bema", []), ("warp", [("rsf", 1, "run", 2), ("rsf", 2), ("rsf", 2, "run", 2)])],
)
def test_samples_of_the_same_model_are_taken_from_rsf_and_are_those_that_would_be_drawn(
    run, tmp_path, monkeypatch, method, drawn
):
    sampled, real = [], rsf_stage.sample
    monkeypatch.setattr(rsf_stage, "sample", lambda *given: sampled.append(given[-1]) or real(*given))
    setting = SOME.get(method, {"strength": 100.0})
    found = changed(run, method, setting, "rsf", tmp_path / "shared")
    assert sampled == drawn
    monkeypatch.setattr(rsf_stage, "_plain_run", lambda *given: None)
    assert same(changed(run, method, setting, "rsf", tmp_path / "own"), found)
    assert contents(tmp_path / "own") == contents(tmp_path / "shared")


def test_samples_that_another_reward_chose_or_that_are_older_than_the_reward_model_are_not_taken(
    run, tmp_path, monkeypatch
):
    sampled, real = [], rsf_stage.sample
    monkeypatch.setattr(rsf_stage, "sample", lambda *given: sampled.append(given[-1]) or real(*given))
    theta_0, reward = run.folder / "theta_0", run.folder / "reward"
    other = shutil.copytree(reward, tmp_path / "reward")
    rsf_stage.rsf(run, theta_0, other, tmp_path / "other", None)
    rsf_stage.rsf(run, theta_0, reward, tmp_path / "gold", None, judge="gold")
    rsf_stage.rsf(run, theta_0, reward, tmp_path / "stream", None, stream=2)
    config, own = reward / "config.json", run.folder / "rsf" / "own"
    times = config.stat().st_atime_ns, config.stat().st_mtime_ns
    os.utime(config)
    rsf_stage.rsf(run, theta_0, reward, tmp_path / "newer", None)
    os.utime(config, ns=times)
    assert len(sampled) == 4 * run.preset.rsf.iterations
    rsf_stage.rsf(run, theta_0, reward, tmp_path / "shared", None)
    assert len(sampled) == 4 * run.preset.rsf.iterations
    for name in ("iteration02.json", "chosen02.json"):
        assert (tmp_path / "shared" / name).read_bytes() == (own / name).read_bytes()


def test_warps_runs_draw_other_prompts_and_orders_and_bema_leaves_the_iterations_alone(run, tmp_path):
    one, two = (changed(run, "warp", SOME["warp"] | {"runs": runs}, "rsf", tmp_path / str(runs)) for runs in (1, 2))
    assert not same(one, two)
    result = changed(run, "bema", SOME["bema"], "rsf", tmp_path / "bema")
    last = load_model(tmp_path / "bema" / "iteration02").state_dict()
    assert same(last, theta(run, "rsf"))
    assert not same(result, last)


def test_a_methods_own_iterations_are_measured_of_one_training_and_the_last_stands_for_those_beyond(run, monkeypatch):
    sampled, real = [], rsf_stage.sample
    monkeypatch.setattr(rsf_stage, "sample", lambda *given: sampled.append(given[-1]) or real(*given))
    options = {key: [value] for key, value in SOME["ondare"].items()} | {"iteration": [1, 2, 9]}
    entry = TrainingEntry(method="ondare", label="ondare", options=options)
    found = [trained_model(run, entry, setting, "rsf", "own").state_dict() for setting in entry.settings()]
    (folder,) = (run.folder / "mitigations" / "rsf" / "own" / "ondare").iterdir()
    assert folder.name == "keep0.5-pull0.001" and sampled == [("rsf", 2)]  # of theta_0's samples RSF has those
    made = [load_model(folder / f"iteration{iteration:02d}").state_dict() for iteration in (1, 2, 2)]
    assert all(same(*pair) for pair in zip(found, made, strict=True)) and not same(made[0], made[1])


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_replay_in_dpo_weighs_documents_by_their_number(run, tmp_path, monkeypatch, strength):
    """Their mean loss, here 1, counts as often as there are documents for each pair."""
    monkeypatch.setattr(dpo_stage, "token_loss", lambda model, batch: torch.tensor(1.0))
    changed(run, "er-on-policy", {"strength": strength}, "dpo", tmp_path)
    replayed, plain = (
        json.loads((folder / "iteration01.json").read_text()) for folder in (tmp_path, run.folder / "dpo" / "own")
    )
    assert replayed["loss"] == pytest.approx(plain["loss"] + strength, abs=1e-4)


def test_warps_front_is_measured_of_one_training(run, monkeypatch):
    sampled, real = [], rsf_stage.sample
    monkeypatch.setattr(rsf_stage, "sample", lambda *given: sampled.append(given[-1]) or real(*given))
    options = {key: [value] for key, value in SOME["warp"].items()} | {"share": [0.4], "eta": [0.0, 0.5, 1.0]}
    entry = TrainingEntry(method="warp", label="front", options=options)
    assert [len(entry.settings()), len(entry.trainings())] == [3, 1]
    rows = measure_trained(evaluator(run), entry, "own")
    assert (
        len(sampled) == 2 * run.preset.rsf.iterations - 1
    )  # two runs an iteration, of which RSF has the first's samples
    moved = [values(rows, "warp", eta=eta)["weight_displacement"][0] for eta in (0.0, 0.5, 1.0)]
    assert moved[0] == 0 and moved[1] == pytest.approx(moved[2] / 2, rel=1e-4)


def test_the_command_measures_an_entry_after_the_algorithm_asked_for(run, monkeypatch, tmp_path, capsys):
    preset, sweep = tmp_path / "preset.yaml", tmp_path / "sweep.yaml"
    preset.write_text(run.preset.model_dump_json())
    entry = {"label": "anchored", "method": "kl-anchor", "options": {"strength": [0.5]}}
    base = {"name": "mine", "rlhf": ["rsf", "dpo"], "learning_rates": [None], "trajectory": False, "averaging": []}
    write_json(sweep, base | {"training": [entry]})
    arguments = ("mitigate", sweep, "--entry", "anchored", "--preset", preset, "--out", run.out)
    assert command(monkeypatch, *arguments, "--rlhf", "dpo") == 0
    lines = (run.folder / "rows" / "dpo" / "own" / "anchored.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["metric"] for row in rows} == set(METRICS)
    assert {(row["rlhf"], row["method"]) for row in rows} == {("dpo", "kl-anchor")}
    assert command(monkeypatch, *arguments, "--rlhf", "ppo") == 2
    assert "rlhf = 'ppo' is not allowed with method kl-anchor; allowed are rsf, dpo" in capsys.readouterr().err


def test_penalties_on_policy_have_families_of_their_own_and_rows_that_name_them(run):
    entry = TrainingEntry(method="l2-on-policy", label="x", options={"strength": [5.0]})
    rows = measure_trained(evaluator(run), entry, "own")
    assert set(values(rows, "l2-on-policy", strength=5.0)) == set(METRICS)
    for name, method in METHODS.items():
        for setting in (
            {"targets": "mlp", "reference": "free", "bias_power": 0.2, "share": 0.3, "rate": 0.1, "eta": 1.0},
        ):
            if method.how == "on-policy":
                assert family(name, setting) in method.looks
    assert family("lora-on-policy", {"targets": "mlp+attention"}) == "lora-mlp-attention-on-policy"
    assert family("nspo", {"targets": "mlp+attention", "reference": "documents"}) == "nspo-attention-documents"
    assert family("bema", {"bias_power": "none"}) == "ema"
    assert family("warp", {"share": 1.0}) == "warp-starts"


def test_an_entry_with_an_algorithm_that_its_method_does_not_go_with_is_refused(tmp_path):
    sweep = {"name": "mine", "rlhf": ["ppo"], "learning_rates": [None], "trajectory": False, "averaging": []}
    write_json(
        tmp_path / "s.yaml",
        sweep | {"training": [{"label": "w", "method": "l2-on-policy", "options": {"strength": [1]}}]},
    )
    with pytest.raises(
        UserError, match=r"rlhf = \['ppo'\] is not allowed with .* l2-on-policy; allowed is \['rsf', 'dpo'\]"
    ):
        load_sweep(str(tmp_path / "s.yaml"))


def test_a_torn_memory_is_named(run, tmp_path):
    changed(run, "sma-on-policy", SOME["sma-on-policy"], "rsf", tmp_path)
    file = tmp_path / "training01.safetensors"
    age = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[:50])
    os.utime(file, ns=(age, age))
    shutil.rmtree(tmp_path / "iteration02")
    with pytest.raises(
        UserError, match="training01.safetensors is damaged .*; remove it and give the same command again"
    ):
        changed(run, "sma-on-policy", SOME["sma-on-policy"], "rsf", tmp_path)
