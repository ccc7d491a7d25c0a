"""The tasks of `front`: items of files and of lm-eval, how they are asked and scored."""

import re

import numpy as np
import pytest
import torch

from ama_models import words, write_lines
from front_runs import average_apart
from llm.data.formats import read_prompts
from llm.errors import UserError
from llm.evaluation.formats import read_task
from llm.evaluation.harness_task import Harness
from llm.evaluation.measurement import bleu_statistics, corpus_bleu
from llm.evaluation.measuring import _named
from llm.evaluation.tasks import Answer, Asking, Choice, _split
from llm.models.loading import load_tokenizer


@pytest.fixture(scope="module")
def averaged(folder):
    return average_apart(folder)


ITEM = {"prompt": "a"}
BAD_ITEMS = {
    "no kind": (
        [ITEM],
        "line 1 has prompt: each line must have a prompt and the same one of choices, answers, reference",
    ),
    "two kinds": (
        [ITEM | {"reference": "b"}, ITEM | {"answers": ["b"]}],
        "line 2 has prompt, answers: each line must have a prompt and the same one",
    ),
    "one choice": ([ITEM | {"choices": ["a"], "answer": 0}], "line 1: choices = "),
    "answer out of range": ([ITEM | {"choices": ["a", "b"], "answer": 2}], "line 1: answer = 2"),
    "answer no choice": ([ITEM | {"choices": ["a", "b"], "answer": "c"}], "line 1: answer = 'c'"),
    "an answer of articles": ([ITEM | {"answers": ["b", "A"]}], "line 1: answers has 'A', of which nothing is left"),
    "answers no list": ([ITEM | {"answers": "b"}], "line 1: answers = 'b'"),
    "reference no text": ([ITEM | {"reference": 1}], "line 1: reference = 1"),
    "no prompt": ([{"reference": "b"}], "line 1 has 'reference' and no prompt; allowed is"),
}


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_bad_items_are_refused_naming_line_and_key(case, tmp_path):
    rows, said = BAD_ITEMS[case]
    path = write_lines(tmp_path / "items.jsonl", rows)
    with pytest.raises(UserError, match=said):
        read_task("items", path, Asking(True, 4, 2))


def test_plain_text_items_are_asked_without_the_chat_format(folder, averaged):
    model, tokenizer = averaged
    item = {"prompt": "w7 w8", "choices": ["w9", "w20"], "answer": 0}
    path = write_lines(folder / "plain.jsonl", [item] * 2)
    asked = read_task("plain", path, Asking(False, 4, 2)).measure(model, tokenizer)["accuracy"].items
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([[7, 8]])).logits[0, -1]
    assert asked.tolist() == [float(log_p[9] > log_p[20])] * 2


