"""Instruction tuning, reward models and DPO: they learn, a killed run ends the same, and what they leave is an ordinary model folder."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llm.config.trainers import DpoSettings, Lora, RewardSettings, SftSettings
from llm.errors import UserError
from llm.models.batches import IGNORED, pad_right
from llm.models.chat import encode_marked, pair_ids, prompt_ids
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.training.distributed import states as states_module
from llm.training.distributed import trainers
from llm.training.distributed.loop import Learner
from llm.training.distributed.models import Start, load_trained
from llm.training.distributed.rows import Lines, mapped
from llm.training.distributed.states import States
from llm.training.distributed.trainers import blocks, dpo, reward, sft
from llm.training.loop import token_loss
from llm.training.rlhf.preferences import bradley_terry
from trainer_models import CONVERSATIONS, PAIRS, descent, hardware, same, save_model, tokenizer, weights

SFT = SftSettings(block=40, loss_on="all", descent=descent(), lora=None)
REWARD = RewardSettings(length=100, descent=descent(epochs=6, lr=1e-2), lora=None)
DPO = DpoSettings(beta=0.5, length=100, iterations=2, descent=descent(epochs=6), lora=None)
LORA = Lora(rank=4, lora_alpha=8.0, dropout=0.0, targets="mlp+attention")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return Start(save_model(tmp_path_factory.mktemp("llama") / "model"), seed=0)


def test_a_conversation_is_the_pieces_that_sampling_makes():
    words, (first, second, third, last) = tokenizer(), CONVERSATIONS[0]
    ids, in_reply = encode_marked(words, CONVERSATIONS[0])
    assert words.decode(ids) == "<u>How are you?</s><a>Well.</s><u>Why?</s><a>It is sunny.</s>"
    assert words.decode([i for i, learned in zip(ids, in_reply) if learned]) == "Well.</s>It is sunny.</s>"
    asked = prompt_ids(words, [first, second, third])
    assert ids[: len(asked)] == asked
    row = pair_ids(words, {"prompt": [first, second, third], "chosen": last["content"], "rejected": "No."})
    assert row["prompt_ids"] + row["chosen_ids"] == ids


def test_blocks_lay_conversations_end_to_end_and_lose_nothing():
    words = tokenizer()
    stream = [token for talk in CONVERSATIONS for token in encode_marked(words, talk)[0]]
    for loss_on in ("all", "replies"):
        rows = list(blocks(words, CONVERSATIONS, 20, loss_on))
        assert [token for row in rows for token in row["input_ids"]] == stream
        assert {len(row["input_ids"]) for row in rows[:-1]} == {20}
        counted = [label for row in rows for label in row["labels"] if label != IGNORED]
        if loss_on == "all":
            assert counted == stream
        else:
            assert words.decode(counted) == "Well.</s>It is sunny.</s>Blue is one.</s>No, it is early.</s>Word.</s>"


def test_a_template_that_does_not_mark_replies_is_refused():
    words = tokenizer()
    words.chat_template = words.chat_template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    with pytest.raises(UserError, match="marks no replies"):
        encode_marked(words, CONVERSATIONS[0])


@pytest.mark.parametrize("kind", ["mistral", "gemma"])
def test_instruction_tuning_lowers_the_loss_of_every_class(tmp_path, kind):
    begin = Start(save_model(tmp_path / "model", kind), seed=0)
    losses = sft(begin, CONVERSATIONS, SFT, hardware(), tmp_path / "theta_0")
    assert len(losses) == 3 * 2 and losses[-1] < losses[0] - 0.5
    assert type(load_model(tmp_path / "theta_0")) is type(load_model(tmp_path / "model"))
    assert load_tokenizer(tmp_path / "theta_0").chat_template == tokenizer().chat_template
    assert not list(tmp_path.glob(".*"))


def test_the_first_loss_is_the_mean_over_the_tokens_of_the_global_batch(tmp_path, start):
    """However the batch is split, and whichever tokens are counted: blocks have different numbers of replies' tokens."""
    settings = SFT.model_copy(update={"loss_on": "replies", "descent": descent(batch=4, epochs=1)})
    rows = list(blocks(load_tokenizer(Path(start.model)), CONVERSATIONS, 40, "replies"))
    model = load_model(Path(start.model))
    examples = [(row["input_ids"], [float(label != IGNORED) for label in row["labels"]]) for row in rows]
    ours = token_loss(model, pad_right(examples, 0)).item()
    total = counted = 0
    for row in rows[:4]:
        labels = torch.tensor(row["labels"])[1:]
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
        counted += int((labels != IGNORED).sum())
    assert len(rows) == 4
    for per_device in (1, 2, 4):
        out = tmp_path / str(per_device)
        (loss,) = sft(start, CONVERSATIONS, settings, hardware(per_device_batch=per_device), out)
        assert loss == pytest.approx(total / counted, rel=1e-5) == ours


