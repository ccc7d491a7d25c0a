"""The paper's benchmarks by lm-eval: our evaluators, lm-eval, SQuAD's definition and sacrebleu agree on the same items."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sacrebleu
import torch

from averaging_models import command
from benchmark_models import CONTEXT, DATA, Told, save_llama, tiny_llama, tokenizer
from llm.data.benchmarks import BENCHMARKS
from llm.errors import UserError
from llm.evaluation.benchmarks import harness
from llm.evaluation.benchmarks.harness import OWN_TASKS, manager_for
from llm.evaluation.benchmarks.suite import SuiteSettings, load_suite
from llm.evaluation.measurement import bleu_statistics, corpus_bleu, f1
from llm.evidence.rows import read_rows
from llm.models.generate import generate
from llm.models.likelihood import log_likelihoods

CHOICES = ("arc_easy", "arc_challenge", "race", "piqa")
NUMBERS = {**dict.fromkeys(CHOICES, "acc"), "squad_v1_f1": "f1", "squad_v1_em": "exact_match", "drop": "f1"}
NUMBERS |= {"drop_em": "em", "wmt14-fr-en": "bleu"}
TOKENS = 12


def rows_of(task):
    return [json.loads(line) for line in (DATA / f"{task}.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def all_tasks():
    return load_suite(SuiteSettings(data=DATA, tokens=TOKENS))


@pytest.fixture(scope="module")
def llama():
    return harness.in_memory(tiny_llama(), tokenizer(), batch=5)


@pytest.fixture(scope="module")
def measured(all_tasks, llama):
    return all_tasks.measure(llama, np.random.default_rng(0))


def by_lm_eval(lm, all_tasks):
    """lm-eval's own results and samples."""
    from lm_eval import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISABLE_MULTIPROC", "1")
        return evaluate(lm=lm, task_dict={"tasks": all_tasks.tasks, "groups": {}}, bootstrap_iters=20)


@pytest.fixture(scope="module")
def theirs(all_tasks, llama):
    return by_lm_eval(llama, all_tasks)


def answer(doc):
    """To some rows the right answer, to others a part of it or another one, with words around it."""
    if "translation" in doc:
        said = doc["translation"]["en"]
        return said if "cat" in said else f"{said[: len(said) * 2 // 3]} , I think"
    right = doc["answers"]["text"][0] if isinstance(doc["answers"], dict) else " ".join(doc["answers"][0])
    return {0: f"The {right}!", 1: f"{right} it was", 2: "otters of 3 May"}[len(doc["question"]) % 3]


@pytest.fixture(scope="module")
def told():
    rng = np.random.default_rng(5)
    return Told(lambda text, rest: float(rng.normal()), answer)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_task_has_the_number_and_error_of_lm_eval(number, measured, theirs):
    task = {"squad_v1_em": "squad_v1_f1", "drop_em": "drop"}.get(number, number)
    expected = theirs["results"][task]
    assert measured[number].value == pytest.approx(expected[f"{NUMBERS[number]},none"], abs=1e-12)
    assert measured[number].n == len(rows_of(task))
    if number != "wmt14-fr-en":  # of which both errors are bootstrapped
        assert measured[number].stderr == pytest.approx(expected[f"{NUMBERS[number]}_stderr,none"], abs=1e-12)


def test_abilities_are_means_of_their_tasks_with_the_error_of_a_mean(measured):
    for ability, tasks in {"qa": CHOICES, "reading_f1": ("squad_v1_f1", "drop"), "bleu": ("wmt14-fr-en",)}.items():
        parts = [measured[task] for task in tasks]
        assert measured[ability].value == pytest.approx(np.mean([part.value for part in parts]))
        assert measured[ability].stderr == pytest.approx(np.linalg.norm([part.stderr for part in parts]) / len(parts))
        assert measured[ability].n == sum(part.n for part in parts)
    assert 0 < measured["qa"].value < 1 and measured["qa"].stderr > 0 and measured["bleu"].stderr > 0
    assert set(measured) == {*NUMBERS, "qa", "reading_f1", "bleu"}


