"""Sampling against transformers' own generation, and what must not change a reply."""

from collections import Counter

import numpy as np
import pytest
import torch
import transformers
from scipy import stats
from transformers import LlamaConfig, LlamaForCausalLM

from llm.data.microcosm.tokenizer import build_tokenizer
from llm.models import generate as module
from llm.models import kv_cache as decode
from llm.models.batches import left_pad, positions
from llm.models.chat import continue_texts
from llm.models.generate import generate
from llm.models.likelihood import log_likelihoods
from microcosm_runs import tiny_model

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


@pytest.fixture(params=["continuous", "general"])
def way(request, monkeypatch):
    """Both ways of writing: the one for models like this, and the one for any model."""
    if request.param == "general":
        monkeypatch.setattr(module, "is_supported", lambda model: False)
    return request.param


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


def test_greedy_replies_are_those_of_transformers(model, end, way):
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


def test_who_is_written_together_changes_nothing(model, end, way):
    alone = [write(model, [prompt], end)[0] for prompt in PROMPTS]
    assert write(model, PROMPTS, end) == alone
    assert write(model, PROMPTS, end, batch_size=5) == alone


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_both_ways_write_the_same_replies_and_draw_as_many_numbers(model, end, temperature, monkeypatch):
    """However many are written side by side and whenever finished ones are replaced."""
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    replies, states = [], []
    for supported, slots, refill in ((False, 0, 0), (True, 100, 1), (True, 5, 1), (True, 7, 4), (True, 1, 16)):
        monkeypatch.setattr(module, "is_supported", lambda model, supported=supported: supported)
        monkeypatch.setattr(module, "SLOTS", slots)
        monkeypatch.setattr(module, "REFILL", refill)
        rng = torch.Generator().manual_seed(7)
        replies.append(write(model, prompts, end, temperature, rng=rng, batch_size=20))
        states.append(rng.get_state().tolist())
    assert all(other == replies[0] for other in replies)
    assert all(other == states[0] for other in states)
    assert len({tuple(reply.ids) for reply in replies[0]}) > (len(PROMPTS) if temperature else 5)


def test_prompts_are_read_and_continued_as_by_the_model_itself(model):
    """Logits of every step, of texts of different lengths side by side."""
    prompts = sorted(map(tuple, PROMPTS), key=len)
    memory, last = decode.read(model.model, prompts)
    logits, room = model.lm_head(last), memory.room_for(len(prompts), 20)
    room.put(torch.arange(len(prompts)), memory, torch.arange(len(prompts)))
    texts = [list(prompt) for prompt in prompts]
    for token in (11, 300, 7):
        for text, row in zip(texts, logits, strict=True):
            torch.testing.assert_close(row, model(torch.tensor([text])).logits[0, -1], rtol=1e-4, atol=1e-4)
            text.append(token)
        logits = decode.read_on(model, room, torch.full((len(prompts),), token))
        room.lengths += 1
    kept = room.keep(torch.tensor([3, 8]))
    again = decode.read_on(model, kept, torch.tensor([9, 9]))
    for text, row in zip((texts[3], texts[8]), again, strict=True):
        torch.testing.assert_close(row, model(torch.tensor([[*text, 9]])).logits[0, -1], rtol=1e-4, atol=1e-4)


def grouped(**changes):
    """Four heads that share the keys and values of two."""
    settings = {"vocab_size": 600, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**settings | changes)).eval()


def test_heads_that_share_keys_and_values_are_read_on_as_transformers_does():
    model = grouped()
    assert decode.is_supported(model)
    texts = sorted((tuple(prompt) for prompt in PROMPTS), key=len)
    known, _ = decode.read(model.model, texts)
    memory = known.room_for(len(texts), int(known.lengths.max()) + 1)
    memory.put(torch.arange(len(texts)), known, torch.arange(len(texts)))
    for text, row in zip(texts, decode.read_on(model, memory, torch.full((len(texts),), 9)), strict=True):
        torch.testing.assert_close(row, model(torch.tensor([[*text, 9]])).logits[0, -1], rtol=1e-4, atol=1e-4)


