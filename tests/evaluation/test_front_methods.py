"""`front` by each method: what is measured is what `average` writes."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ama_models import save_models
from averaging_models import command
from front_runs import arguments, run
from llm import averaging
from llm.averaging.ama.settings import Sources
from llm.averaging.live import average
from llm.averaging.pair import Pair
from llm.averaging.precision import Effect
from llm.evaluation.formats import read_task
from llm.evaluation.front import measure as module
from llm.evaluation.front.points import Point
from llm.evaluation.front.run import _command, _saved
from llm.evaluation.front.settings import FrontSettings
from llm.evaluation.tasks import Asking
from llm.evidence.rows import read_rows
from llm.models.loading import load_model, load_tokenizer

pytestmark = pytest.mark.usefixtures("without_files_of_pictures")


def test_ratios_that_differ_little_are_points_of_their_own(folder, tmp_path):
    tasks = f"{folder / 'qa.jsonl'}"
    run(folder, tmp_path / "front", tasks=tasks, alphas="0.1234567,0.1234568,0.12345680000001")
    points = sorted(path.name for path in (tmp_path / "front" / "points").glob("ma-*"))
    assert points == ["ma-0.1234567.json", "ma-0.1234568.json"]
    assert len(read_rows(tmp_path / "front" / "rows.jsonl")) == 4 * 8


def test_one_part_alone_leaves_the_rest_as_in_theta(folder, tmp_path, monkeypatch):
    made = {}
    plain = module.mix_

    def spied(model, *arguments):
        plain(model, *arguments)
        made[str(len(made))] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    monkeypatch.setattr(module, "mix_", spied)
    changes = {"method": "part", "part": "middle", "alphas": "0.25", "tasks": folder / "qa.jsonl"}
    run(folder, tmp_path / "front", **changes)
    theta_0, theta = (load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta"))
    (mixed,) = [state for key, state in made.items() if key == "2"]
    for name, tensor in mixed.items():
        weight = 0.25 if "layers.1." in name else 1.0
        torch.testing.assert_close(tensor, torch.lerp(theta_0[name], theta[name], weight), rtol=1e-6, atol=1e-7)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    assert {"part": "middle", "alpha": 0.25} in list(frame.setting)


def test_adaptive_ratios_are_found_on_the_way_and_kept_in_the_rows(folder, tmp_path):
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": folder / "samples.jsonl"}
    run(folder, tmp_path / "front", adapt={"batch": 20}, **changes)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    (setting,) = frame[(frame.method == "ama") & (frame.metric == "qa")].setting
    assert sum(setting["alphas"].values()) / 3 == pytest.approx(0.5)
    assert len(set(setting["alphas"].values())) == 3
    assert setting["parts"] == 3 and setting["embeddings"] == "first"


def test_adaptive_ratios_at_the_ends_need_no_search(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "optimise_ratios", None)
    changes = {"method": "ama", "alphas": "0,1", "tasks": folder / "qa.jsonl", "data": folder / "samples.jsonl"}
    run(folder, tmp_path / "front", **changes)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    found = [set(setting["alphas"].values()) for setting in frame[frame.method == "ama"].setting]
    assert {0.0} in found and {1.0} in found and all(len(one) == 1 for one in found)


def test_groups_do_not_hang_on_the_model_that_was_measured_before(tmp_path, folder):
    """theta's head is its embeddings and theta_0's is not: after theta the live model's head has the embeddings' values, and still is
    a head of its own, as `average` has it.
    """
    for name in ("theta_0", "theta"):
        shutil.copytree(folder / name, tmp_path / name)
    state = load_file(tmp_path / "theta" / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, tmp_path / "theta" / "model.safetensors", metadata={"format": "pt"})
    changes = {"theta-0": tmp_path / "theta_0", "theta": tmp_path / "theta", "tasks": folder / "qa.jsonl"}
    made = []
    with pytest.MonkeyPatch.context() as patched:
        plain = module.mix_
        patched.setattr(module, "mix_", lambda *given: (made.append(given[3]), plain(*given)))
        run(folder, tmp_path / "front", method="part", part="input", alphas="0.5", **changes)
    ratios = next(one for one in made if isinstance(one, dict))
    assert ratios["lm_head.weight"] == 1.0 and ratios["model.embed_tokens.weight"] == 0.5


def test_embeddings_and_head_with_ratios_of_their_own_stand_in_rows_and_report(folder, tmp_path):
    changes = {"method": "ama", "alphas": "0.5", "tasks": folder / "qa.jsonl", "data": folder / "samples.jsonl"}
    run(folder, tmp_path / "front", adapt={"batch": 20}, grouping={"embeddings": "own", "head": "own"}, **changes)
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    (setting,) = frame[(frame.method == "ama") & (frame.metric == "qa")].setting
    assert list(setting["alphas"]) == ["part1", "part2", "part3", "embeddings", "head"]
    assert sum(setting["alphas"].values()) / 5 == pytest.approx(0.5)
    written = (tmp_path / "front" / "report.html").read_text()
    said = ", ".join(f"{group} {ratio:.3f}" for group, ratio in setting["alphas"].items())
    assert f"ama, alpha 0.5 ({said})" in written


@pytest.mark.parametrize(("method", "full"), [("ma", False), ("lines", False), ("slerp", True), ("trim", True)])
def test_the_command_for_an_adapter_makes_a_full_model_where_the_method_has_no_low_rank(method, full, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    settings = FrontSettings(tasks=("qa.jsonl",), method=method)
    best = Point(f"{method}-0.5", method, 0.5, {"alpha": 0.5})
    assert ("--full" in _command(Sources(tmp_path, tmp_path), tmp_path, settings, best).split()) == full


def test_of_two_equal_models_nothing_is_said_about_saving():
    points = [Point(label, "ma", alpha, {}) for label, alpha in (("theta_0", 0.0), ("theta", 1.0), ("ma-0.5", 0.5))]
    assert _saved(points, Pair(torch.nn.Module(), {}, None, [])) == []


def test_saving_is_told_of_the_recommended_ratio_first():
    ends = [Point(label, "ma", alpha, {}) for label, alpha in (("theta_0", 0.0), ("theta", 1.0))]
    effects = {
        alpha: Effect(along=alpha + off, square=1, wanted=alpha, values=1) for alpha, off in ((0.2, 0.1), (0.7, 0.05))
    }
    first, best = (Point(f"ma-{alpha}", "ma", alpha, {"alpha": alpha}, saved=one) for alpha, one in effects.items())
    pair = Pair(torch.nn.Module(), {}, None, [], kinds={"a": torch.bfloat16})
    told = _saved([*ends, first, best], pair, best)
    assert told[0].startswith("Saved in bfloat16 the average ma-0.7 has effective alpha 0.750")
    assert told[1].startswith("At alpha 0.7: ") and len(told) == 2
    for other in (None, ends[1]):
        assert "ma-0.2" in _saved([*ends, first, best], pair, other)[0]


def test_spherical_averages_are_measured_as_a_method_of_their_own(folder, tmp_path):
    run(folder, tmp_path / "front", method="slerp", alphas="0.5", tasks=folder / "qa.jsonl")
    frame = read_rows(tmp_path / "front" / "rows.jsonl")
    assert set(frame.method) == {"theta_0", "theta", "slerp"}
    model = load_model(folder / "theta_0")
    model.load_state_dict(
        average(*(load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")), 0.5, "slerp")
    )
    items = (
        read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
        .measure(model, load_tokenizer(folder / "theta"))["accuracy"]
        .items
    )
    kept = json.loads((tmp_path / "front" / "points" / "slerp-0.5.json").read_text())
    assert kept["tasks"]["qa"]["items"] == items.tolist()


def test_extrapolations_are_measured_beside_averages_and_are_what_average_writes(folder, tmp_path):
    """Each ratio once: up to theta as averages, beyond it as extrapolations."""
    out = tmp_path / "front"
    run(folder, out, method="ma,extrapolate", alphas="0,0.5,1,1.25,2", tasks=folder / "qa.jsonl")
    points = {path.stem for path in (out / "points").iterdir()}
    assert points == {"theta_0", "theta", "ma-0", "ma-0.5", "ma-1", "extrapolate-1.25", "extrapolate-2"}
    for alpha in (1.25, 2):
        made = tmp_path / str(alpha)
        averaging.average(folder / "theta_0", folder / "theta", alpha, out=made, method="extrapolate")
        kept = json.loads((out / "points" / f"extrapolate-{alpha}.json").read_text())
        np.testing.assert_allclose(kept["tasks"]["qa/brier"]["items"], as_measured(folder, made), rtol=1e-5)
        assert kept["saved"]["along"] / kept["saved"]["square"] == pytest.approx(alpha, rel=1e-5)
        assert read_rows(out / "rows.jsonl").query("method == 'extrapolate'").setting_key.unique().size == 2


def test_without_ratios_extrapolation_has_those_of_its_source():
    settings = FrontSettings(tasks=(), method="lines,extrapolate")
    assert settings.ratios_of("lines") == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert settings.ratios_of("extrapolate") == [1.1, 1.2, 1.3, 1.4, 1.5]


@pytest.mark.parametrize(("method", "options"), [("trim", {"keep": 0.3}), ("lines", {"outer": "theta"})])
def test_methods_with_options_are_measured_by_their_own_ends(method, options, folder, tmp_path):
    """At ratio 1 trimming is not theta, and LiNeS is; at 0 it is the other way round with theta_0."""
    out = tmp_path / "front"
    run(folder, out, method=method, alphas="0,0.5,1", tasks=folder / "qa.jsonl", options={method: options})
    frame = read_rows(out / "rows.jsonl")
    assert {key for key in frame[frame.method == method].setting_key if next(iter(options)) in key}
    states = [load_file(folder / name / "model.safetensors") for name in ("theta_0", "theta")]
    model, task = load_model(folder / "theta_0"), read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
    for alpha in (0, 0.5, 1):
        model.load_state_dict(averaging.average(*states, float(alpha), method=method, options=options))
        kept = json.loads((out / "points" / f"{method}-{alpha}.json").read_text())
        assert kept["setting"] == {**options, "alpha": alpha}
        assert (
            kept["tasks"]["qa"]["items"]
            == task.measure(model, load_tokenizer(folder / "theta"))["accuracy"].items.tolist()
        )


@pytest.fixture(scope="module")
def third(folder):
    """A third model: theta_0's weights, changed."""
    save_models(folder / "more")
    model, rng = load_model(folder / "theta_0"), torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    model.save_pretrained(folder / "third")
    load_tokenizer(folder / "theta").save_pretrained(folder / "third")
    return folder / "third"