def test_an_ability_with_a_task_missing_is_left_out(told):
    found = load_suite(SuiteSettings(("piqa", "arc_easy", "wmt14-fr-en"), data=DATA)).measure(
        told, np.random.default_rng(0)
    )
    assert set(found) == {"piqa", "arc_easy", "wmt14-fr-en", "bleu"}


def encoded(words, text, rest):
    """Token ids of a text and of what follows it, told apart as lm-eval does it."""
    whole, context = words.encode(text + rest), words.encode(text)
    return context, whole[len(context) :]


def test_our_log_likelihoods_choose_what_lm_eval_chooses(theirs, measured):
    words, model = tokenizer(), tiny_llama()
    for task in CHOICES:
        for sample, right in zip(theirs["samples"][task], measured[task].items, strict=True):
            ours = log_likelihoods(model, [encoded(words, *pair) for pair in sample["arguments"]], 2, batch_size=3)
            np.testing.assert_allclose(ours, [score for score, _ in sample["filtered_resps"]], rtol=1e-4)
            assert float(ours.argmax() == sample["target"]) == sample["acc"] == right


def test_our_likeliest_replies_are_those_that_lm_eval_scores(theirs):
    words = tokenizer()
    for task in ("squad_v1_f1", "drop", "wmt14-fr-en"):
        samples = theirs["samples"][task]
        prompts = [words.encode(sample["arguments"][0][0]) for sample in samples]
        ours = generate(tiny_llama(), prompts, max_new_tokens=TOKENS, end_id=1, pad_id=2, temperature=0.0, batch_size=2)
        for sample, reply in zip(samples, ours, strict=True):
            said = words.decode(reply.ids, skip_special_tokens=True).split(sample["arguments"][0][1]["until"][0])[0]
            assert said == sample["filtered_resps"][0]
        assert len({sample["filtered_resps"][0] for sample in samples}) > 1


def test_our_f1_and_bleu_of_given_answers_are_those_of_lm_eval(all_tasks, told):
    found, theirs = all_tasks.measure(told, np.random.default_rng(0)), by_lm_eval(told, all_tasks)["results"]
    squad = rows_of("squad_v1_f1")
    expected = [max(f1(answer(row), right) for right in row["answers"]["text"]) for row in squad]
    assert found["squad_v1_f1"].items == pytest.approx(expected, abs=1e-15)
    assert 0 < found["squad_v1_em"].value < found["squad_v1_f1"].value < 1
    assert 0 < found["drop"].value < 1
    for number in ("squad_v1_f1", "drop"):
        assert found[number].value == pytest.approx(theirs[number]["f1,none"], abs=1e-12)
    pairs = [(answer(row), row["translation"]["en"]) for row in rows_of("wmt14-fr-en")]
    replies, references = map(list, zip(*pairs, strict=True))
    by_sacrebleu = sacrebleu.corpus_bleu(replies, [[" " + reference for reference in references]]).score
    assert found["bleu"].value == pytest.approx(by_sacrebleu, abs=1e-9)
    assert found["bleu"].value == pytest.approx(theirs["wmt14-fr-en"]["bleu,none"], abs=1e-9)
    assert 20 < found["bleu"].value < 90


def test_bleu_of_separated_words_is_lm_evals(told):
    from lm_eval.api.metrics import bleu as theirs

    rng, vocabulary = np.random.default_rng(0), ["the", "a", "dog", "cat", "sees", "little", ".", "not", "!"]
    for _ in range(20):
        pairs = [[" ".join(rng.choice(vocabulary, rng.integers(1, 9))) for _ in range(2)] for _ in range(6)]
        replies, references = map(list, zip(*pairs, strict=True))
        ours = corpus_bleu(bleu_statistics(replies, references))
        assert ours == pytest.approx(theirs(list(zip(references, replies))), abs=1e-9)


