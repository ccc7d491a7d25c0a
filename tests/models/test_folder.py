"""Model folders before their weights are read: names without wrappers, what is an adapter, whose adapter it is."""

import json
import shutil

import pytest

from averaging_models import make, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.ratios import uniform
from llm.errors import UserError
from llm.grouping import Grouping
from llm.models.folder import notes_on_base, plain_name, read_folder


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("_orig_mod.model.norm.weight", "model.norm.weight"),
        ("module._orig_mod.lm_head.weight", "lm_head.weight"),
        ("base_model.model.model.layers.0.q", "model.layers.0.q"),
        ("pretrained_model.model.layers.0._checkpoint_wrapped_module.mlp._orig_mod.up", "model.layers.0.mlp.up"),
        ("model.module.x", "model.module.x"),
        ("modules.0.my_orig_mod.x", "modules.0.my_orig_mod.x"),
    ],
)
def test_wrappers_leave_names(stored, plain):
    assert plain_name(stored) == plain


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """theta_0, and an adapter on it beside which its trainer has left a config.json, as the alignment-handbook's does."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("handbook")
    base = make("llama", 0)
    base.save_pretrained(folder / "theta_0")
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    wrapped.save_pretrained(folder / "theta")
    base.config.save_pretrained(folder / "theta")
    _edit(folder / "theta/config.json", quantization_config={"load_in_4bit": True})
    for name in ("theta_0", "theta"):
        save_tokenizer(folder / name)
    return folder


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_config_beside_an_adapter_does_not_reach_the_merged_model(folders, tmp_path):
    assert read_folder(folders / "theta", "theta").is_adapter
    average_files(folders / "theta_0", folders / "theta", tmp_path / "out", uniform(0.5, Grouping()), full=True)
    assert (tmp_path / "out/config.json").read_bytes() == (folders / "theta_0/config.json").read_bytes()
    assert not (tmp_path / "out/adapter_config.json").exists()


def test_the_card_of_an_adapter_loads_the_revision_of_its_base(folders, tmp_path):
    base = shutil.copytree(folders / "theta_0", tmp_path / "models--org--sft" / "snapshots" / "0a1b")
    for revision, arguments in (("main", '"org/sft"'), ("v1", '"org/sft", revision="v1"')):
        (references := base.parents[1] / "refs").mkdir()
        (references / revision).write_text(base.name)
        average_files(base, folders / "theta", tmp_path / revision, uniform(0.5, Grouping()))
        assert f"from_pretrained({arguments})" in (tmp_path / revision / "README.md").read_text()
        shutil.rmtree(references)


def test_an_adapters_pickle_gets_advice_for_adapters(folders, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"adapter_model\.bin.*PeftModel\.from_pretrained"):
        read_folder(tmp_path, "theta")


def test_an_adapter_of_another_base_is_noted(folders, tmp_path):
    snapshot = tmp_path / "models--org--sft" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    for file in (folders / "theta_0").iterdir():
        (snapshot / file.name).symlink_to(file)
    known = [read_folder(snapshot, "theta-0"), read_folder(folders / "theta_0", "theta-0")]
    adapter = read_folder(folders / "theta", "theta")
    for named, noted in [("org/sft", [False, True]), ("/x/theta_0/", [True, False]), ("org/other", [True, True])]:
        adapter.config["base_model_name_or_path"] = named
        assert [bool(notes_on_base(base, adapter)) for base in known] == noted
    assert notes_on_base(known[1], adapter)[0].startswith("The adapter's base is 'other', and theta-0 is 'theta_0'")
    known[1].config["_name_or_path"] = "org/other"
    assert notes_on_base(known[1], adapter) == []
    (tmp_path / "sft").symlink_to(folders / "theta_0")  # the very folder, by another name
    adapter.config["base_model_name_or_path"] = str(tmp_path / "sft")
    assert notes_on_base(read_folder(tmp_path / "sft", "theta-0"), adapter) == []
