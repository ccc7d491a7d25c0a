"""The presets of the paper's models, made tiny, through every stage: from the data sets' true formats to result rows. A run that
is killed in the middle of a stage, done again, ends with the same models.
"""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from hub_runs import DATA, Forks, run_of, tiny_preset
from launched_copies import copied
from llm.averaging.files import regression
from llm.config import HubPreset, load_preset, load_sweep, names, runnable
from llm.config.tiny import tiny
from llm.data.benchmarks import PAPER
from llm.errors import UserError
from llm.evaluation.keeping import Kept, anew
from llm.models.loading import load_model, load_tokenizer
from llm.run import Run
from llm.stages import samples
from llm.stages.align import theta_folder
from llm.stages.average import measure_averages
from llm.stages.hub.backend import HubBackend
from llm.stages.hub.start import take
from llm.stages.trajectory import measure_trajectory
from llm.training.distributed import launch
from microcosm_runs import command, values
from trainer_models import same, weights

METRICS = {"reward", "length", "qa", "reading_f1", "bleu", *PAPER, "squad_v1_em", "drop_em"}
AUTHORS = METRICS - {"squad_v1_f1", "squad_v1_em"} | {"squad_v2_f1", "squad_v2_em"}
HUB = [name for name in names("presets") if isinstance(load_preset(name), HubPreset)]
PAIRS = [name for name in HUB if not load_preset(name).is_trained]
# as others but for numbers
SAME = [name for name in PAIRS if name.endswith("-ama-paper") or name == "zephyr-7b-gemma-authors"]

# what is trained in which order, by the name of its job; the stage that does it; the model it ends with
JOBS = {
    "theta_0": (HubBackend.sft, "theta_0"),
    "reward-sft": (HubBackend.reward, "reward-sft"),
    "reward": (HubBackend.reward, "reward"),
    "rsf-own": (lambda backend: backend.align("rsf", "own"), "rsf/own/iteration02"),
    "dpo-own": (lambda backend: backend.align("dpo", "own"), "dpo/own/iteration02"),
    "warm-start": (HubBackend.warm_start, "warm-start"),
    "ppo-own": (lambda backend: backend.align("ppo", "own"), "ppo/own/iteration02"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        forks = Forks(folder)
        patch.setattr(launch, "subprocess", forks)
        run = run_of("openllama-3b", folder, upto="rsf")
        for rlhf in ("dpo", "ppo"):
            HubBackend(run).align(rlhf, "own")
    return run, forks


def averages(
    run, rlhf: str, label: str, alphas: tuple[float, ...], sweep: str = "core", keep=anew, **options
) -> list[dict]:
    """Rows of some of an entry's models."""
    given = load_sweep(sweep).entry(label)
    entry = given.model_copy(update={"alphas": alphas, "options": given.options | options})
    theta, evaluator = theta_folder(run, rlhf, "own"), HubBackend(run).evaluator()
    found = HubBackend(run).ratios(evaluator, theta, rlhf, entry, run.folder / "ama" / rlhf / "own")
    return measure_averages(evaluator, theta, rlhf, entry, None, found, keep, HubBackend(run).models)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in SAME)) for name in PAIRS])
def test_public_models_are_averaged_adapted_and_measured(tmp_path, name):
    run = run_of(name, tmp_path, upto="dpo")
    theta_0, theta = load_model(run.folder / "theta_0"), load_model(theta_folder(run, "dpo", "own"))
    assert type(theta).__name__ == load_preset(name).architecture
    assert any(not torch.equal(a, b) for a, b in zip(theta_0.parameters(), theta.parameters(), strict=True))
    rows = HubBackend(run).baseline() + averages(run, "dpo", "ma", (0.0, 1.0)) + averages(run, "dpo", "ama", (0.4,))
    measured = AUTHORS if name.endswith("-authors") else METRICS
    assert set(values(rows, "theta_0")) == measured | {"win_rate"}
    assert values(rows, "ma", alpha=0.0) == values(rows, "theta_0") != values(rows, "ma", alpha=1.0)
    assert values(rows, "chance").keys() == {"qa", "reading_f1", "bleu"}
    found = next(row["setting"]["alphas"] for row in rows if row["method"] == "ama")
    assert sum(found.values()) / 3 == pytest.approx(0.4, abs=1e-6)
    assert json.loads((run.folder / "reward.json").read_text())["n"] == 8