def test_limit_takes_the_first_items_and_nothing_of_the_process_is_seeded(measured, llama):
    torch.manual_seed(7)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    found = load_suite(SuiteSettings(CHOICES, limit=2, data=DATA)).measure(llama, np.random.default_rng(0))
    for task in CHOICES:
        assert found[task].items.tolist() == measured[task].items[:2].tolist()
    assert found["qa"].n == 8
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_chat_puts_questions_into_the_models_format(told):
    asked = {}
    for chat in (False, True):
        told.asked.clear()
        load_suite(SuiteSettings(("piqa", "drop"), data=DATA, chat=chat)).measure(told, np.random.default_rng(0))
        asked[chat] = list(told.asked)
    assert asked[True] == [f"question : {text} answer : " for text in asked[False]]
    kept = told.tokenizer.chat_template
    for template, why in (
        (None, "the model's tokenizer has no chat template"),
        ("{{ raise_exception('no') }}", "refuses"),
    ):
        told.tokenizer.chat_template = template
        with pytest.raises(UserError, match=why):
            load_suite(SuiteSettings(("piqa",), data=DATA, chat=True)).measure(told, np.random.default_rng(0))
    told.tokenizer.chat_template = kept


def test_parquet_files_are_read_as_well(told, tmp_path):
    for task in ("drop", "squad_v1_f1", "arc_challenge"):
        pd.DataFrame(rows_of(task)).to_parquet(tmp_path / f"{task}.parquet")
    asked = []
    for folder in (DATA, tmp_path):
        told.asked.clear()
        load_suite(SuiteSettings(("drop", "squad_v1_f1", "arc_challenge"), data=folder)).measure(
            told, np.random.default_rng(0)
        )
        asked.append(list(told.asked))
    assert asked[0] == asked[1] and len(asked[0]) > 8


def test_the_table_names_the_data_that_lm_eval_takes(all_tasks):
    for name, task in all_tasks.tasks.items():
        assert task.config.dataset_path == BENCHMARKS[name].data
        assert BENCHMARKS[name].metric in task.aggregation()
        assert set(BENCHMARKS[name].columns) <= set(rows_of(name)[0])
    assert {path.stem for path in OWN_TASKS.glob("*.yaml")} == {n for n, b in BENCHMARKS.items() if b.folder is None}


def test_lm_evals_whole_list_is_read_only_for_tasks_that_are_not_the_papers(monkeypatch, tmp_path):
    import lm_eval.tasks

    made = []

    def manager(include_path, include_defaults=True):
        made.append((include_defaults, OWN_TASKS in include_path, tmp_path in include_path))
        return SimpleNamespace(all_tasks=[*BENCHMARKS])

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", manager)
    manager_for(["piqa", "drop"])
    assert made == [(False, True, False)]
    manager_for(["piqa", "hellaswag"], tmp_path)
    assert made[1:] == [(False, True, True), (True, True, True)]


def replaced(tmp_path, task, text):
    (tmp_path / f"{task}.jsonl").write_text(text)
    return tmp_path


BAD_ROWS = {
    "no file": ("piqa", None, "data is .*, which holds neither piqa.jsonl nor piqa.parquet"),
    "no json": ("piqa", "{", "piqa.jsonl, line 1 is no JSON"),
    "no rows": ("piqa", "", "piqa.jsonl holds no lines"),
    "wrong columns": (
        "piqa",
        '{"goal": "a", "label": 0}',
        "has the columns goal, label; the task piqa needs goal, sol1, sol2",
    ),
    "two types": ("piqa", '{"goal": "a", "label": 0}\n{"goal": [1], "label": 0}', "has rows that do not fit together"),
    "choices of another form": (
        "arc_easy",
        '{"question": "a", "choices": "b", "answerKey": "A"}',
        "the task arc_easy cannot read the rows of",
    ),
    "no answers": (
        "squad_v1_f1",
        json.dumps(rows_of("squad_v1_f1")[0] | {"answers": {"text": [], "answer_start": []}}),
        "cannot read the rows of .* a question without an answer",
    ),
    "a single row": (
        "piqa",
        json.dumps(rows_of("piqa")[0]),
        "the task piqa has 1 item; a standard error needs at least 2",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_data_are_refused_in_a_sentence(case, told, tmp_path):
    task, text, said = BAD_ROWS[case]
    folder = tmp_path if text is None else replaced(tmp_path, task, text)
    with pytest.raises(UserError, match=said):
        load_suite(SuiteSettings((task,), data=folder)).measure(told, np.random.default_rng(0))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "piqa.parquet").write_text("nothing")
    with pytest.raises(UserError, match="piqa.parquet is no Parquet file"):
        load_suite(SuiteSettings(("piqa",), data=tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tasks": ("piqa", "magic")},
            "tasks has 'magic'; allowed are arc_easy, arc_challenge, race, piqa, squad_v1_f1",
        ),
        ({"tasks": ()}, "tasks is empty; allowed are arc_easy"),
        ({"limit": 1}, "limit = 1 is not allowed; allowed are whole numbers from 2"),
        ({"tokens": 0}, "tokens = 0 is not allowed; allowed are whole numbers from 1"),
    ],
)
def test_bad_settings_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        SuiteSettings(**changes)


