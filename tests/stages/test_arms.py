"""RSF on the gold reward and with other random numbers; and algorithms that are trained to a common reward."""

import json
import os
import re
import time

import numpy as np
import pytest

from llm.config import Until, load_preset, load_sweep
from llm.errors import UserError
from llm.methods import METHODS
from llm.models.loading import load_model, load_tokenizer
from llm.run import Run
from llm.stages import stopping
from llm.stages.align import align, other_runs, theta_folder
from llm.stages.mitigate import changed_model
from llm.stages.rsf import sample
from llm.stages.trajectory import measure_trajectory
from microcosm_runs import METRICS, command, evaluator, smoke, smoke_run, values
from workflow import dry_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = smoke_run(tmp_path_factory.mktemp("out"))
    for name in ("rsf-gold", "rsf-run2"):
        align(run, name, "own")
    return run


def chosen(run, rlhf, iteration=1):
    return [tuple(row) for row in json.loads((run.folder / rlhf / "own" / f"chosen0{iteration}.json").read_text())]


def test_rsf_on_gold_imitates_the_replies_of_most_gold_among_the_same_samples(run):
    model, tokenizer = load_model(run.folder / "theta_0"), load_tokenizer(run.folder / "theta_0")
    settings = run.preset.rsf
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, run.rng("rsf", 1))
    samples = sample(run, model, tokenizer, prompts, settings.samples, 1.0, ("rsf", 1))
    of = np.repeat(np.arange(len(prompts)), settings.samples)
    gold = [run.source.gold_reward(prompts[k], *reply[1:]) for k, reply in zip(of, samples, strict=True)]
    best = [
        max((i for i in range(len(samples)) if of[i] == k), key=lambda i: (gold[i], -i)) for k in range(len(prompts))
    ]
    assert chosen(run, "rsf-gold") == [samples[i] for i in best]
    log = json.loads((run.folder / "rsf-gold" / "own" / "iteration01.json").read_text())
    assert log["reward"] == log["gold_reward"] == pytest.approx(np.mean(gold))
    assert {prompt for prompt, *_ in chosen(run, "rsf")} == {prompt for prompt, *_ in chosen(run, "rsf-gold")}


def test_another_run_has_other_prompts_and_is_found_for_averages_of_several(run):
    assert chosen(run, "rsf-run2") != chosen(run, "rsf")
    theta = run.folder / "rsf" / "own" / "iteration02"
    assert other_runs(run, theta) == {"run2": run.folder / "rsf-run2" / "own" / "iteration02"}
    assert other_runs(run, run.folder / "rsf-gold" / "own" / "iteration02") == {}


def test_an_arm_has_rows_of_its_own_name_and_the_presets_section_of_the_algorithm(run):
    rows = measure_trajectory(evaluator(run), "rsf-gold", "own")
    assert {row["rlhf"] for row in rows} == {"rsf-gold"}
    assert set(values(rows, "theta")) == set(METRICS)
    assert run.preset.section("rsf-gold") is run.preset.rsf
    assert run.preset.algorithms == ("rsf", "dpo", "ppo", "rsf-gold", "rsf-run2", "rsf-run3")
    for name in ("openllama-3b", "zephyr-7b-beta"):
        assert not set(load_preset(name).algorithms) & {"rsf-gold", "rsf-run2", "rsf-run3"}


REWARDS = [0.0, 0.2, 0.6, 1.0]  # on validation prompts, of theta_0 and three iterations


@pytest.fixture
def target(run, tmp_path):
    """Folders of three iterations of RSF and DPO, whose rewards on validation prompts are as given."""
    stops = Run(run.preset.model_copy(update={"until": Until(share=0.5, prompts=4)}), run.seed, tmp_path)
    for folder in ("theta_0", "reward", *(f"{a}/own/iteration0{i}" for a in ("rsf", "dpo") for i in (1, 2, 3))):
        (stops.folder / folder).mkdir(parents=True)
        (stops.folder / folder / "config.json").write_text("{}")

    def make(rlhf, rewards):
        out = stops.folder / rlhf / "own"
        for i, reward in enumerate(rewards):
            (out / f"validation0{i}.json").write_text(json.dumps({"reward": reward, "gold_reward": 2 * reward}))
        own, reference = rlhf == "rsf", stopping.theta_file(stops.folder / "rsf" / "own")
        return stopping.Target(stops, out, own, "reward", reference)

    return make


def test_the_run_that_says_how_much_is_asked_does_not_stop_and_its_theta_is_the_first_that_has_it(target):
    rsf = target("rsf", REWARDS)
    assert [rsf.reached(i) for i in (1, 2, 3)] == [False] * 3
    rsf.finish(3)
    told = json.loads(stopping.theta_file(rsf.out).read_text())
    assert told == {"iteration": 2, "wanted": 0.5, "reached": True, "metric": "reward", "rewards": REWARDS}


