"""Prompts that are read once: what a model makes of continuations is what it makes of each whole text alone."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from llm.models import likelihood
from llm.models import reader as module
from llm.models.batches import Tokens
from llm.models.generate import generate
from llm.models.likelihood import divergences, reply_log_likelihoods, states_before
from llm.models.reader import Reader
from llm.models.rewards import head_outputs, reader_outputs

RNG = np.random.default_rng(0)


def ids(length: int) -> list[int]:
    return RNG.integers(1, 50, length).tolist()


TWICE = ids(7)
PAIRS = [(ids(context), ids(reply)) for context, reply in [(40, 5), (1, 1), (33, 9), (52, 1), (3, 2)]]
PAIRS += [(TWICE, ids(3)), (TWICE, ids(1)), (TWICE, ids(6))]


def made(kind=LlamaForCausalLM, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5}
    return kind(LlamaConfig(**sizes, **heads, **changes)).eval()


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture(scope="module", params=[1, 3, 64])
def together(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", request.param)
        patch.setattr(module, "TOKENS", 16 * request.param)
        patch.setattr(module, "PADDING", 4 * request.param)
        patch.setattr(module, "PACK", 3 * request.param)  # one continuation a row, two, or all of a prompt's
        patch.setattr(module, "ROOM", 2**13 * request.param)  # 128 bytes a token, so 64 of them and more
        yield request.param


def test_log_likelihoods_are_the_loss_of_transformers_on_each_text_alone(model, together):
    found = reply_log_likelihoods(Reader(model), PAIRS)
    for (context, reply), tokens in zip(PAIRS, found, strict=True):
        whole = torch.tensor([context + reply])
        labels = torch.tensor([[-100] * len(context) + reply])
        with torch.no_grad():
            loss = model(input_ids=whole, labels=labels).loss.item()
        assert len(tokens) == len(reply)
        assert -tokens.mean() == pytest.approx(loss, rel=1e-4, abs=1e-5)


def test_states_are_those_after_the_prompt_and_after_each_token(model, together):
    pairs = [*PAIRS, (ids(4), [])]
    found, counts = Reader(model).states(pairs)
    assert counts == [1 + len(reply) for _, reply in pairs]
    for (context, reply), states in zip(pairs, found.split(counts), strict=True):
        with torch.no_grad():
            whole = model.model(input_ids=torch.tensor([context + reply])).last_hidden_state[0, len(context) - 1 :]
        torch.testing.assert_close(states, whole, rtol=1e-3, atol=1e-4)


@pytest.fixture
def recorded(model, monkeypatch):
    """A function that gives a list of what `of` makes of the token ids of every forward pass from now on."""

    def record(of):
        found, forward = [], model.model.forward

        def counting(**given):
            found.append(of(given["input_ids"]))
            return forward(**given)

        monkeypatch.setattr(model.model, "forward", counting)
        return found

    return record


def test_a_prompt_is_read_once_whatever_comes_after_it(model, recorded):
    read = recorded(torch.Tensor.numel)
    reader, question = Reader(model), ids(30)
    reply_log_likelihoods(reader, [(question, ids(3)) for _ in range(4)])
    assert read == [30, 4 * 2]  # the last token of a reply is wanted, but nothing after it
    reply_log_likelihoods(reader, [(question, ids(2)), (question, ids(1))])
    assert read == [30, 4 * 2, 1]
    assert reader.learn([question, ids(5)]).unique().numel() == 2
    assert read == [30, 4 * 2, 1, 5]


def test_long_prompts_are_not_read_beside_short_ones(model, recorded, monkeypatch):
    read = recorded(lambda ids: tuple(ids.shape))
    monkeypatch.setattr(module, "PADDING", 9)
    lengths = [30, 4, 31, 7, 5, 40, 30]
    Reader(model).learn([ids(length) for length in lengths])
    assert read == [(3, 7), (3, 31), (1, 40)]  # 5 and 1 tokens of padding; 40 beside the others would make 29


def test_keys_and_values_that_are_copied_together_have_their_limit(model, recorded, monkeypatch):
    rows = recorded(len)
    each = 2 * 2 * 2 * 4 * 4 * 30  # keys and values of 2 layers with 2 heads of 4 numbers of 4 bytes
    monkeypatch.setattr(module, "ROOM", 3 * each)
    reply_log_likelihoods(Reader(model), [(ids(30), ids(3)) for _ in range(8)])
    assert rows == [8, 3, 3, 2]


def test_replies_are_written_alike_by_a_reader_that_knows_the_prompts(model):
    prompts = [context for context, _ in PAIRS]
    limits = {"max_new_tokens": 9, "end_id": 3, "pad_id": 0, "temperature": 1.0}
    fresh, known = (
        generate(model, prompts, **limits, rng=torch.Generator().manual_seed(1), reader=reader)
        for reader in (None, Reader(model))
    )
    assert known == fresh
    reader = Reader(model)
    reader.learn(prompts[:3])
    assert generate(model, prompts, **limits, rng=torch.Generator().manual_seed(1), reader=reader) == fresh


@pytest.mark.parametrize("most", [2**24, 150])
def test_divergences_are_sums_over_the_vocabulary(model, together, most, monkeypatch):
    monkeypatch.setattr(likelihood, "MOST_LOGITS", most)
    other = made(seed=1)
    states = [states_before(Reader(one), PAIRS)[0] for one in (model, other)]
    found = divergences(model, states[0], other, states[1])
    expected = []
    for context, reply in PAIRS:
        with torch.no_grad():
            logits = [one(torch.tensor([context + reply])).logits[0].double().numpy() for one in (model, other)]
        for place in range(len(context) - 1, len(context) + len(reply) - 1):
            p, q = (np.exp(rows[place]) / np.exp(rows[place]).sum() for rows in logits)
            expected.append(float((p * (np.log(p) - np.log(q))).sum()))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert found.min() > 0
    assert divergences(model, states[0], model, states[0]).tolist() == [0.0] * len(found)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_rewards_are_those_of_the_whole_texts(pooling, together):
    judge = made(LlamaForSequenceClassification, num_labels=2, reward_pooling=pooling)
    sequences = [Tokens(*pair) for pair in PAIRS]
    with torch.no_grad():
        expected = torch.cat([head_outputs(judge, [one], 0) for one in sequences])
    torch.testing.assert_close(reader_outputs(Reader(judge), sequences), expected, rtol=1e-3, atol=1e-4)