def test_other_models_are_written_with_in_the_general_way(model):
    assert decode.is_supported(model)
    stretched = grouped(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    assert not decode.is_supported(stretched)
    replies = write(stretched, PROMPTS[:2], end_id=-1, max_new_tokens=3)
    assert [len(reply.ids) for reply in replies] == [3, 3]


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_dropping_finished_rows_changes_nothing(model, end, temperature, monkeypatch):
    monkeypatch.setattr(module, "is_supported", lambda model: False)

    def rows_and_replies(compact_below):
        rows = []
        hook = model.register_forward_pre_hook(
            lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
        )
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


def test_replies_come_in_the_order_of_their_prompts(model, end, way):
    backwards = write(model, PROMPTS[::-1], end)
    assert backwards[::-1] == write(model, PROMPTS, end)


def test_the_same_seed_gives_the_same_replies_and_another_seed_others(model, way):
    first, again, other = (write(model, PROMPTS, end_id=-1, temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert all(one.ids != two.ids for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_tokens_are_sampled_with_the_softmaxs_probabilities(model, temperature, way):
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


def test_a_reply_that_is_cut_is_not_finished_and_an_end_at_once_is_an_empty_reply(model, way):
    first = write(model, PROMPTS[:1], end_id=-1, max_new_tokens=3)[0]
    assert (len(first.ids), first.finished) == (3, False)
    ended = write(model, PROMPTS[:1], end_id=first.ids[0], max_new_tokens=3)[0]
    assert (ended.ids, ended.finished) == ([], True)
    assert write(model, [], end_id=-1) == []


def test_several_tokens_may_end_a_reply(model, end, way):
    """The first of them does, and all that is written before it stays."""
    one = write(model, PROMPTS, end_id=-1)
    other = next(token for reply in one for token in reply.ids if token != end)
    for plain, reply in zip(one, write(model, PROMPTS, end_id={end, other}), strict=True):
        places = [place for place, token in enumerate(plain.ids) if token in (end, other)]
        assert reply.ids == plain.ids[: places[0] if places else None] and reply.finished == bool(places)


def test_a_text_ends_with_the_models_own_end_where_that_is_asked_for(model):
    tokenizer = build_tokenizer()
    first = write(model, PROMPTS[:1], end_id=-1)[0].ids
    settings = {"max_new_tokens": 12, "temperature": 0.0, "batch_size": 2}
    unknown = 10**6
    for configured in (first[3], [first[3], unknown]):
        model.generation_config.eos_token_id = configured
        ((whole, ended),) = continue_texts(model, tokenizer, PROMPTS[:1], unknown, **settings)
        ((short, finished),) = continue_texts(model, tokenizer, PROMPTS[:1], unknown, own_ends=True, **settings)
        end = min(first.index(one) for one in {first[3], tokenizer.eos_token_id} if one in first)
        assert not ended and finished and short == tokenizer.decode(first[:end]) and whole.startswith(short)


def test_sampling_without_a_generator_is_refused(model):
    with pytest.raises(ValueError, match="rng is None; a torch.Generator is required when temperature > 0"):
        write(model, PROMPTS, end_id=-1, temperature=1.0, rng=None)


def test_positions_count_real_tokens_only():
    ids, mask = left_pad([[5, 6], [7, 8, 9, 10]], pad_id=1)
    assert ids.tolist() == [[1, 1, 5, 6], [7, 8, 9, 10]]
    assert positions(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


SMALL = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 1}
FULL = SMALL | {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24}
OTHERS = {  # with a state instead of keys and values, or beside them, or with nothing kept at all
    "Mamba": SMALL | {"state_size": 4},
    "Mamba2": SMALL | {"state_size": 4, "num_heads": 4, "head_dim": 8, "expand": 2, "n_groups": 1, "chunk_size": 4},
    "Rwkv": SMALL | {"attention_hidden_size": 16, "context_length": 64, "rescale_every": 1},
    "RecurrentGemma": FULL | {"num_hidden_layers": 3, "lru_width": 16, "attention_window_size": 8},
    "Jamba": FULL
    | {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "mamba_d_state": 4,
        "use_mamba_kernels": False,
    },
    "Lfm2": FULL | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 24},
    "OpenAIGPT": {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "Mistral": FULL | {"sliding_window": 4},
}


@pytest.fixture(scope="module", params=OTHERS)
def other(request):
    """A tiny model of another architecture, and what it says to each of some prompts when it reads all anew for each token."""
    made = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, f"{request.param}Config")(**OTHERS[request.param])
    )
    with torch.no_grad():
        for parameter, seed in zip(made.parameters(), range(1000)):
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    made.config.rescale_every = 0
    prompts = [[4, 5, 6, 7, 8, 9, 10], [11, 12, 13], [14], [30, 31, 32], [20, 21], [40]]
    texts = [list(prompt) for prompt in prompts]
    with torch.no_grad():
        for text in texts:
            for _ in range(8):
                text.append(made.eval()(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].argmax().item())
    return made, prompts, [text[len(prompt) :] for text, prompt in zip(texts, prompts)]


def test_models_with_other_caches_say_what_they_say_without(other):
    """Side by side, some of them ending before others."""
    made, prompts, said = other
    end = Counter(token for reply in said for token in reply[1:5]).most_common(1)[0][0]
    exact = [reply[: reply.index(end)] if end in reply else reply for reply in said]
    for batch_size in (len(prompts), 1):
        found = write(made, prompts, end, max_new_tokens=8, batch_size=batch_size)
        assert [reply.ids for reply in found] == exact
        assert [reply.finished for reply in found] == [end in reply for reply in said]


def test_texts_of_models_with_other_caches_are_as_likely_together_as_alone(other):
    made, prompts, said = other
    pairs = [(prompt, reply[:n]) for n, (prompt, reply) in enumerate(zip(prompts, said), start=1)]
    exact = []
    for context, reply in pairs:
        with torch.no_grad():
            steps = made(input_ids=torch.tensor([context + reply]), use_cache=False).logits[0].double().log_softmax(-1)
        exact.append(sum(steps[len(context) - 1 + k, token].item() for k, token in enumerate(reply)))
    np.testing.assert_allclose(log_likelihoods(made, pairs, PAD, 4), exact, rtol=1e-4)
