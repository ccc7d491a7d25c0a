"""PPO at other KL penalties: the same stage with another eta, in folders of their own, and the rows of their ends."""

import json

import pytest

from llm.config import TrainingEntry, load_sweep
from llm.errors import UserError
from llm.run import Run
from llm.stages.align import align, theta_folder
from llm.stages.mitigate import measure_trained
from llm.stages.trajectory import measure_trajectory
from microcosm_runs import METRICS, command, evaluator, smoke, smoke_run, values

ETAS = (0.05, 0.7)  # the smoke preset's own, and another


def far_stepping():
    """PPO that takes such steps that another penalty gives another model, which writes other replies."""
    ppo = smoke().ppo
    return smoke().model_copy(
        update={"ppo": ppo.model_copy(update={"optimiser": ppo.optimiser.model_copy(update={"lr": 0.1})})}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = smoke_run(tmp_path_factory.mktemp("out"), upto="reward", preset=far_stepping())
    for eta in map(run.preset.ppo.name_of, ETAS):
        align(run, "ppo", "own", eta)
    return run


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def entry(*strengths):
    return TrainingEntry(method="kl", label="kl", options={"strength": strengths})


def test_the_presets_own_penalty_is_not_trained_twice(run):
    assert [run.preset.ppo.name_of(eta) for eta in ETAS] == ["own", "0.7"]
    folders = sorted(path.name for path in (run.folder / "ppo" / "own").iterdir() if path.name.startswith("eta"))
    assert folders == ["eta0.7"]
    assert theta_folder(run, "ppo", "own", "0.7") == run.folder / "ppo/own/eta0.7/iteration03"


def test_a_penalty_given_is_that_of_a_preset_with_it(run, tmp_path):
    """To the byte: the penalty and nothing else differs, not the prompts nor the random numbers."""
    other = Run(
        run.preset.model_copy(update={"ppo": run.preset.ppo.model_copy(update={"eta": 0.7})}), run.seed, tmp_path
    )
    smoke_run(tmp_path, upto="reward", preset=other.preset)
    align(other, "ppo", "own")
    given, preset, own = (
        theta_folder(*where) for where in ((run, "ppo", "own", "0.7"), (other, "ppo", "own"), (run, "ppo", "own"))
    )
    assert weights(given) == weights(preset) != weights(own)
    assert [json.loads((folder.parent / "iteration01.json").read_text())["eta"] for folder in (given, preset, own)] == [
        0.7,
        0.7,
        0.05,
    ]


def test_the_rows_are_of_the_ends_and_name_the_penalty(run):
    rows = measure_trained(evaluator(run), entry(*ETAS), "own")
    assert [(row["rlhf"], row["method"]) for row in rows] == [("ppo", "kl")] * 2 * len(METRICS)
    ends = measure_trajectory(evaluator(run), "ppo", "own")
    assert values(rows, "kl", strength=0.05) == values(ends, "theta")
    assert set(values(rows, "kl", strength=0.7)) == set(METRICS)
    assert values(rows, "kl", strength=0.7) != values(rows, "kl", strength=0.05)


def test_a_penalty_that_ppo_was_not_run_with_is_named(run):
    with pytest.raises(UserError, match="ppo/own/eta0.3/iteration03 is missing"):
        measure_trained(evaluator(run), entry(0.3), "own")


def test_only_ppo_has_a_penalty(run):
    with pytest.raises(
        UserError, match="eta = '0.3' is not allowed with rlhf = rsf; allowed is `own`, since only ppo has"
    ):
        align(run, "rsf", "own", "0.3")


def test_the_commands_train_and_measure_at_a_rate_of_their_own_too(run, monkeypatch, tmp_path):
    preset, sweep = tmp_path / "preset.yaml", tmp_path / "sweep.yaml"
    preset.write_text(run.preset.model_dump_json())
    sweep.write_text(load_sweep("kl-penalty").model_copy(update={"training": (entry(0.7),)}).model_dump_json())
    arguments = ("--preset", preset, "--out", run.out, "--lr", "0.02")
    assert command(monkeypatch, "align", "--rlhf", "ppo", "--eta", "0.7", *arguments) == 0
    assert command(monkeypatch, "mitigate", sweep, "--entry", "kl", *arguments) == 0
    rows = [json.loads(line) for line in (run.folder / "rows/ppo/0.02/kl.jsonl").read_text().splitlines()]
    assert [row["setting"] for row in rows] == [{"strength": 0.7, "lr": 0.02}] * len(METRICS)