def test_data_that_cannot_be_fetched_are_named(monkeypatch):
    import datasets

    def unreachable(path, name, **_):
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    said = (
        r"the task squad_v1_f1 needs the data set rajpurkar/squad, which is neither here nor could be fetched \(Couldn't "
        r"reach .*\); give a folder with squad_v1_f1.jsonl or squad_v1_f1.parquet as data\."
    )
    with pytest.raises(UserError, match=said):
        load_suite(SuiteSettings(("squad_v1_f1",)))


def test_prompts_longer_than_the_context_are_refused_or_cut(llama, told, tmp_path, caplog):
    long = rows_of("piqa")[1] | {"goal": "paper " * CONTEXT}
    folder = replaced(tmp_path, "piqa", "\n".join(map(json.dumps, [long, *rows_of("piqa")])))
    needed = len(tokenizer().encode(f"Question: {long['goal']}\nAnswer: {long['sol2']}")) - 1
    said = rf"piqa has 2 of 10 prompts that are too long: with their answers they need up to {needed} tokens, the model takes {CONTEXT}"
    with pytest.raises(UserError, match=said):
        load_suite(SuiteSettings(("piqa",), data=folder)).measure(llama, np.random.default_rng(0))
    found = load_suite(SuiteSettings(("piqa",), data=folder, cut=True)).measure(llama, np.random.default_rng(0))
    assert found["piqa"].n == 5
    assert f"2 of 10 prompts of piqa do not fit into {CONTEXT} tokens and lose their beginning" in caplog.text
    with pytest.raises(UserError, match=f"drop has 4 of 4 prompts that are too long.* the model takes {CONTEXT}"):
        load_suite(SuiteSettings(("drop",), data=DATA, tokens=CONTEXT, cut=True)).measure(
            llama, np.random.default_rng(0)
        )


@pytest.mark.parametrize("room", [2, 0])
def test_where_memory_is_full_tasks_are_asked_anew_in_smaller_batches_and_one_is_too_many_in_one_sentence(
    all_tasks, room
):
    def full(*_):
        if told.batch_size_per_gpu > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return -1.0

    told = Told(full, lambda doc: "a")
    told.batch_size_per_gpu = 8
    if room:
        assert all_tasks.measure(told, np.random.default_rng(0)) and told.batch_size_per_gpu == room
        return
    with pytest.raises(UserError, match="batch = 1 does not fit into the device's memory .CUDA out of memory"):
        all_tasks.measure(told, np.random.default_rng(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folder": "nowhere"}, "model is 'nowhere', which is no folder"),
        ({"backend": "tgi"}, "backend = 'tgi' is not allowed; allowed are hf, vllm"),
        ({"batch": 0}, "batch = 0 is not allowed; allowed are whole numbers from 1"),
        ({"dtype": "int8"}, "dtype = 'int8' is not allowed; allowed are auto, float32, bfloat16, float16"),
        ({"device": "abacus"}, "device = 'abacus' is not allowed; allowed are auto, cpu"),
    ],
)
def test_models_that_cannot_be_had_are_refused(changes, said, folder, monkeypatch):
    given = {"folder": folder, "batch": 4} | changes
    given["folder"] = type(folder)(given["folder"])
    with pytest.raises(UserError, match=said):
        harness.from_folder(given.pop("folder"), **given)