def test_regression_averaging_goes_layer_by_layer_and_a_killed_job_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "BLOCK", 4)
    run = run_of("tulu-3-8b", tmp_path, upto="dpo")
    assert [entry.label for entry in runnable(load_sweep("merging-others"), run.preset).averaging] == [
        "lines",
        "regmean",
        "regmean-lines",
    ]
    own = runnable(load_sweep("regmean"), run.preset.model_copy(update={"aligned_by": "rsf"}))
    assert {entry.label for entry in load_sweep("regmean").averaging} - {entry.label for entry in own.averaging} == {
        "regmean-differences",  # needs theta_pre, and the Gram matrices of all layers
        "regmean-differences-ridge",
        "regmean-replies",  # Gram matrices of whole texts less those of their prompts
        "constrained",
    }
    made, walk = [], regression.walk_through

    def walked(*arguments):
        for part in walk(*arguments):
            if len(made) == 7:
                made.append("killed")
                raise KeyboardInterrupt
            made.append(part[0])
            yield part

    monkeypatch.setattr(regression, "walk_through", walked)
    keep = Kept.beside(tmp_path / "rows.jsonl", run.preset)
    ask = partial(averages, run, "dpo", "regmean", (), "merging-others", keep, strength=(0.0, 1.0), samples=(3,))
    with pytest.raises(KeyboardInterrupt):
        ask()
    rows = ask()
    parts = ["first", "0", "1", "2", "last"]
    assert made == [*parts, *parts[:2], "killed", *parts[2:]]
    theta = values(averages(run, "dpo", "ma", (1.0,)), "ma", alpha=1.0)
    found = [values(rows, "regmean", strength=strength) for strength in (0.0, 1.0)]
    assert found[0].keys() == METRICS | {"win_rate"} and found[0]["reward"][0] == pytest.approx(
        theta["reward"][0], abs=1e-4
    )
    assert found[1] != found[0]
    merged = averages(run, "dpo", "regmean", (), "merging-others", strength=(1.0,), samples=(3,), inputs=("merged",))
    assert values(merged, "regmean", strength=1.0, inputs="merged") != found[1]
    assert not list(theta_folder(run, "dpo", "own").parent.glob(".*"))
    lines = averages(run, "dpo", "lines", (0.5,), "merging-others")
    assert values(lines, "lines", alpha=0.5).keys() == METRICS | {"win_rate"}


def test_a_finished_dpo_is_left_alone(whole, monkeypatch):
    run, _ = whole
    monkeypatch.setattr("llm.stages.hub.backend.launch", lambda *_: pytest.fail("it is trained again"))
    HubBackend(run).align("dpo", "own")


SHORT = """
name: short
rlhf: [rsf, dpo, ppo]
learning_rates: [null]
trajectory: false
averaging:
  - {label: ma, method: ma, alphas: [0.5], grouping: &all {parts: 3, embeddings: first, norm: mean, head: mean}}
  - {label: regmean, method: regmean, options: {strength: [1]}, grouping: *all}
training: []
"""


@pytest.mark.parametrize("rlhf", ["rsf", "dpo", "ppo"])
def test_the_commands_measure_what_was_trained(whole, tmp_path, monkeypatch, rlhf):
    run, _ = whole
    preset, short = tmp_path / "tiny.yaml", tmp_path / "short.yaml"
    short.write_text(SHORT)
    assert command(monkeypatch, "tiny", "openllama-3b", "--data-dir", DATA, "--to", preset) == 0
    given = ("--rlhf", rlhf, "--preset", preset, "--out", run.out)
    assert command(monkeypatch, "trajectory", *given) == 0
    for label in ("ma", "regmean"):
        assert command(monkeypatch, "sweep", short, "--entry", label, *given) == 0
    rows = run.folder / "rows" / rlhf / "own"
    for name, method in {"trajectory": "theta", "ma": "ma", "regmean": "regmean"}.items():
        found = [json.loads(line) for line in (rows / f"{name}.jsonl").read_text().splitlines()]
        assert set(values(found, method)) == METRICS


