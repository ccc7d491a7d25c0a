"""A preset on a GPU: what is refused without one, and that a GPU says what the processor says."""

import numpy as np
import pytest
import torch

from llm.config import load_preset
from llm.errors import UserError
from llm.models.batches import left_pad, pad_right
from llm.models.generate import generate
from llm.models.likelihood import divergences, log_likelihoods, reply_log_likelihoods, reply_log_probs, states_before
from llm.models.loading import load_model
from llm.models.reader import Reader
from llm.plan.report import costs, device_for, require_room, text
from llm.run import Run
from llm.stages.backend import LocalBackend
from llm.training.loop import token_loss
from smollm_runs import fetched_run

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
SHORT, LONG = [5, 6, 7], list(range(3, 10)) * 6


def test_models_of_the_other_presets_stay_on_the_processor(tmp_path):
    for name in ("microcosm", "smoke", "smollm2-135m"):
        assert Run(load_preset(name), 0, tmp_path).device == torch.device("cpu")


def test_without_a_gpu_a_preset_for_one_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match="device = 'gpu' of preset smollm2-135m-gpu is not allowed: .* no GPU .*; allowed is cpu$"
    ):
        Run(load_preset("smollm2-135m-gpu"), 0, tmp_path).device  # noqa: B018 (asking is what fails)


def test_it_is_planned_on_one_gpu_and_refused_where_there_is_none_or_too_small_a_one():
    preset = load_preset("smollm2-135m-gpu")
    planned = costs(preset, [])
    assert {cost.gpus for _, cost in planned} == {1}
    assert "GPU hours (by rough speeds of one GPU), peak memory on a GPU" in text(preset, planned, 1)
    require_room(preset, planned, device_for(preset, 1, 80.0, None))
    with pytest.raises(
        UserError, match="gpus = 0 is not allowed with preset = smollm2-135m-gpu, which is planned for 1; "
    ):
        require_room(preset, planned, device_for(preset, 0, 80.0, None))
    with pytest.raises(UserError, match="memory_gb = 2 is not allowed with preset = smollm2-135m-gpu"):
        require_room(preset, planned, device_for(preset, 1, 2.0, None))


def test_padded_ids_go_where_the_model_is():
    assert {part.device.type for part in left_pad([SHORT, LONG], 0, "meta")} == {"meta"}
    batch = pad_right([(SHORT, [0.0, 1.0, 1.0])], 0)
    assert {part.device.type for part in vars(batch.to("meta")).values()} == {"meta"}


@needs_a_gpu
def test_a_gpu_says_what_the_processor_says(tmp_path):
    run = fetched_run(tmp_path)
    LocalBackend(run).pretrain(shipped=None)
    here, there = (load_model(run.folder / "pretrained", device) for device in ("cpu", "cuda"))
    batch = pad_right([(SHORT + [8, 9], [0.0] * 3 + [1.0] * 2), (LONG, [0.0] * 40 + [1.0, 0.5])], 0)
    asked = [(LONG, [5, 6]), (LONG, [7]), (SHORT, [8]), (SHORT, [9, 4]), (SHORT, [3])]

    def differ(model) -> np.ndarray:
        """Between what the model says and what it would with another head on the same states."""
        states, _ = states_before(Reader(model), asked)
        return divergences(model, states, model, 2 * states)

    for say in (
        lambda model: token_loss(model, batch).detach().cpu(),
        lambda model: reply_log_probs(model, batch).detach().cpu(),
        lambda model: log_likelihoods(model, [(SHORT, [5]), (LONG, [6, 7])], 0, 2),
        lambda model: np.concatenate(reply_log_likelihoods(Reader(model), asked)),
        differ,
    ):
        np.testing.assert_allclose(say(there), say(here), rtol=1e-4, atol=1e-4)
    options = {"max_new_tokens": 8, "end_id": 2, "pad_id": 0, "temperature": 1.0}
    replies = [
        generate(model, [SHORT, LONG] * 8, rng=torch.Generator().manual_seed(1), **options) for model in (here, there)
    ]
    same = np.mean([mine == other for mine, other in zip(*replies)])
    assert same > 0.8  # a rounding may choose another token
