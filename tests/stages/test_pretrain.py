"""Pre-training: how documents are packed and mixed, what is checked, and when it stops; and instruction tuning's mixture."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llm.data.microcosm.documents import CONTEXT
from llm.data.microcosm.items import CHECKS
from llm.data.microcosm.tokenizer import build_tokenizer, encode
from llm.errors import UserError
from llm.models.loading import load_model
from llm.run import Run
from llm.stages.pretrain import check, packed_batch, pretrain
from llm.stages.sft import _batches
from microcosm_runs import smoke, tiny_model

PAD, BOS = 0, 1


def changed(**pretraining):
    """The smoke preset with some settings of its one phase changed."""
    phase = smoke().pretrain.phases[0].model_copy(update=pretraining)
    return smoke().model_copy(update={"pretrain": smoke().pretrain.model_copy(update={"phases": (phase,), "rows": 8})})


def documents(batch) -> list[tuple[list[int], list[float]]]:
    """(ids, weights) of every document of a packed batch."""
    found = []
    for ids, weights in zip(batch.ids.tolist(), batch.weights.tolist(), strict=True):
        starts = [place for place, token in enumerate(ids) if token == BOS]
        assert starts[0] == 0
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            found.append((ids[start:end], weights[start:end]))
    return found


def test_rows_hold_whole_documents_and_padding_counts_nothing():
    run, tokenizer = Run(changed(), 0, None), build_tokenizer()
    batch = packed_batch(run, {"declaration": 1.0}, np.random.default_rng(0))
    assert batch.ids.shape == (8, run.preset.pretrain.row_length)
    for ids, weights in documents(batch):
        said = [token for token in ids[1:] if token != PAD]
        assert ids[1 : len(said) + 1] == said  # padding only at the end of a row
        assert all(weight == 0 for weight in (weights[0], *weights[len(said) + 1 :]))
        sentences = tokenizer.decode(said).removesuffix(" .").split(" . ")
        assert len(sentences) == 3
        answers = [weight for weight in weights if weight == 1]
        assert len(answers) == 3
        assert {round(weight, 6) for weight in weights[1 : len(said) + 1]} == {CONTEXT, 1.0}


def test_documents_are_mixed_by_their_shares():
    run, rng = Run(changed(), 0, None), np.random.default_rng(0)
    french = encode("french")[0]
    counts = Counter()
    for _ in range(12):
        batch = packed_batch(run, {"declaration": 3.0, "translation": 1.0}, rng)
        counts.update(french in ids for ids, _ in documents(batch))
    total = counts.total()
    assert abs(counts[False] - 0.75 * total) < 4 * np.sqrt(total * 0.75 * 0.25)
    assert total > 300


def test_conversations_of_instruction_tuning_are_mixed_by_their_shares():
    sft = smoke().sft.model_copy(update={"mixture": {"qa": 1.0, "translation_item": 3.0}, "steps": 20, "batch": 20})
    french = encode("english")[0]
    batches = list(_batches(Run(smoke().model_copy(update={"sft": sft}), 0, None), build_tokenizer()))
    translations = sum((batch.ids == french).any(dim=1).sum().item() for batch in batches)
    assert len(batches) == 20
    assert abs(translations - 300) < 4 * np.sqrt(400 * 0.75 * 0.25)


@pytest.mark.parametrize(("wrong", "share"), [(slice(0), 1.0), (slice(None), 0.0), (slice(-2, -1), 0.0)])
def test_a_check_is_passed_where_every_token_of_the_answer_is_the_likeliest(wrong, share):
    """Asked of a reader who knows the whole text, of one who knows none of it and of one who misses the last word."""

    def knows(input_ids):
        following = torch.cat([input_ids[:, 1:], input_ids[:, :1]], dim=1)
        following[:, wrong] += 1
        return SimpleNamespace(logits=F.one_hot(following, 700).float())

    assert check(Run(smoke(), 0, None), knows) == dict.fromkeys(CHECKS, share)


def test_training_stops_at_its_targets_and_keeps_what_was_checked(tmp_path):
    history = pretrain(
        Run(changed(targets={"reading_one": 0.0}, max_tokens=8 * 128 * 6), 0, tmp_path), tmp_path / "model"
    )
    assert [entry["tokens"] for entry in history] == [2 * 8 * 128]  # the first check
    assert set(CHECKS) < set(history[0])
    assert load_model(tmp_path / "model").config.num_hidden_layers == smoke().model.layers


def test_targets_that_are_not_reached_are_an_error_and_leave_no_model(tmp_path):
    run = Run(changed(targets={"reading_several": 1.0}, max_tokens=8 * 128 * 3), 0, tmp_path)
    with pytest.raises(UserError, match="phase all stopped at .*'tokens': 3072.* after 3072 tokens"):
        pretrain(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("killed_at", [2, 3, 4])
def test_a_killed_run_goes_on_at_the_last_check_and_ends_with_the_same_bytes(tmp_path, monkeypatch, killed_at):
    """Two phases of two checks each, killed in the first check of the second phase, before and after it."""
    first = changed(targets={"loss_checks": 2}, max_tokens=8 * 128 * 6).pretrain.phases[0]
    phases = (first, first.model_copy(update={"name": "more", "mixture": {"copy": 1.0}, "targets": {"loss_checks": 4}}))
    settings = smoke().pretrain.model_copy(update={"phases": phases, "rows": 8, "check_every": 1})
    preset, checked = smoke().model_copy(update={"pretrain": settings}), 0

    def check_or_die(run, model):
        nonlocal checked
        checked += 1
        if checked == dies:
            raise KeyboardInterrupt
        return {"loss_checks": checked}

    monkeypatch.setattr("llm.stages.pretrain.check", check_or_die)
    dies = 0
    history = pretrain(Run(preset, 0, tmp_path), tmp_path / "whole" / "model")
    checked, dies = 0, killed_at
    with pytest.raises(KeyboardInterrupt):
        pretrain(Run(preset, 0, tmp_path), tmp_path / "killed" / "model")
    checked, dies = killed_at - 1, 0
    resumed = pretrain(Run(preset, 0, tmp_path), tmp_path / "killed" / "model")
    whole, killed = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
    assert [e | {"seconds": 0} for e in resumed] == [e | {"seconds": 0} for e in history]
    assert len(history) == 4
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["model"]


@pytest.mark.parametrize("killed_at", [0, 3])
def test_the_first_phase_begins_anew_from_other_weights_where_it_does_not_reach_its_targets(
    tmp_path, monkeypatch, killed_at
):
    """Two checks an attempt; the second attempt's last one reaches the target."""
    settings = changed(targets={"checks": 4}, max_tokens=8 * 128 * 2).pretrain
    preset = smoke().model_copy(
        update={"pretrain": settings.model_copy(update={"attempts": 3, "rows": 8, "check_every": 1})}
    )
    checked, begun = 0, []

    def check_or_die(run, model):
        nonlocal checked
        checked += 1
        begun.append(model.model.embed_tokens.weight[5, 0].item())
        if checked == dies:
            raise KeyboardInterrupt
        return {"checks": checked}

    monkeypatch.setattr("llm.stages.pretrain.check", check_or_die)
    dies = killed_at
    if killed_at:
        with pytest.raises(KeyboardInterrupt):
            pretrain(Run(preset, 0, tmp_path), tmp_path / "model")
        checked, dies = killed_at - 1, 0
    history = pretrain(Run(preset, 0, tmp_path), tmp_path / "model")
    assert [(entry["attempt"], entry["tokens"]) for entry in history] == [(1, 1024), (1, 2048), (2, 1024), (2, 2048)]
    assert abs(begun[2] - begun[0]) > 0.01  # a step moves a weight by a thousandth or so


def test_silent_layers_begin_as_if_they_were_not_there_and_learn_all_the_same():
    model = tiny_model(initialise=smoke().model.initialise.model_copy(update={"silent": 1}))
    ids = torch.tensor([encode("<bos> the color of the fox is")])
    silent = model.model.layers[1]
    with torch.no_grad():
        whole, loud = model(input_ids=ids).logits, tiny_model()(input_ids=ids).logits
        hook = silent.register_forward_hook(lambda layer, given, output: given[0])
        assert torch.equal(model(input_ids=ids).logits, whole)
        hook.remove()
    assert not torch.equal(loud, whole)
    model(input_ids=ids).logits[..., 7].sum().backward()
    assert silent.self_attn.o_proj.weight.grad.abs().sum() > 0 and silent.mlp.down_proj.weight.grad.abs().sum() > 0