def test_a_model_is_trained_from_the_raw_data_to_theta_and_again_only_where_something_is_missing(
    whole, tmp_path, monkeypatch
):
    run, _ = whole
    assert type(load_model(run.folder / "theta_0")).__name__ == run.preset.architecture
    assert "###Human" in load_tokenizer(theta_folder(run, "rsf", "own")).chat_template
    assert {path.name for path in (run.folder / "rsf" / "own").glob("iteration*")} >= {
        "iteration01",
        "iteration02",
        "iteration01.json",
    }
    before = (run.folder / "reward" / "config.json").stat().st_mtime_ns
    monkeypatch.setattr(launch, "subprocess", Forks(tmp_path))
    HubBackend(run).reward()
    HubBackend(run).align("rsf", "own")
    assert (run.folder / "reward" / "config.json").stat().st_mtime_ns == before
    assert not any(tmp_path.iterdir())  # no step was taken
    rows = averages(run, "rsf", "ma", (0.5,)) + measure_trajectory(HubBackend(run).evaluator(), "rsf", "own")
    assert set(values(rows, "ma")) == set(values(rows, "early-stopping", iteration=1)) == METRICS
    assert values(rows, "early-stopping", iteration=2) == values(rows, "theta")


def of_the_same_start(whole, folder, name: str, *without: str) -> Run[HubPreset]:
    """A run of a variant of openllama-3b, of which all is done that is not left out."""
    run, (done, _) = run_of(name, folder), whole
    shutil.copytree(done.folder, run.folder, ignore=shutil.ignore_patterns("jobs", *without))
    return run


def test_at_the_papers_rate_ama_moves_no_ratio_and_at_ours_it_does(whole, tmp_path):
    paper = of_the_same_start(whole, tmp_path, "openllama-3b-ama-paper", "ama")
    farthest = []
    for run in (whole[0], paper):
        (row, *_) = averages(run, "rsf", "ama", (0.4,))
        farthest.append(max(abs(ratio - 0.4) for ratio in row["setting"]["alphas"].values()))
    assert farthest[0] > 0.01 > 1e-3 > farthest[1] > 0


def test_adapters_learn_in_rsf_and_ppo_and_leave_whole_models_behind(whole, tmp_path, monkeypatch):
    run = of_the_same_start(whole, tmp_path, "openllama-3b-lora", "rsf", "dpo", "ppo")
    monkeypatch.setattr(launch, "subprocess", Forks(tmp_path))
    for rlhf in ("rsf", "ppo"):
        assert getattr(run.preset, rlhf).lora is not None
        HubBackend(run).align(rlhf, "own")
        start = "theta_0" if rlhf == "rsf" else "warm-start"
        before, after = (weights(folder) for folder in (run.folder / start, theta_folder(run, rlhf, "own")))
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert before.keys() == after.keys() and changed == {key for key in before if "_proj" in key}
    assert set(values(averages(run, "rsf", "ma", (0.5,)), "ma")) == METRICS


def test_sharded_over_two_processes_the_way_to_theta_ends_with_the_models_of_one(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(run=copied))
    done, _ = whole
    hardware = done.preset.hardware.model_copy(update={"launcher": "fsdp", "processes": 2})
    run = Run(done.preset.model_copy(update={"hardware": hardware}), 0, tmp_path)
    backend = HubBackend(run)
    backend.pretrain(None)
    backend.sft()
    backend.reward()
    backend.align("rsf", "own")
    for model in ("theta_0", "reward", "rsf/own/iteration02"):
        one, two = (weights(folder / model) for folder in (done.folder, run.folder))
        assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-6, model  # a step moves 1e-5


