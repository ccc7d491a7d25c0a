"""Sampling against transformers' own generation, and what must not change a reply."""

from collections import Counter

import numpy as np
import pytest
import torch
from microcosm_runs import tiny_model
from scipy import stats

from llm import generate as module
from llm.generate import generate, left_pad, positions

PAD = 0
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(6, 590, int(length)).tolist() for length in RNG.integers(1, 15, 12)]


@pytest.fixture(scope="module")
def model():
    """With a head of random numbers, so that what comes next hardly depends on what was said last."""
    made = tiny_model(tied_embeddings=False)
    with torch.no_grad():
        made.lm_head.weight.normal_(0, 0.9, generator=torch.Generator().manual_seed(0))
    return made


@pytest.fixture(scope="module")
def end(model):
    """A token that the model says often enough to end some of the greedy replies."""
    said = [set(reply.ids) for reply in write(model, PROMPTS, end_id=-1)]
    counts = Counter(token for ids in said for token in ids)
    token, count = counts.most_common(1)[0]
    assert 3 <= count < len(PROMPTS)
    return token


def write(model, prompts, end_id, temperature=0.0, seed=0, **options):
    rng = torch.Generator().manual_seed(seed)
    options = {"max_new_tokens": 12, "pad_id": PAD, "temperature": temperature, "rng": rng} | options
    return generate(model, prompts, end_id=end_id, **options)


def test_greedy_replies_are_those_of_transformers(model, end):
    replies = write(model, PROMPTS, end)
    ids, mask = left_pad(PROMPTS, PAD)
    theirs = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=end, pad_token_id=PAD
    )
    for reply, row in zip(replies, theirs[:, ids.shape[1] :].tolist(), strict=True):
        expected = row[: row.index(end)] if end in row else row
        assert reply.ids == expected
        assert reply.finished == (end in row)
    assert {reply.finished for reply in replies} == {True, False}


def test_padding_on_the_left_changes_nothing(model, end):
    alone = [write(model, [prompt], end)[0] for prompt in PROMPTS]
    assert write(model, PROMPTS, end) == alone
    assert write(model, PROMPTS, end, batch_size=5) == alone


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_dropping_finished_rows_changes_nothing(model, end, temperature, monkeypatch):
    def rows_and_replies(compact_below):
        rows = []
        hook = model.register_forward_pre_hook(lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
        monkeypatch.setattr(module, "COMPACT_BELOW", compact_below)
        replies = write(model, PROMPTS, end, temperature)
        hook.remove()
        return rows, replies

    (always, first), (never, second), (default, third) = map(rows_and_replies, (1.1, 0.0, module.COMPACT_BELOW))
    assert first == second == third
    assert set(never) == {len(PROMPTS)}
    assert always == sorted(always, reverse=True)
    assert min(always) < len(PROMPTS)
    assert sum(always) <= sum(default) <= sum(never)


def test_replies_come_in_the_order_of_their_prompts(model, end):
    backwards = write(model, PROMPTS[::-1], end)
    assert backwards[::-1] == write(model, PROMPTS, end)


def test_the_same_seed_gives_the_same_replies_and_another_seed_others(model):
    first, again, other = (write(model, PROMPTS, end_id=-1, temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert all(one.ids != two.ids for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_tokens_are_sampled_with_the_softmaxs_probabilities(model, temperature):
    prompt, draws = PROMPTS[0], 3000
    replies = write(model, [prompt] * draws, end_id=-1, temperature=temperature, max_new_tokens=1, batch_size=draws)
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].double()
    expected = draws * torch.softmax(logits / temperature, dim=-1).numpy()
    counts = np.bincount([reply.ids[0] for reply in replies], minlength=len(expected))
    common = expected >= 5
    grouped = [np.append(values[common], values[~common].sum()) for values in (counts, expected)]
    assert common.sum() >= 4
    assert stats.chisquare(*grouped).pvalue > 1e-4


def test_a_reply_that_is_cut_is_not_finished_and_an_end_at_once_is_an_empty_reply(model):
    first = write(model, PROMPTS[:1], end_id=-1, max_new_tokens=3)[0]
    assert (len(first.ids), first.finished) == (3, False)
    ended = write(model, PROMPTS[:1], end_id=first.ids[0], max_new_tokens=3)[0]
    assert (ended.ids, ended.finished) == ([], True)
    assert write(model, [], end_id=-1) == []


def test_sampling_without_a_generator_is_refused(model):
    with pytest.raises(ValueError, match="rng is None; a torch.Generator is required when temperature > 0"):
        write(model, PROMPTS, end_id=-1, temperature=1.0, rng=None)


def test_positions_count_real_tokens_only():
    ids, mask = left_pad([[5, 6], [7, 8, 9, 10]], pad_id=1)
    assert ids.tolist() == [[1, 1, 5, 6], [7, 8, 9, 10]]
    assert positions(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