def as_measured(folder, model_folder):
    """The items of the task qa, of a model in a folder."""
    task = read_task("qa", folder / "qa.jsonl", Asking(True, 4, 16))
    return task.measure(load_model(model_folder), load_tokenizer(folder / "theta"))["brier"].items


def test_methods_with_a_third_model_and_soups_are_what_average_writes(folder, third, tmp_path, monkeypatch, capsys):
    """The command of the report, which names all models, writes the model that was measured."""
    for method, more in (
        ("ties", {"theta-pre": third}),
        ("dots", {"theta-pre": third}),
        ("ma", {"with": third, "weight": None}),
    ):
        out = tmp_path / method
        run(folder, out, method=method, alphas="0.5,1", tasks=folder / "qa.jsonl", **more)
        options = {"others": [third]} if method == "ma" else {"method": method, "theta_pre": third}
        for alpha in (0.5, 1):
            made = tmp_path / f"{method}-{alpha}"
            averaging.average(folder / "theta_0", folder / "theta", alpha, out=made, **options)
            kept = json.loads((out / "points" / f"{method}-{alpha}.json").read_text())
            np.testing.assert_allclose(kept["tasks"]["qa/brier"]["items"], as_measured(folder, made), rtol=1e-5)
            assert kept["saved"]["values"] > 0
    facts = (tmp_path / "ma" / "report.html").read_text()
    assert "the mean of theta (share 0.5) and third (share 0.5)" in facts
    assert "<td>third</td>" in (tmp_path / "ties" / "report.html").read_text().replace("\n", "")
    capsys.readouterr()
    other = arguments(folder, tmp_path / "ma", alphas="0.5", tasks=folder / "qa.jsonl")
    assert command(monkeypatch, "front", *other) == 2
    assert "which holds a run with other arguments" in capsys.readouterr().err