def test_ppo_keeps_the_models_that_are_measured_and_when_it_is_done_no_state(whole, tmp_path, monkeypatch):
    run, _ = whole
    out = run.folder / "ppo" / "own"
    assert run.preset.measured("ppo", 2) == [2] and run.preset.measured("rsf", 2) == [1, 2]
    assert load_preset("openllama-3b").measured("ppo", 40) == list(range(4, 41, 4))
    assert load_preset("openllama-3b").measured("ppo", 39) == [*range(4, 39, 4), 39]
    assert {file.parent.name for file in out.rglob("*.safetensors")} == {"iteration02"}
    assert not list(out.glob("training*")) and (out / "iteration01.json").is_file()
    monkeypatch.setattr(launch, "subprocess", Forks(tmp_path))
    HubBackend(run).align("ppo", "own")
    assert not any(tmp_path.iterdir())  # no step was taken
    asked = []
    evaluator = SimpleNamespace(run=run, mixed_on="cpu", measure=lambda model: asked.append(model) or ({}, 0.0))
    assert measure_trajectory(evaluator, "ppo", "own") == [] and len(asked) == 1


@pytest.mark.parametrize("name", JOBS)
def test_a_killed_stage_goes_on_to_the_same_model(whole, tmp_path, monkeypatch, name):
    (done, forks), (stage, model) = whole, JOBS[name]
    run = run_of("openllama-3b", tmp_path)
    shutil.copytree(done.folder, run.folder, ignore=shutil.ignore_patterns(*left_out(name)))
    last = forks.steps(name)
    killed = Forks(tmp_path, {name: last})
    monkeypatch.setattr(launch, "subprocess", killed)
    with pytest.raises(UserError, match="ended with exit code -9, .* the same command goes on from where it was"):
        stage(HubBackend(run))
    assert not (run.folder / model / "config.json").exists()
    again = Forks(tmp_path)
    monkeypatch.setattr(launch, "subprocess", again)
    stage(HubBackend(run))
    assert same(run.folder / model, done.folder / model)
    assert again.steps(name) < last  # it did not begin anew


def left_out(name: str) -> list[str]:
    """What a run that has come to this job does not have yet."""
    later = list(JOBS)[list(JOBS).index(name) :]
    return [
        part for job in later for part in {"rsf-own": ["rsf"], "dpo-own": ["dpo"], "ppo-own": ["ppo"]}.get(job, [job])
    ]


def test_a_theta_0_that_is_there_already_is_taken_and_all_else_is_made_of_it(tmp_path, monkeypatch):
    forks = Forks(tmp_path)
    monkeypatch.setattr(launch, "subprocess", forks)
    run = run_of("qwen2.5-1.5b", tmp_path, upto="dpo")
    trained = [name for name in JOBS if (tmp_path / name).exists()]
    assert trained == ["reward-sft", "reward", "dpo-own"]
    theta_0, theta = load_model(run.folder / "theta_0"), load_model(theta_folder(run, "dpo", "own"))
    assert type(theta).__name__ == run.preset.architecture
    assert any("q_proj.bias" in name for name in theta.state_dict()) and theta.config.tie_word_embeddings
    assert any(not torch.equal(a, b) for a, b in zip(theta_0.parameters(), theta.parameters(), strict=True))
    rows = HubBackend(run).baseline() + averages(run, "dpo", "ma", (0.0,))
    assert set(values(rows, "theta_0")) == METRICS and values(rows, "ma", alpha=0.0) == values(rows, "theta_0")


