"""A model folder that has `tokenizer.model` alone, as open_llama_3b: what it needs is asked for, and with that it loads."""

import io
import json

import pytest

from llm.errors import UserError
from llm.models import loading
from llm.models.loading import load_tokenizer, missing_for_tokenizer

LINES = ["a small model reads words and writes words", "tax and alignment, averaged", "one two three four"] * 8


def config_of(folder):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))
    return folder


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (("sentencepiece",), "for which sentencepiece must be installed; give `pip install sentencepiece` first"),
        (
            ("sentencepiece", "google.protobuf"),
            "for which sentencepiece and protobuf must be installed; give `pip install sentencepiece protobuf` first",
        ),
    ],
)
def test_missing_packages_are_named_in_one_sentence(tmp_path, monkeypatch, lacking, said):
    folder = config_of(tmp_path / "model")
    (folder / "tokenizer.model").write_bytes(b"")
    monkeypatch.setattr(loading, "_is_there", lambda module: module not in lacking)
    with pytest.raises(UserError) as caught:
        load_tokenizer(folder)
    assert str(caught.value).endswith(said)


def test_other_folders_need_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_is_there", lambda module: False)
    assert missing_for_tokenizer(config_of(tmp_path / "none")) == []
    both = config_of(tmp_path / "both")
    for name in ("tokenizer.model", "tokenizer.json"):
        (both / name).write_bytes(b"")
    assert missing_for_tokenizer(both) == []


def test_a_package_within_one_that_is_not_there_is_not_there():
    assert loading._is_there("json.decoder")
    assert not loading._is_there("no_such_package.within")


def test_a_tokenizer_that_sentencepiece_made_loads_and_gives_texts_back(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed (extra gpu)")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed (extra gpu)")
    folder, made = config_of(tmp_path / "model"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=made,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = load_tokenizer(folder)
    for text in (LINES[0], LINES[1], "Größe 3"):
        ids = tokenizer(text)["input_ids"]
        assert ids == [own.bos_id(), *own.encode(text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    tokenizer.save_pretrained(tmp_path / "saved")  # as `take` does; what follows needs neither package
    assert missing_for_tokenizer(tmp_path / "saved") == []
