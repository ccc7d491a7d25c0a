"""Win rates by made-up rankers whose preferences are known, and PairRM's network against a plain computation."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DebertaV2Config, PreTrainedTokenizerFast

from averaging_models import command
from llm.errors import UserError
from llm.evaluation.benchmarks import pairrm
from llm.evaluation.benchmarks.pairrm import PairRM, preference, win_rate
from llm.evidence.rows import read_rows

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", pairrm.PROMPT, pairrm.FIRST, pairrm.SECOND]
TEXTS = st.lists(st.sampled_from(["", "yes", "yes no", "oh dear me"]), min_size=2, max_size=6)


@dataclass
class Longer:
    """Prefers the longer reply, and the first one by `bias` in log-odds."""

    bias: float = 0.0
    asked: list = field(default_factory=list)

    def prefer(self, prompts, first, second):
        self.asked.append((list(first), list(second)))
        return 1 / (1 + np.exp([len(b) - len(a) - self.bias for a, b in zip(first, second, strict=True)]))


def test_a_reply_wins_loses_or_ties():
    replies, rivals = ["four", "no", "same", "ab"], ["two", "yes", "same", "cd"]
    found = win_rate(Longer(), ["?"] * 4, replies, rivals)
    assert found.items.tolist() == [1, 0, 0.5, 0.5]
    assert (found.value, found.n) == (0.5, 4)
    assert found.stderr == pytest.approx(np.std([1, 0, 0.5, 0.5], ddof=1) / 2)


def test_both_orders_are_asked_so_a_liking_for_the_first_place_cancels():
    biased = Longer(bias=3.0)
    found = win_rate(biased, ["?"] * 3, ["four", "no", "ab"], ["two", "yes", "cd"])
    assert biased.asked == [(["four", "no", "ab"], ["two", "yes", "cd"]), (["two", "yes", "cd"], ["four", "no", "ab"])]
    assert found.items.tolist() == [1, 0, 0.5]


@given(TEXTS, st.randoms(use_true_random=False), st.floats(-3, 3))
def test_exchanging_the_models_exchanges_the_wins(replies, random, bias):
    rivals = random.sample(replies, len(replies))
    prompts = ["?"] * len(replies)
    forth, back = (preference(Longer(bias), prompts, *pair) for pair in ((replies, rivals), (rivals, replies)))
    assert (forth + back == 1).all()
    assert ((forth >= 0) & (forth <= 1)).all()
    won, lost = (win_rate(Longer(bias), prompts, *pair).value for pair in ((replies, rivals), (rivals, replies)))
    assert won + lost == pytest.approx(1)
    assert win_rate(Longer(bias), prompts, replies, replies).value == 0.5


def test_each_prompt_needs_a_reply_of_both():
    with pytest.raises(UserError, match="there are 2 prompts, 2 replies and 1 rivals; each prompt needs one of each"):
        win_rate(Longer(), ["a", "b"], ["a", "b"], ["a"])


def words_tokenizer(special=SPECIAL):
    words = {word: i for i, word in enumerate([*special, *(f"w{i}" for i in range(30))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        extra_special_tokens=special[4:],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random PairRM, laid out as llm-blender/PairRM-hf is."""
    from llm.evaluation.benchmarks.pairrm_model import PairRM as Network

    path = tmp_path_factory.mktemp("pairrm")
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 64, "relative_attention": True}
    marks = {"source_prefix_id": 4, "cand1_prefix_id": 5, "cand2_prefix_id": 6, "pad_token_id": 0}
    config = DebertaV2Config(**sizes, pos_att_type=["c2p", "p2c"], n_tasks=2, drop_out=0.05, **marks)
    torch.manual_seed(0)
    network = Network(config)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "LayerNorm" not in name:
                tensor.normal_(0, 0.4)
    network.save_pretrained(path)
    words_tokenizer().save_pretrained(path)
    return path


def alone(folder, prompt, first, second):
    """P(first better) of one comparison, from the parts of the network, in a row of its own."""
    from transformers import DebertaV2Model

    from llm.evaluation.benchmarks.pairrm_model import PairRM as Network

    network = Network.from_pretrained(folder).eval()
    weights = network.state_dict()
    body = DebertaV2Model(network.config).eval()
    body.load_state_dict({k.removeprefix("pretrained_model."): v for k, v in weights.items() if "pretrained" in k})
    ids = [1, 4, *prompt, 2, 1, 5, *first, 2, 1, 6, *second, 2]
    with torch.no_grad():
        states = body(torch.tensor([ids])).last_hidden_state[0]
    prompt_state, *replies = (states[ids.index(mark)] for mark in (4, 5, 6))

    def score(reply):
        inner = torch.tanh(
            weights["head_layer.1.weight"] @ torch.cat([prompt_state, reply]) + weights["head_layer.1.bias"]
        )
        return (weights["head_layer.4.weight"] @ inner + weights["head_layer.4.bias"]).mean()

    return torch.sigmoid(score(replies[0]) - score(replies[1])).item()