def test_the_weights_of_a_local_model_are_linked_and_its_tokenizer_gets_the_presets_template(tmp_path):
    run = run_of("zephyr-7b-beta", tmp_path)
    take(run, "random", tmp_path / "mine")
    config = (tmp_path / "mine" / "tokenizer_config.json").read_bytes()
    models = run.preset.models.model_copy(update={"theta": str(tmp_path / "mine")})
    mine = Run(run.preset.model_copy(update={"models": models}), 0, tmp_path)
    HubBackend(mine).align("dpo", "own")
    theta = theta_folder(mine, "dpo", "own")
    assert (theta / "model.safetensors").samefile(tmp_path / "mine" / "model.safetensors")
    assert "<|assistant|>" in load_tokenizer(theta).apply_chat_template(
        [{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True
    )
    assert (tmp_path / "mine" / "tokenizer_config.json").read_bytes() == config
    sizes = run.preset.model.model_copy(update={"layers": 4})
    with pytest.raises(UserError, match="has num_hidden_layers = 3, but preset = zephyr-7b-beta-tiny says 4"):
        take(Run(mine.preset.model_copy(update={"model": sizes}), 0, tmp_path), str(tmp_path / "mine"), tmp_path / "x")


def test_what_a_hub_preset_cannot_do_is_one_sentence(tmp_path, monkeypatch, capsys):
    run = run_of("zephyr-7b-beta", tmp_path)
    with pytest.raises(
        UserError, match="rlhf = 'rsf' is not allowed with preset = zephyr-7b-beta-tiny; allowed are dpo"
    ):
        HubBackend(run).align("rsf", "own")
    with pytest.raises(
        UserError, match="lr = '0.1' is not allowed with preset = zephyr-7b-beta-tiny; allowed is `own`"
    ):
        HubBackend(run).align("dpo", "0.1")
    with pytest.raises(
        UserError, match="shipped = .* is not allowed with preset = zephyr-7b-beta-tiny; the preset names its models"
    ):
        HubBackend(run).pretrain(tmp_path)
    path = tmp_path / "preset.yaml"
    path.write_text(tiny_preset("zephyr-7b-beta").model_dump_json())
    assert command(monkeypatch, "pretrain", "--preset", path, "--out", tmp_path) == 0
    assert (run.folder / "pretrained" / "config.json").is_file()
    assert command(monkeypatch, "show", "--preset", path) == 2
    assert (
        "is not allowed with this command; allowed are microcosm, microcosm-1, microcosm-1-untied, smoke"
        in capsys.readouterr().err
    )
    assert command(monkeypatch, "warm-start", "--preset", path, "--out", tmp_path) == 2
    assert "preset = zephyr-7b-beta-tiny has no section warm_start" in capsys.readouterr().err
    assert command(monkeypatch, "warm-start", "--preset", "smoke", "--out", tmp_path) == 2
    assert "preset = smoke has no section warm_start; its PPO begins with theta_0" in capsys.readouterr().err
    nowhere = tiny(load_preset("openllama-3b"), str(tmp_path))
    with pytest.raises(UserError, match="has no folder sharegpt"):
        HubBackend(Run(nowhere, 0, tmp_path)).sft()


def test_the_command_writes_a_tiny_preset_that_the_others_take(tmp_path, monkeypatch, capsys):
    for name in HUB:
        to = tmp_path / f"{name}.yaml"
        assert command(monkeypatch, "tiny", name, "--data-dir", DATA, "--to", to) == 0
        assert load_preset(str(to)) == tiny_preset(name)
    assert command(monkeypatch, "tiny", "microcosm", "--data-dir", DATA, "--to", tmp_path / "x.yaml") == 2
    assert (
        "preset = 'microcosm' is not allowed; allowed are olmo-2-1b, openllama-3b, openllama-3b-ama-paper, openllama-3b-lora, qwen2.5-1.5b, tulu-3-8b, zephyr-7b-beta"
        in capsys.readouterr().err
    )
    assert command(monkeypatch, "tiny", "openllama-3b", "--data-dir", tmp_path / "no", "--to", tmp_path / "x.yaml") == 2
    assert "is no folder; give one with the data sets' files" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


def test_a_tiny_preset_is_of_the_same_kind_and_keeps_what_it_does_not_shrink():
    for name in HUB:
        large, small = load_preset(name), tiny(load_preset(name), str(DATA))
        assert (type(small), small.name, small.architecture) == (type(large), f"{name}-tiny", large.architecture)
        assert (small.template, small.algorithms, small.model.tied_embeddings) == (
            large.template,
            large.algorithms,
            large.model.tied_embeddings,
        )
        assert small.evaluate.tasks == large.evaluate.tasks
    assert tiny(load_preset("openllama-3b")).ppo.eta == load_preset("openllama-3b").ppo.eta