def test_an_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="an adapter; put it into its model first"):
        harness.from_folder(tmp_path, batch=4)


def test_vllm_is_refused_where_it_is_not_installed_and_told_the_folder_where_it_is(folder, monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="backend is 'vllm', which is not installed; install the extra `gpu`, or take hf"
    ):
        harness.from_folder(folder, batch=4, backend="vllm")
    monkeypatch.setattr(harness, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=lambda **given: given))
    given = harness.from_folder(folder, batch=4, backend="vllm", dtype="bfloat16", length=512)
    assert given.pop("gpu_memory_utilization") == 0.9 and given.pop("generation_config") == "vllm"
    assert given == {"pretrained": str(folder), "dtype": "bfloat16", "batch_size": "auto", "max_model_len": 512}
    with pytest.raises(UserError, match="device = 'cpu' is not allowed with backend vllm; allowed is auto"):
        harness.from_folder(folder, batch=4, backend="vllm", device="cpu")


def test_a_model_folder_is_measured_in_the_precision_asked_for(folder):
    assert harness.load_folder(folder)[0].dtype == torch.float32
    assert harness.from_folder(folder, batch=4, dtype="bfloat16").model.dtype == torch.bfloat16


def test_the_command_writes_rows_of_a_folder(folder, measured, tmp_path, monkeypatch, capsys):
    to = tmp_path / "rows.jsonl"
    options = ("--tasks", "arc_easy,squad_v1_f1,drop", "--data", DATA, "--tokens", TOKENS, "--to", to, "--batch", 5)
    assert command(monkeypatch, "benchmark", folder, *options, "--rlhf", "dpo") == 0
    rows = read_rows(to).set_index("metric")
    assert set(rows.index) == {"arc_easy", "squad_v1_f1", "squad_v1_em", "drop", "drop_em", "reading_f1"}
    assert (set(rows["preset"]), set(rows["rlhf"]), set(rows["method"])) == ({"tiny"}, {"dpo"}, {"model"})
    for metric, row in rows.iterrows():
        assert (row["value"], row["n"]) == (pytest.approx(measured[metric].value), measured[metric].n)
    assert "arc_easy" in capsys.readouterr().out
    written = to.read_bytes()
    assert command(monkeypatch, "benchmark", folder, *options) == 2
    assert capsys.readouterr().err == f"error: to is {str(to)!r}, which exists; give a new file.\n"
    assert to.read_bytes() == written


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--tasks", "magic"), "tasks has 'magic'; allowed are arc_easy"),
        (("--rlhf", "grpo"), "the rows to write: rlhf = 'grpo' is not allowed; it must be one of none, rsf, dpo, ppo"),
        (("--seed", "-1"), "the rows to write: seed = -1 is not allowed"),
        (("--limit", "1"), "limit = 1 is not allowed; allowed are whole numbers from 2"),
        (("--limit", "few"), "limit = 'few' is not allowed; allowed are whole numbers\n"),
        (("--data", "nowhere", "--batch", "0"), "batch = 0 is not allowed; allowed are whole numbers from 1"),
        (("--data", "nowhere", "--dtype", "int8"), "dtype = 'int8' is not allowed; allowed are auto, float32"),
        (("--data", "nowhere", "--device", "tpu"), "device = 'tpu' is not allowed; allowed are auto, cpu"),
        (("--data", "nowhere", "--backend", "jax"), "backend = 'jax' is not allowed; allowed are hf, vllm"),
        (("--data", "nowhere"), "data is 'nowhere', which holds neither arc_easy.jsonl"),
    ],
)
def test_the_command_refuses_bad_options_in_one_sentence(changes, said, folder, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "benchmark", folder, "--to", tmp_path / "rows.jsonl", *changes) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_packages_carry_the_task_files():
    import tomllib

    project = tomllib.loads((DATA.parents[2] / "pyproject.toml").read_text())
    assert "evaluation/benchmarks/tasks/*.yaml" in project["tool"]["setuptools"]["package-data"]["alignment_tax.llm"]
