"""D_theta: what is read, selected, tokenised and sampled."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ama_models import TEMPLATE, save_models, words, write_lines
from averaging_models import save_tokenizer
from llm.averaging.ama.samples import Sample, batches, draw_samples, note_on_keeping, read_samples, select, tokenise
from llm.errors import UserError
from llm.models.batches import Tokens, pad_replies
from llm.models.chat import encode_together, end_id, prompt_ids
from llm.models.generate import forward
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.scorers import ModelScorer

QUESTION = {"role": "user", "content": "w7 w8"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    save_models(path)
    return path


@pytest.fixture
def tokenizer(tmp_path):
    def made(template):
        save_tokenizer(tmp_path, template=template)
        return AutoTokenizer.from_pretrained(tmp_path)

    return made


def test_replies_end_with_the_chat_templates_own_end_token(tokenizer):
    chat = tokenizer(TEMPLATE)
    replies = [("w7 w8", "w9", True), ([QUESTION], "w9", False)]
    assert encode_together(chat, replies) == [Tokens([5, 7, 8, 6], [9, 1]), Tokens([5, 7, 8, 6], [9])]
    assert end_id(chat) == 1
    other = tokenizer(TEMPLATE.replace("w1 {% endif", "w0 w9 {% endif"))
    assert end_id(other) == 0
    assert encode_together(other, replies)[0].reply == [9, 0]


def test_without_a_chat_template_the_prompt_is_plain_text(tokenizer):
    plain = tokenizer(TEMPLATE)
    plain.chat_template = None
    assert encode_together(plain, [("w7 w8", "w9", True)]) == [Tokens([7, 8], [9, 1])]


def test_labels_are_the_reply_only_and_padding_is_masked():
    found = pad_replies([Tokens([5, 7, 6], [9, 1]), Tokens([5, 6], [8])], 2).labelled()
    assert found["input_ids"].tolist() == [[5, 7, 6, 9, 1], [5, 6, 8, 2, 2]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert found["labels"].tolist() == [[-100, -100, -100, 9, 1], [-100, -100, 8, -100, -100]]


def test_long_replies_are_cut_and_long_prompts_left_out(tokenizer):
    samples = [Sample([QUESTION, {"role": "assistant", "content": "w9 w20 w21"}]) for _ in range(2)]
    samples[1].messages[0] = {"role": "user", "content": "w7 w7 w7 w7 w7"}
    assert tokenise(samples, tokenizer(TEMPLATE), 6) == ([Tokens([5, 7, 8, 6], [9, 20])], 1)
    with pytest.raises(UserError, match="max-length is 3, which leaves no sample a reply"):
        tokenise(samples, tokenizer(TEMPLATE), 3)


def test_both_forms_of_lines_are_read_and_line_separators_within_texts_kept(tmp_path):
    messages = [QUESTION, {"role": "assistant", "content": "a\u2028b"}]
    path = tmp_path / "samples.jsonl"
    rows = [{"messages": messages, "reward": 1}, {"prompt": "w7 w8", "reply": "c", "reward": 0.5, "finished": False}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    first, second = read_samples(path)
    assert first == Sample(messages, 1, True)
    assert second == Sample([QUESTION, {"role": "assistant", "content": "c"}], 0.5, False)


FINE = {"prompt": "a", "reply": "b"}
BAD_LINES = {
    "no JSON": ("{", "line 1 is no JSON"),
    "no object": ("[1]", r"line 1 holds \[1\]; allowed is one JSON object a line, as {"),
    "no lines": ("\n", "holds no lines"),
    "no reply": ({"prompt": "a"}, "reply = None is not allowed; allowed is a text"),
    "reward is a text": (FINE | {"reward": "high"}, "reward = 'high' is not allowed; allowed are finite numbers"),
    "reward is NaN": (FINE | {"reward": float("nan")}, "reward = nan is not allowed; allowed are finite numbers"),
    "finished is a number": (FINE | {"finished": 1}, "finished = 1 is not allowed; allowed are true and false"),
    "no list of messages": ({"messages": "a"}, "messages = 'a' is not allowed; allowed is a list of messages"),
    "unknown role": ({"messages": [{"role": "bot", "content": "a"}]}, "allowed roles are system, user, assistant"),
    "ends with a user": ({"messages": [QUESTION, QUESTION]}, "must end with a prompt and the assistant's reply"),
    "no content": ({"messages": [{"role": "user"}]}, "content = None is not allowed; allowed is a text"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_samples_are_refused_naming_file_line_and_key(tmp_path, case):
    row, said = BAD_LINES[case]
    path = tmp_path / "samples.jsonl"
    path.write_text(row if isinstance(row, str) else json.dumps(row))
    with pytest.raises(UserError, match=rf"samples\.jsonl.*{said}"):
        read_samples(path)


def test_rewards_are_given_to_all_samples_or_none(tmp_path):
    path = write_lines(tmp_path / "samples.jsonl", [FINE | {"reward": 1}, FINE])
    with pytest.raises(UserError, match="sample 2 has no reward, but others have"):
        read_samples(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_samples_drawn_are_of_the_best_and_depend_on_the_seed(rewards, keep, draw):
    samples = [Sample([QUESTION], reward) for reward in rewards]
    found = select(samples, keep, draw, np.random.default_rng(0))
    assert len(found) == min(keep, draw, len(samples))
    floor = sorted(rewards, reverse=True)[min(keep, len(samples)) - 1]
    assert all(sample.reward >= floor for sample in found)
    assert found == select(samples, keep, draw, np.random.default_rng(0))
    told = note_on_keeping(samples, keep)
    assert bool(told) == (keep >= len(samples)) and all("their rewards decide nothing" in one for one in told)


def test_another_seed_draws_other_samples():
    samples = [Sample([QUESTION], float(k)) for k in range(100)]
    first, second = ([s.reward for s in select(samples, 50, 10, np.random.default_rng(k))] for k in (0, 1))
    assert first != second


def test_batches_take_every_sample_once_an_epoch_and_do_not_depend_on_where_one_starts():
    samples = [Tokens([5], [k]) for k in range(10)]
    whole = [b["input_ids"][:, 1].tolist() for b in batches(samples, 4, 10, np.random.default_rng(0), 2)]
    later = [b["input_ids"][:, 1].tolist() for b in batches(samples, 4, 10, np.random.default_rng(0), 2, first=6)]
    other = [b["input_ids"][:, 1].tolist() for b in batches(samples, 4, 10, np.random.default_rng(1), 2)]
    assert whole[6:] == later
    assert whole != other
    flat = sum(whole, [])
    assert [sorted(flat[start : start + 10]) for start in range(0, 40, 10)] == [list(range(10))] * 4


def draw(folder, out, seed=0, stop_after=None):
    model, tokenizer = load_model(folder / "theta"), load_tokenizer(folder / "theta")
    scorer = ModelScorer(load_reward_model(folder / "reward"), load_tokenizer(folder / "reward"), 4)

    def progress(done, total):
        assert total == 15
        if done == stop_after:
            raise KeyboardInterrupt

    how = {"samples": 3, "tokens": 6, "temperature": 1.0, "seed": seed, "batch": 4}
    draw_samples(model, tokenizer, scorer, words(5, 3, 0), out, **how, progress=progress)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_sampling_goes_on_after_a_stop_and_gives_the_same_samples(folder, tmp_path):
    whole = draw(folder, tmp_path / "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        draw(folder, tmp_path / "stopped.jsonl", stop_after=8)
    assert not (tmp_path / "stopped.jsonl").exists()
    partial = tmp_path / ".stopped.jsonl.partial"
    assert len(partial.read_text().splitlines()) == 8
    with partial.open("a") as file:
        file.write('\0\0\0\n{"prompt": "cut off in the mid')  # zeros: of a disk that lost its power
    assert draw(folder, tmp_path / "stopped.jsonl") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.jsonl", "whole.jsonl"]
    assert [row["prompt"] for row in whole] == [prompt for prompt in words(5, 3, 0) for _ in range(3)]
    assert draw(folder, tmp_path / "other.jsonl", seed=1) != whole


def test_stored_rewards_are_the_reward_models_own_for_each_conversation_alone(folder, tmp_path):
    rows = draw(folder, tmp_path / "samples.jsonl")
    model, tokenizer = load_reward_model(folder / "reward"), load_tokenizer(folder / "reward")
    for row in rows[:4]:
        text = f"w5 {row['prompt']} w6 {row['reply']}" + " w1" * row["finished"]
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        assert row["reward"] == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-5)
    assert len({row["reward"] for row in rows}) > 5


def test_a_folder_without_a_scoring_head_is_no_reward_model(folder):
    with pytest.raises(UserError, match="a LlamaForCausalLM; allowed are sequence classifiers"):
        load_reward_model(folder / "theta")


class Plain(torch.nn.Module):
    """A model that knows neither positions nor how many logits are wanted."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, use_cache=False, past_key_values=None):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, past_key_values=past_key_values
        )


def test_models_are_only_given_arguments_that_they_know(folder):
    model = load_model(folder / "theta")
    ids = torch.tensor([[5, 7, 8, 6]])
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": torch.arange(4)[None]}
    with torch.no_grad():
        whole = model(**asked).logits
        for one in (model, Plain(model)):
            logits, _ = forward(one, 2, **asked, use_cache=False)
            torch.testing.assert_close(logits, whole[:, -2:])


def test_the_ids_of_a_prompt_are_those_of_the_template(folder):
    assert prompt_ids(load_tokenizer(folder / "theta"), [QUESTION]) == [5, 7, 8, 6]
