"""What lies beside the weights: all that a tokenizer needs, no links that lead out, code only where that is wanted."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from transformers import tokenization_utils_base, utils

from averaging_models import command, make, save_pair, save_tokenizer
from llm.averaging.files.average import average_files
from llm.averaging.files.copies import _VOCABULARY, is_copied
from llm.averaging.pair import load_pair
from llm.averaging.ratios import uniform
from llm.errors import UserError
from llm.grouping import Grouping

HALF = uniform(0.5, Grouping())


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("theta_0", "theta")):
        make("llama", seed, num_hidden_layers=1).save_pretrained(folder / name)
        save_tokenizer(folder / name)
    return folder / "theta_0", folder / "theta"


def _vocabulary_files() -> set[str]:
    """File names in the VOCAB_FILES_NAMES of all tokenizers of transformers, read from their source."""
    found = set()
    for file in (Path(transformers.__file__).parent / "models").glob("*/tokenization_*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "VOCAB_FILES_NAMES":
                found |= {part.value for part in node.value.values if isinstance(part, ast.Constant)}
    return found


def test_every_file_that_transformers_tokenizers_name_is_copied():
    vocabularies = _vocabulary_files()
    assert len(vocabularies) > 15
    constants = [tokenization_utils_base, utils]
    kinds = ("SPECIAL_TOKENS_MAP_FILE", "ADDED_TOKENS_FILE", "TOKENIZER_CONFIG_FILE", "FULL_TOKENIZER_FILE")
    kinds += ("CHAT_TEMPLATE_FILE", "LEGACY_PROCESSOR_CHAT_TEMPLATE_FILE", "GENERATION_CONFIG_NAME", "CONFIG_NAME")
    names = {getattr(module, kind) for module in constants for kind in kinds if hasattr(module, kind)}
    assert {"tokenizer.json", "chat_template.jinja", "added_tokens.json", "generation_config.json"} < names
    others = {"tokenizer.model.v3", "vocab.bpe", "tekken.json", "qwen.tiktoken"}  # Mistral's, GPT-2's, Qwen's own
    assert [name for name in vocabularies | names | others if not is_copied(name)] == []
    unnamed = [name for name in vocabularies | others if not name.endswith(".json") and not _VOCABULARY.fullmatch(name)]
    assert unnamed == ["merges.txt"]  # which stands beside a vocabulary
    for name in (
        "training_args.bin",
        "model.safetensors.index.json",
        "trainer_state.json",
        "notes.md",
        "pytorch_model.bin",
    ):
        assert not is_copied(name)


def test_all_of_a_tokenizer_is_copied_and_nothing_else(pair, tmp_path):
    theta = tmp_path / "theta"
    shutil.copytree(pair[1], theta)
    tokenizer = transformers.AutoTokenizer.from_pretrained(theta)
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "tools {{ messages }}"}
    tokenizer.save_pretrained(theta)
    for name in ("tokenizer.model.v3", "vocab.bpe", "tekken.json", "source.spm"):
        (theta / name).write_text("x")
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling.py", "events.out"):
        (theta / name).write_bytes(b"")
    average_files(pair[0], theta, tmp_path / "out", HALF)
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {
        *("README.md", "averaging.json", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "tokenizer.model.v3", "vocab.bpe", "tekken.json", "source.spm"),
        *("chat_template.jinja", str(Path(utils.CHAT_TEMPLATE_DIR) / "tool_use.jinja")),
    }
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert found == tokenizer.chat_template and len(found) == 2


def test_code_is_copied_only_where_that_is_wanted(pair, tmp_path, monkeypatch, capsys):
    theta = tmp_path / "theta"
    shutil.copytree(pair[1], theta)
    (theta / "modeling_own.py").write_text("pass")
    arguments = ["average", "--theta-0", pair[0], "--theta", theta, "--alpha", 0.5, "--out"]
    assert command(monkeypatch, *arguments, tmp_path / "without") == 0
    assert "Code of theta was left out ('modeling_own.py'); --with-code copies it." in capsys.readouterr().out
    assert not (tmp_path / "without" / "modeling_own.py").exists()
    assert command(monkeypatch, *arguments, tmp_path / "with", "--with-code") == 0
    assert (tmp_path / "with" / "modeling_own.py").read_text() == "pass"
    assert "Code of theta was copied: 'modeling_own.py'." in (tmp_path / "with" / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["LICENSE", "tokenizer.json", "model.safetensors", "additional_chat_templates/a.jinja"]
)
@pytest.mark.parametrize("which", [0, 1])
def test_links_that_lead_out_of_a_folder_are_refused(name, which, pair, tmp_path):
    folders = list(pair)
    folders[which] = tmp_path / "found"
    shutil.copytree(pair[which], folders[which])
    secret = tmp_path / "id_ed25519"
    file = folders[which] / name
    file.parent.mkdir(exist_ok=True)
    secret.write_bytes(file.read_bytes() if file.exists() else b"secret")
    file.unlink(missing_ok=True)
    file.symlink_to(secret)
    with pytest.raises(UserError, match=f"{file.name} of .* is a link to .*id_ed25519', outside of the folder"):
        average_files(*folders, tmp_path / "out", HALF)
    assert {path.name for path in tmp_path.iterdir()} == {"found", "id_ed25519"}


def test_links_within_a_folder_and_to_a_hub_caches_blobs_are_followed(pair, tmp_path):
    snapshots = []
    for source in pair:
        cache = tmp_path / f"models--org--{source.name}"
        snapshot = cache / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (cache / "blobs").mkdir()
        for number, file in enumerate(sorted(source.iterdir())):
            shutil.copy(file, cache / "blobs" / str(number))
            (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
        snapshots.append(snapshot)
    (snapshots[1] / "LICENSE").symlink_to("config.json")
    average_files(*snapshots, tmp_path / "out", HALF)
    average_files(*pair, tmp_path / "plain", HALF)
    found = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert not any(path.is_symlink() for path in found.values())
    assert found["model.safetensors"].read_bytes() == (tmp_path / "plain" / "model.safetensors").read_bytes()
    assert found["LICENSE"].read_bytes() == found["config.json"].read_bytes()


def test_a_tokenizer_comes_from_theta_0_though_theta_has_a_template_and_settings_of_one(pair, tmp_path):
    theta = tmp_path / "theta"
    shutil.copytree(pair[1], theta)
    (theta / "tokenizer.json").unlink()
    (theta / "chat_template.jinja").write_text("theta's {{ messages }}")
    report = average_files(pair[0], theta, tmp_path / "out", HALF)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (pair[0] / "tokenizer.json").read_bytes()
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "theta's {{ messages }}"
    assert "The tokenizer is theta-0's: theta has none." in report.notes


def test_an_averaged_classifier_is_loaded_as_one(pair, tmp_path):
    for folder in pair:
        shutil.copytree(folder, tmp_path / folder.name)
        config = json.loads((folder / "config.json").read_text()) | {
            "architectures": ["LlamaForSequenceClassification"]
        }
        (tmp_path / folder.name / "config.json").write_text(json.dumps(config))
    average_files(tmp_path / "theta_0", tmp_path / "theta", tmp_path / "out", HALF)
    assert "AutoModelForSequenceClassification.from_pretrained" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("template", ["{{ messages[0]['content'] }} else", None])
def test_chat_templates_that_differ_are_noted(template, tmp_path):
    theta_0, theta = save_pair(tmp_path, "llama")
    for folder, own in ((theta_0, "{{ messages[0]['content'] }}"), (theta, "{{ messages[0]['content'] }}")):
        save_tokenizer(folder, template=own)
    said = "The chat templates of theta-0 and theta differ, and theta's is taken for all"
    for count in (0, 1):
        report = average_files(theta_0, theta, tmp_path / f"out{count}", uniform(0.5, Grouping()))
        pair = load_pair(theta_0, theta, "float32", torch.device("cpu"))
        for notes in (report.notes, pair.notes):
            assert sum(said in note for note in notes) == count
        (theta_0 / "chat_template.jinja").unlink(missing_ok=True)
        save_tokenizer(theta_0, template=template)