def test_pairrm_scores_replies_by_their_marks_and_the_prompts(folder):
    rng = np.random.default_rng(1)
    texts = [[rng.integers(0, 30, rng.integers(1, 9)).tolist() for _ in range(3)] for _ in range(5)]
    said = [[" " + " ".join(f"w{word}" for word in words) for words in column] for column in zip(*texts, strict=True)]
    expected = [alone(folder, *([word + len(SPECIAL) for word in words] for words in row)) for row in texts]
    found = PairRM(str(folder), batch=2, device="cpu").prefer(*said)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.ptp(found) > 0.05


def test_marks_within_a_text_and_long_texts_do_no_harm(folder, monkeypatch):
    ranker = PairRM(str(folder), device="cpu")
    plain = ranker._comparison(" w1", f" w2 {pairrm.FIRST} w3", " w4")
    assert [plain.ids[place] for place in plain.marks] == [4, 5, 6]
    assert plain.marks == (1, 5, 11)
    monkeypatch.setattr(pairrm, "WHOLE", 24)
    monkeypatch.setattr(pairrm, "PROMPT_AT_MOST", 10)
    cut = ranker._comparison(" w1" * 50, " w2" * 50, " w3")
    assert cut.marks == (1, 11, 18)
    assert cut.ids[:10] == [1, 4, *[8] * 7, 2] and cut.ids[10:17] == [1, 5, *[9] * 4, 2]


def test_a_batch_of_no_pair_is_refused():
    with pytest.raises(UserError, match=r"batch = 0 is not allowed; allowed are whole numbers from 1\."):
        pairrm.PairRM(batch=0)


def test_a_ranker_that_is_not_there_or_is_another_model_is_refused(folder, tmp_path):
    asked = (["?"], ["a"], ["b"])
    with pytest.raises(
        UserError, match=f"ranker is .*nowhere.*which is no PairRM .* give a folder that holds {pairrm.PAIRRM}"
    ):
        PairRM(str(tmp_path / "nowhere"), device="cpu").prefer(*asked)
    from llm.evaluation.benchmarks.pairrm_model import PairRM as Network

    network = Network.from_pretrained(folder)
    del network.head_layer[4]
    network.save_pretrained(tmp_path / "headless")
    words_tokenizer().save_pretrained(tmp_path / "headless")
    with pytest.raises(UserError, match="headless.*which lacks head_layer.4.bias"):
        PairRM(str(tmp_path / "headless"), device="cpu").prefer(*asked)
    Network.from_pretrained(folder).save_pretrained(tmp_path / "unmarked")
    words_tokenizer(SPECIAL[:4]).save_pretrained(tmp_path / "unmarked")
    with pytest.raises(UserError, match=r"unmarked.*which lacks <\|source\|>"):
        PairRM(str(tmp_path / "unmarked"), device="cpu").prefer(*asked)


def test_the_command_compares_two_files_of_outputs(folder, tmp_path, monkeypatch, capsys):
    for name, replies in (("one", ["w1 w2", "w3", "w9"]), ("two", ["w4", "w3", "w5 w6 w7"])):
        rows = [{"instruction": f"w{k}", "output": reply, "generator": name} for k, reply in enumerate(replies)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    values = []
    for pair in (("one", "two"), ("two", "one")):
        files, to = [tmp_path / f"{name}.json" for name in pair], tmp_path / f"{pair[0]}.jsonl"
        options = ("--ranker", folder, "--to", to, "--device", "cpu", "--rlhf", "dpo")
        assert command(monkeypatch, "win-rate", *files, *options) == 0
        (row,) = read_rows(to).to_dict("records")
        assert (row["preset"], row["metric"], row["n"], row["rlhf"]) == (pair[0], "win_rate", 3, "dpo")
        assert row["setting"] == {"ranker": folder.name, "rival": pair[1]}
        values.append(row["value"])
    assert sum(values) == pytest.approx(1)
    assert command(monkeypatch, "win-rate", *files, "--ranker", folder, "--to", to) == 2
    assert "which exists; give a new file" in capsys.readouterr().err
