"""A model folder that has `tokenizer.model` alone, as open_llama_3b: what it needs is asked for, and with that it loads."""

import io
import json

import pytest
import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hub_runs import tiny_preset
from llm.config.hub import HubModels
from llm.errors import UserError
from llm.models import loading
from llm.models.chat import encode_together, pair_ids
from llm.models.loading import load_model, load_tokenizer, missing_for_tokenizer
from llm.run import Run
from llm.stages.hub.backend import HubBackend
from llm.stages.hub.start import settings

LINES = ["a small model reads words and writes words", "tax and alignment, averaged", "one two three four"] * 8


def config_of(folder):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    told = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"add_bos_token": True}))
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


@pytest.fixture
def published(tmp_path):
    """A folder with the files of open_llama_3b: a tokenizer that sentencepiece made, and weights as torch wrote them in 2023, with the
    buffers that models had then.
    """
    folder, made, preset = tmp_path / "published", io.BytesIO(), tiny_preset("openllama-3b")
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
    own = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    torch.manual_seed(0)
    sizes = settings(preset.model) | {
        "vocab_size": len(own),
        "bos_token_id": own.bos_id(),
        "eos_token_id": own.eos_id(),
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes, pad_token_id=own.unk_id()))
    model.config.save_pretrained(config_of(folder))
    buffers = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(8) for i in range(preset.model.layers)}
    torch.save(model.state_dict() | buffers, folder / "pytorch_model.bin")
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    return folder, own, model


def test_a_published_folder_is_taken_its_texts_come_back_and_its_weights_are_whole(published, tmp_path):
    folder, own, model = published
    tokenizer = load_tokenizer(folder)
    for text in (LINES[0], LINES[1], "Größe 3"):
        ids = tokenizer(text)["input_ids"]
        assert ids == [own.bos_id(), *own.encode(text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    models = HubModels(pretrained=str(folder))
    preset = tiny_preset("openllama-3b")
    shape = preset.model.model_copy(update={"vocabulary": model.config.vocab_size})
    run = Run(preset.model_copy(update={"models": models, "model": shape}), 0, tmp_path)
    HubBackend(run).pretrain(None)
    taken = run.folder / "pretrained"
    assert missing_for_tokenizer(taken) == []  # what follows needs neither package
    asked = load_tokenizer(taken)
    assert "###Human" in asked.chat_template
    (sampled,) = encode_together(asked, [("tax and alignment", text, True)])
    learned = pair_ids(
        asked, {"prompt": [{"role": "user", "content": "tax and alignment"}], "chosen": text, "rejected": text}
    )
    assert sampled.reply == learned["chosen_ids"]  # though the space before it is lost as ids become text
    assert asked.decode(sampled.reply[:-1]) == text
    found = load_model(taken).state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())