def test_the_first_loss_of_a_reward_model_is_ours_of_the_batch(tmp_path, start):
    settings = REWARD.model_copy(update={"descent": descent(batch=len(PAIRS), epochs=1)})
    (loss,) = reward(start, PAIRS, settings, hardware(per_device_batch=len(PAIRS)), tmp_path / "reward")
    model, words = load_trained(start, "reward", None)[0], tokenizer()
    rows = [pair_ids(words, pair) for pair in PAIRS]
    with torch.no_grad():
        chosen, rejected = (
            torch.cat([model(input_ids=torch.tensor([row["prompt_ids"] + row[side]])).logits[0] for row in rows])
            for side in ("chosen_ids", "rejected_ids")
        )
    assert loss == pytest.approx(bradley_terry(chosen - rejected).item(), rel=1e-4)
    assert (chosen - rejected).abs().max() > 1e-3


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_the_reward_model_learns_to_rank(tmp_path, start, lora):
    settings = REWARD.model_copy(update={"lora": lora})
    losses = reward(start, PAIRS, settings, hardware(per_device_batch=2, checkpointing=True), tmp_path / "reward")
    assert len(losses) == 12 and losses[-1] < 0.5 * losses[0]
    model, words = load_reward_model(tmp_path / "reward"), tokenizer()
    for row in (pair_ids(words, pair) for pair in PAIRS):
        better, worse = (
            model(input_ids=torch.tensor([row["prompt_ids"] + row[side]])).logits.item()
            for side in ("chosen_ids", "rejected_ids")
        )
        assert better > worse


def test_dpo_leaves_models_along_the_way_and_a_killed_run_ends_with_the_same(tmp_path, start, monkeypatch):
    monkeypatch.setattr(trainers, "PART", 3)  # of four pairs
    losses = dpo(start, PAIRS, DPO, hardware(), tmp_path / "whole")
    assert len(losses) == 12 and losses[0] == pytest.approx(0.6931, abs=1e-3) and losses[-1] < 0.3
    assert not same(tmp_path / "whole/iteration01", tmp_path / "whole/iteration02")
    out, replace = tmp_path / "killed", os.replace
    for name in ("reference00001.npy", "step00000010"):

        def killed(old, new, name=name):
            if Path(new).name == name:
                raise KeyboardInterrupt
            replace(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                dpo(start, PAIRS, DPO, hardware(), out)
    (folder,) = (tmp_path / ".killed.states").iterdir()
    left = {file.name for file in folder.iterdir()}
    assert left == {"reference00000.npy", "reference00001.npy", "step00000009", ".step00000010.partial"}
    assert (out / "iteration01/config.json").is_file() and not (out / "iteration02").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "outputs", None)  # theta_0 has read everything
        again = dpo(start, PAIRS, DPO, hardware(), out)
    assert again == losses
    assert all(same(tmp_path / "whole" / name, out / name) for name in ("iteration01", "iteration02"))
    assert not list(tmp_path.glob(".*"))


def test_states_of_another_run_are_not_gone_on_with(tmp_path):
    alone = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    made = [States.beside(alone, tmp_path / "out", name) for name in ("mine", "mine", "another's")]
    assert made[0] == made[1] != made[2]
    assert list((tmp_path / ".out.states").iterdir()) == [made[2].folder] and made[2].load() == []