@pytest.mark.parametrize(
    ("rewards", "stops", "iteration"), [([0, 0.4, 0.5], 2, 2), ([0, 0.9], 1, 1), ([0, 0.1, 0.2, 0.3], 3, 3)]
)
def test_others_stop_at_the_first_that_has_it_or_at_the_last(target, rewards, stops, iteration):
    target("rsf", REWARDS).finish(3)
    dpo = target("dpo", rewards)
    made = next((i for i in range(1, 4) if i < len(rewards) and dpo.reached(i)), 3)
    assert made == stops
    dpo.finish(made)
    told = json.loads(stopping.theta_file(dpo.out).read_text())
    assert (told["iteration"], told["reached"]) == (iteration, max(rewards) >= 0.5)
    assert told["wanted"] == 0.5


def test_without_rsf_others_do_not_know_what_to_reach(target):
    with pytest.raises(UserError, match="theta.json is missing; run `align --rlhf rsf`, whose rise says"):
        target("dpo", [0, 1]).reached(1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Aligned to what the first iteration of RSF has, whatever that is (share near 0)."""
    preset = smoke().model_copy(update={"until": Until(share=1e-9, prompts=8), "name": "stopping"})
    run = smoke_run(tmp_path_factory.mktemp("out"), preset=preset)
    align(run, "dpo", "own")
    return run


def test_theta_is_the_model_that_the_file_names_for_averages_and_trajectories_and_methods(stopped, tmp_path):
    for rlhf in ("rsf", "dpo"):
        told = json.loads((stopped.folder / rlhf / "own" / "theta.json").read_text())
        assert theta_folder(stopped, rlhf, "own").name == f"iteration{told['iteration']:02d}"
        rows = measure_trajectory(evaluator(stopped), rlhf, "own")
        iterations = [row["setting"]["iteration"] for row in rows if row["method"] == "early-stopping"]
        assert max(iterations) == told["iteration"]
        assert values(rows, "theta") == values(rows, "early-stopping", iteration=told["iteration"])
    assert len(list((stopped.folder / "rsf" / "own").glob("iteration*/config.json"))) == stopped.preset.rsf.iterations
    model = changed_model(stopped, "l2-on-policy", {"strength": 0.0}, "rsf", "own", tmp_path)
    told = json.loads((tmp_path / "theta.json").read_text())
    assert told["wanted"] == json.loads((stopped.folder / "rsf" / "own" / "theta.json").read_text())["wanted"]
    weights = load_model(stopped.folder / "rsf" / "own" / f"iteration{told['iteration']:02d}").state_dict()
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in weights.items())


def test_a_finished_run_is_left_alone_and_one_older_than_rsf_is_judged_again(stopped):
    file = stopped.folder / "dpo" / "own" / "theta.json"
    made, text = file.stat().st_mtime_ns, file.read_bytes()
    align(stopped, "dpo", "own")
    assert file.stat().st_mtime_ns == made
    later = time.time() + 1
    os.utime(stopped.folder / "rsf" / "own" / "theta.json", (later, later))
    align(stopped, "dpo", "own")
    assert (file.read_bytes(), file.stat().st_mtime_ns > made) == (text, True)


def test_before_alignment_has_ended_nothing_is_theta(stopped):
    with pytest.raises(UserError, match="theta.json is missing; run the stage `align`, which makes it, first"):
        theta_folder(stopped, "ppo", "own")


def test_public_prompts_have_no_validation_part(tmp_path):
    (tmp_path / "p.yaml").write_text("{base: smollm2-135m, name: mine, until: {share: 0.95, prompts: 100}}")
    with pytest.raises(
        UserError, match="until is not allowed with data smollm2, whose prompts have no validation part"
    ):
        load_preset(str(tmp_path / "p.yaml"))


def test_the_graph_waits_for_rsf_and_ends_with_what_names_theta(tmp_path):
    preset = tmp_path / "stopping.yaml"
    preset.write_text("{base: smoke, name: stopping, until: {share: 0.95, prompts: 4}}")
    targets = "second-runs gold-reward mitigations-on-policy training-time-dpo"
    said = dry_run(tmp_path, target=targets, preset=preset)
    counted = dict(re.findall(r"^([\w-]+) +(\d+)$", said, flags=re.MULTILINE))
    entries = sum(len(load_sweep(name).training) for name in targets.split())
    assert (counted["align"], counted["mitigate"], counted["average"]) == ("4", str(entries), "3")
    seed = tmp_path / "out/stopping/seed0"
    inputs = re.findall(r"rule mitigate:\n    input: (.*)\n", said)
    assert set(inputs) == {f"{seed}/reward.json, {seed}/rsf/own/theta.json"}
    outputs = set(re.findall(r"rule align:\n    input: (.*)\n    output: (.*)\n", said))
    reference, plain = f"{seed}/reward.json, {seed}/rsf/own/theta.json", f"{seed}/reward.json"
    arms = [(plain, "rsf"), (reference, "rsf-run2"), (reference, "rsf-run3"), (plain, "rsf-gold")]
    assert outputs == {(needed, f"{seed}/{rlhf}/own/theta.json") for needed, rlhf in arms}


def test_the_command_knows_the_arms(run, monkeypatch):
    assert command(monkeypatch, "align", "--preset", "smoke", "--out", run.out, "--rlhf", "rsf-gold") == 0
    assert METHODS["rsf-gold"].given == {"judge": "gold"}
