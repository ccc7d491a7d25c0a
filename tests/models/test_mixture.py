"""Two models' logits mixed: the ends are the models', and all that generates or scores takes the mixture as one model."""

import numpy as np
import pytest
import torch

from averaging_models import make
from llm.models import kv_cache
from llm.models.generate import forward, generate
from llm.models.likelihood import log_likelihoods, reply_log_likelihoods
from llm.models.mixture import LogitMixture
from llm.models.reader import Reader
from microcosm_runs import tiny_model

IDS = torch.tensor([[5, 9, 3, 7], [4, 8, 2, 6]])
PROMPTS = [[5, 9, 3], [7, 4], [8, 8, 2, 1, 6], [3]]


@pytest.fixture(scope="module")
def models():
    return tiny_model(0), tiny_model(1)


def next_logits(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("share", [0.0, 1.0, 0.3, 1.5, -0.5])
def test_logits_are_the_formula_and_at_the_ends_the_models_own(models, share):
    with torch.no_grad():
        own = [forward(model, 0, input_ids=IDS)[0] for model in models]
        mixed = forward(LogitMixture(*models, share), 0, input_ids=IDS)[0]
    if share in (0, 1):
        assert torch.equal(mixed, own[int(share)])
    else:
        torch.testing.assert_close(mixed, own[0] + share * (own[1] - own[0]), rtol=1e-4, atol=1e-4)
        assert not torch.equal(mixed, own[0]) and not torch.equal(mixed, own[1])


@pytest.mark.parametrize("share", [0.4, 1.5])
def test_the_likeliest_tokens_are_those_of_a_plain_loop(models, share):
    mixture = LogitMixture(*models, share)
    assert kv_cache.is_supported(mixture)
    replies = generate(mixture, PROMPTS, max_new_tokens=6, end_id=1, pad_id=0, temperature=0.0)
    for prompt, reply in zip(PROMPTS, replies, strict=True):
        ids = list(prompt)
        for _ in range(6):
            low, high = (next_logits(model, ids) for model in models)
            token = int(((1 - share) * low + share * high).argmax())
            if token == 1:
                break
            ids.append(token)
        assert reply.ids == ids[len(prompt) :]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_at_the_ends_it_writes_what_the_models_write(models, share, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr("llm.models.generate.is_supported", lambda model: False)
    how = {"max_new_tokens": 6, "end_id": 1, "pad_id": 0, "temperature": 1.0}
    written = [
        generate(model, PROMPTS, rng=torch.Generator().manual_seed(3), **how)
        for model in (LogitMixture(*models, share), models[int(share)])
    ]
    assert written[0] == written[1]


def test_continuous_batching_writes_what_the_plain_batch_does(models, monkeypatch):
    mixture, how = LogitMixture(*models, 0.6), {"max_new_tokens": 8, "end_id": 1, "pad_id": 0, "temperature": 1.0}
    monkeypatch.setattr("llm.models.generate.SLOTS", 2)  # so that prompts take the place of others
    monkeypatch.setattr("llm.models.generate.REFILL", 1)
    fast = generate(mixture, PROMPTS, rng=torch.Generator().manual_seed(4), **how)
    monkeypatch.setattr("llm.models.generate.is_supported", lambda model: False)
    assert fast == generate(mixture, PROMPTS, rng=torch.Generator().manual_seed(4), **how)


@pytest.mark.parametrize("length", [3, 40])
def test_likelihoods_are_those_of_the_mixed_logits(models, length):
    share, question = 0.7, [int(k) for k in np.random.default_rng(0).integers(2, 30, length)]
    choices = [[4, 5], [6], [7, 8, 9]]
    found = reply_log_likelihoods(Reader(LogitMixture(*models, share)), [(question, choice) for choice in choices])
    for choice, values in zip(choices, found, strict=True):
        ids, expected = torch.tensor([question + choice]), 0.0
        with torch.no_grad():
            low, high = (model(input_ids=ids).logits[0].double() for model in models)
        log_p = ((1 - share) * low + share * high).log_softmax(-1)
        for place, token in enumerate(choice):
            expected += log_p[len(question) + place - 1, token].item()
        assert values.sum() == pytest.approx(expected, rel=1e-4)
    for end in (0.0, 1.0):
        mixture = LogitMixture(*models, end)
        pairs = [(question, choice) for choice in choices]
        assert (log_likelihoods(mixture, pairs, 0, 8) == log_likelihoods(models[int(end)], pairs, 0, 8)).all()


def test_other_architectures_are_mixed_by_their_own_forward():
    pair = make("bloom", 0), make("bloom", 1)
    replies = generate(LogitMixture(*pair, 0.5), PROMPTS, max_new_tokens=4, end_id=1, pad_id=2, temperature=0.0)
    ids = list(PROMPTS[2])
    for token in replies[2].ids:
        low, high = (next_logits(model, ids) for model in pair)
        assert token == int((0.5 * low + 0.5 * high).argmax())
        ids.append(token)