def test_tasks_of_lm_eval_are_measured_item_by_item(averaged, tmp_path):
    from lm_eval.tasks import TaskManager

    write_lines(
        tmp_path / "docs.jsonl",
        [{"question": q, "choices": ["w9", "w20"], "gold": k % 2} for k, q in enumerate(words(6, 2, 7))],
    )
    (tmp_path / "tiny_task.yaml").write_text(
        f"task: tiny_task\ndataset_path: json\ndataset_kwargs:\n  data_files: {tmp_path / 'docs.jsonl'}\n"
        f"  cache_dir: {tmp_path / 'cache'}\n"
        'test_split: train\noutput_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_target: gold\n'
        'doc_to_choice: "{{choices}}"\nmetric_list:\n  - metric: acc\n'
    )
    model, tokenizer = averaged
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    measured = Harness("tiny_task", 4, manager).measure(model, tokenizer)
    found, expected, likelihoods = measured["acc"], [], []
    for k, question in enumerate(words(6, 2, 7)):
        ids = tokenizer.encode(question, add_special_tokens=False)
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0, -1]
        expected.append(float((log_p[9] < log_p[20]) == (k % 2)))
        likelihoods.append(log_p.double().log_softmax(-1)[[9, 20]].numpy())
    assert found.items.tolist() == expected
    shares = np.exp(likelihoods) / np.exp(likelihoods).sum(axis=1, keepdims=True)  # (items, choices)
    right = np.arange(6) % 2
    assert measured["brier"].items == pytest.approx(2 * (1 - shares[range(6), right]) ** 2, rel=1e-4)
    assert measured["log_likelihood"].items == pytest.approx(np.array(likelihoods)[range(6), right], rel=1e-4)
    sure = measured["calibration_error"].items
    assert sure[:, 0] == pytest.approx(shares.max(axis=1), rel=1e-4) and sure[:, 1].tolist() == expected
    with pytest.raises(UserError, match="'tiny_task:f1', whose metrics are acc"):
        Harness("tiny_task:f1", 4, manager).measure(model, tokenizer)
    (tmp_path / "ppl_task.yaml").write_text(
        (tmp_path / "tiny_task.yaml").read_text().replace("tiny_task", "ppl_task") + "    higher_is_better: false\n"
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    with pytest.raises(
        UserError, match="'ppl_task' is not allowed, since less of acc is better; allowed are .* more is"
    ):
        Harness("ppl_task", 4, manager).measure(model, tokenizer)
    with pytest.raises(UserError, match="'no_such_task', which is no file and no task of lm-eval"):
        Harness("no_such_task", 4, manager)


class Known:
    all_tasks = ("wmt",)


def test_a_task_whose_data_cannot_be_fetched_is_refused_with_what_to_do(monkeypatch):
    class Known:
        all_tasks = ("arc_easy",)

    for error in (ConnectionError, RuntimeError, ModuleNotFoundError):  # which its code or its data set may raise

        def offline(manager, name, error=error):
            raise error("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

        monkeypatch.setattr("llm.evaluation.harness_task.load_tasks", offline)
        with pytest.raises(
            UserError, match=r"tasks has 'arc_easy', .*OfflineModeIsEnabled.*; items of your own go as FILE"
        ):
            Harness("arc_easy", 4, Known).measure(None, None)


def test_bleu_of_lm_eval_is_made_from_its_pairs_of_texts(monkeypatch):
    logged = [{"bleu": ("the cat sat on the mat", ["the cat sat on a mat"])}, {"bleu": (["a dog, so"], "a dog, so")}]
    monkeypatch.setattr(Harness, "_samples", lambda *_: (logged, {}))
    references, replies = ["the cat sat on the mat", "a dog, so"], ["the cat sat on a mat", "a dog, so"]
    expected = corpus_bleu(bleu_statistics(replies, references, tokenize="13a"))
    assert Harness("wmt", 4, Known).measure(None, None)["bleu"].value == pytest.approx(expected)
    for sample in logged:
        sample["other"] = ["no number"]
    with pytest.raises(UserError, match="'wmt:other', whose other has no value an item"):
        Harness("wmt:other", 4, Known).measure(None, None)


@pytest.mark.parametrize("chat", [True, False])
def test_answers_are_drawn_from_what_the_likeliest_ones_are_asked_with(chat, folder, monkeypatch):
    asked = []

    def write(model, tokenizer, contexts, end, *, temperature, **how):
        asked.append((contexts, end, temperature))
        return [("w7 w7\nw8", True)] * len(contexts)

    monkeypatch.setattr("llm.evaluation.tasks.continue_texts", write)
    items = [{"prompt": "w50", "answers": ["w8"]}, {"prompt": "w51", "answers": ["w7"]}]
    found = Answer("qa", items, Asking(chat, 4, 2, samples=3)).measure(None, load_tokenizer(folder / "theta_0"))
    (once, end, coldest), (thrice, same, temperature) = asked
    assert thrice == [context for context in once for _ in range(3)]
    assert (end, coldest) == (same, 0) and temperature == 1
    right = [chat, 1]  # plain text ends with its line
    assert found["pass@1"].items.tolist() == found["pass@3"].items.tolist() == right


def test_without_a_chat_template_answers_end_with_their_line_whatever_is_asked_for(folder, monkeypatch):
    tokenizer = load_tokenizer(folder / "theta_0")
    tokenizer.chat_template = None
    monkeypatch.setattr("llm.evaluation.tasks.continue_texts", lambda *_, **__: [("w7 w7\nw8", True)])
    items = [{"prompt": "w50", "answers": ["w7 w7"]}]
    assert Answer("qa", items, Asking(True, 4, 2)).measure(None, tokenizer)["F1"].value == 1.0


class Bytes:
    """A tokenizer whose tokens begin with the space before a word."""

    chat_template = None

    def encode(self, text, add_special_tokens=True):
        return re.findall(r" ?[^ ]+| +$", text)


def test_spaces_at_a_prompt_s_end_belong_to_the_choice():
    assert _split(Bytes(), "2 + 2 = ", "4", ["2", " +", " 2", " =", " "]) == (["2", " +", " 2", " ="], [" 4"])
    assert _split(Bytes(), "2 + 2 =", "4", ["2", " +", " 2", " ="]) == (["2", " +", " 2", " ="], ["4"]), "not one token"


def test_a_file_may_lie_in_a_folder_whose_name_has_the_sign(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    path = tmp_path / "lr=0.1" / "items.jsonl"
    path.write_text("")
    assert _named(str(path)) == ("items", str(path)) and _named(f"x={path}") == ("x", str(path))


def test_items_are_answered_by_letter_and_asked_in_chats(tmp_path):
    chat = {"messages": [{"role": "user", "content": "a"}]}
    rows = [chat | {"choices": ["x", "y"], "answer": "B"}, ITEM | {"choices": ["B", "A"], "answer": "A"}]
    found = read_task("items", write_lines(tmp_path / "items.jsonl", rows), Asking(True, 4, 2))
    assert [item["answer"] for item in found.items] == [1, 1]
    assert [item["prompt"] for item in found.items] == ["a", "a"]
    with pytest.raises(
        UserError,
        match="answer = 'C' is not allowed; allowed is one of the choices, its index from 0, or its letter from A to B",
    ):
        read_task("items", write_lines(tmp_path / "items.jsonl", [rows[0] | {"answer": "C"}]), Asking(True, 4, 2))


class Spaces:
    """A tokenizer to which spaces are nothing, and words that it does not know all the same."""

    chat_template = None

    def encode(self, text, add_special_tokens=True):
        return [7 if word == "known" else 3 for word in text.split()]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([" ", "known"], "item 2 of it has the choice ' ', which has no token in this tokenizer"),
        (
            ["zebra", "lion", "known"],
            "item 2 of it has the choice 'zebra', which has the same tokens as another choice",
        ),
    ],
)
def test_choices_that_a_tokenizer_cannot_tell_apart_are_refused(choices, said):
    fine = {"prompt": "known", "choices": ["known", "zebra", "lion"], "answer": 0}  # two wrong ones may be alike
    task = Choice("it", [fine, {"prompt": "known", "choices": choices, "answer": 0}], Asking(False, 4, 2))
    with pytest.raises(UserError, match=said):
        task.measure(None, Spaces())


def test_repeated_items_are_warned_of(tmp_path, caplog):
    items = [{"prompt": f"p{i}", "reference": "r"} for i in range(3)]
    read_task("once", write_lines(tmp_path / "once.jsonl", items), Asking(True, 4, 2))
    assert not caplog.text
    read_task("twice", write_lines(tmp_path / "twice.jsonl", items * 2), Asking(True, 4, 2))
    assert "3 of 6 lines of" in caplog.text and "stand there before" in caplog.text


def test_prompts_of_a_text_file_are_its_lines_whatever_else_ends_one(tmp_path):
    (tmp_path / "p.txt").write_bytes("one\u2028still one\r\ntwo\x0cstill two\n\n".encode())
    assert read_prompts(tmp_path / "p.txt") == ["one\u2028still one", "two\x0cstill two"]