def test_a_state_is_due_by_the_clock_and_not_again_before_as_much_time_has_passed(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(states_module, "time", clock)
    monkeypatch.setattr(states_module, "save_state", lambda *_: None)
    now = 1000.0
    states = States(SimpleNamespace(is_main_process=True), tmp_path, since=now)
    assert states.is_due(0) and not states.is_due(20)
    now += 20 * 60
    assert states.is_due(20)
    states.save([0.5])
    assert not states.is_due(20)


def test_rows_are_made_into_ids_once_for_all_who_map_them(tmp_path):
    """By several processes at a time, and again after a kill; anew for other rows, another tokenizer or other settings."""
    words, made = tokenizer(), tmp_path / "made"
    lines = Lines(tmp_path / "talks.jsonl", ("messages",))
    lines.file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in CONVERSATIONS))
    assert list(lines) == CONVERSATIONS

    def encode(talks):
        with made.open("a") as log:
            log.write("x")
        return blocks(words, talks, 20, "all")

    def ask(rows=lines, told=20, its=words):
        return mapped(rows, its, (told,), tmp_path / "theta_0", encode)

    children = []
    for _ in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            os._exit(0 if ask().rows.num_rows == len(list(blocks(words, CONVERSATIONS, 20, "all"))) else 1)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert ask().rows[:] == {
        key: [row[key] for row in blocks(words, CONVERSATIONS, 20, "all")] for key in ("input_ids", "labels")
    }
    assert ask().rows.cache_files and made.read_text() == "x"
    other = tokenizer()
    other.chat_template += " "
    names = {ask().name, ask(CONVERSATIONS[:2]).name, ask(told=21).name, ask(its=other).name}
    lines.file.write_text(lines.file.read_text() + "\n".join(lines.file.read_text().splitlines()[:1]) + "\n")
    assert len(names | {ask().name}) == 5 == len(made.read_text())
    lines.file.write_text(f'{lines.file.read_text().splitlines()[0]}\n{{"message": []}}\n')
    with pytest.raises(UserError, match="line 2 has the keys message; allowed are messages"):
        ask()
    assert not list(tmp_path.glob(".*"))


def test_what_is_saved_in_bf16_is_the_trained_model_rounded(tmp_path, start):
    settings = SFT.model_copy(update={"lora": LORA, "descent": descent(epochs=1)})
    sft(start, CONVERSATIONS, settings, hardware(dtype="bf16"), tmp_path / "theta_0")
    before, after = weights(start.model), weights(tmp_path / "theta_0")
    assert before.keys() == after.keys() and {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    changed = {key for key in before if not torch.equal(before[key].bfloat16(), after[key])}
    assert changed and all("_proj" in key for key in changed)


def test_bad_settings_are_one_sentence_each(tmp_path, start):
    def refusal(**changes):
        wanted = {"settings": SFT, "hardware": hardware(), "start": start, "rows": CONVERSATIONS} | changes
        with pytest.raises(UserError) as error:
            sft(wanted["start"], wanted["rows"], wanted["settings"], wanted["hardware"], tmp_path / "out")
        return str(error.value)

    assert "block = 256 tokens is not allowed: the model's context is 128" in refusal(
        settings=SFT.model_copy(update={"block": 256})
    )
    assert "processes = 2 is not allowed in a launch of 1" in refusal(hardware=hardware(launcher="fsdp", processes=2))
    assert "device = 'gpu' is not allowed" in refusal(hardware=hardware(device="gpu"))
    replies = SFT.model_copy(update={"loss_on": "replies"})
    assert "without any reply" in refusal(rows=[CONVERSATIONS[0][:1]], settings=replies)
    assert "is no folder with a config.json" in refusal(start=Start("/no/such/model", 0))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="iterations = 99 is not allowed; allowed are 1 to 12"):
        dpo(start, PAIRS, DPO.model_copy(update={"iterations": 99}), hardware(), tmp_path / "out")
    with pytest.raises(UserError, match="data has 0 rows that are short enough"):
        reward(start, PAIRS, REWARD.model_copy(update={"length": 5}), hardware(), tmp_path / "out")
