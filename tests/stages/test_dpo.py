"""DPO: the loss and its gradient by hand and by TRL, and a run that goes on where it stopped."""

import json
import os
import shutil
import time
from math import exp, log1p
from pathlib import Path

import pytest
import torch

from llm.data.microcosm.tokenizer import build_tokenizer
from llm.errors import UserError
from llm.models.likelihood import reply_log_probs, token_log_probs
from llm.models.save import save_model
from llm.stages.align import align
from llm.stages.dpo import dpo, pair_batch, with_reference
from llm.training.rlhf.preferences import bradley_terry, dpo_margins
from microcosm_runs import METRICS, command, contents, smoke_run, tiny_model

ROWS = [
    {
        "prompt": "how are you ?",
        "chosen": {"text": "what a lovely day", "finished": True},
        "rejected": {"text": "no", "finished": True},
    },
    {
        "prompt": "is the sky red ?",
        "chosen": {"text": "red", "finished": True},
        "rejected": {"text": "a lovely red day is", "finished": True},
    },
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = smoke_run(tmp_path_factory.mktemp("out"), upto="reward")
    align(run, "dpo", "own")
    return run


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_the_loss_of_two_pairs_worked_out_by_hand():
    log_probs, reference = torch.tensor([-4.0, -6.0, -5.0, -3.0]), torch.tensor([-5.0, -6.5, -4.0, -4.5])
    found = dpo_margins(log_probs, reference, beta=0.5)
    assert found.tolist() == [0.5 * (1.0 - -1.0), 0.5 * (0.5 - 1.5)]
    assert bradley_terry(found).item() == pytest.approx((log1p(exp(-1.0)) + log1p(exp(0.5))) / 2)


def test_a_reply_is_as_likely_as_its_tokens_together_one_by_one():
    model, tokenizer = tiny_model(), build_tokenizer()
    cut = [{**ROWS[0], "chosen": {"text": "what a lovely day", "finished": False}}, ROWS[1]]
    batch = pair_batch(tokenizer, cut)
    found, single = reply_log_probs(model, batch), token_log_probs(model, batch)
    assert single.shape == (4, batch.ids.shape[1] - 1)
    assert [len(said.nonzero()) for said in single] == [4, 2, 2, 6]  # words, and the end where the reply has one
    for row in range(4):
        length = int(batch.mask[row].sum())
        logs = torch.log_softmax(model(batch.ids[row : row + 1, :length]).logits[0], dim=-1)
        places = [t for t in range(1, length) if batch.weights[row, t] > 0]
        expected = sum(logs[t - 1, batch.ids[row, t]] for t in places)
        assert found[row].item() == pytest.approx(expected.item(), abs=1e-4)


def test_loss_and_gradient_are_those_of_trl(tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    tokenizer, model, theta_0 = build_tokenizer(), tiny_model(seed=1), tiny_model(seed=2)
    save_model(model, tokenizer, tmp_path / "model")  # a tokenizer with its chat template

    def turns(row):
        said = {side: [{"role": "assistant", "content": row[side]["text"]}] for side in ("chosen", "rejected")}
        return {"prompt": [{"role": "user", "content": row["prompt"]}]} | said

    settings = DPOConfig(
        output_dir=str(tmp_path),
        beta=0.3,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=model,
        ref_model=theta_0,
        args=settings,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([turns(row) for row in ROWS]),
    )
    theirs_in = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    theirs = trainer.compute_loss(trainer.model, theirs_in)
    expected = gradients(model, theirs)
    (pairs,) = with_reference(theta_0, tokenizer, [ROWS])
    ours = bradley_terry(dpo_margins(reply_log_probs(model, pairs.batch), pairs.reference, beta=0.3))
    assert abs(ours.item() - 0.6931) > 0.01  # the models differ
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    found = gradients(model, ours)
    scale = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale.item())


def test_the_pairs_are_learned(run, tmp_path):
    """Many steps on the few training pairs: the policy ranks them, and the loss falls from log 2."""
    learned = run.preset.dpo.model_copy(update={"epochs": 60})
    long = type(run)(run.preset.model_copy(update={"dpo": learned}), run.seed, run.out)
    dpo(long, run.folder / "theta_0", run.folder / "preferences.json", tmp_path / "dpo", 1e-2)
    first, last = (json.loads((tmp_path / "dpo" / f"iteration0{i}.json").read_text()) for i in (1, 2))
    assert (first["lr"], first["steps"], last["steps"]) == (1e-2, 90, 180)
    assert last["loss"] < first["loss"] < 0.694
    assert last["accuracy"] > 0.95


def test_only_training_pairs_are_used_each_once_an_epoch(run, tmp_path, monkeypatch):
    from llm.stages import dpo as module

    seen, real = [], module.pair_batch
    monkeypatch.setattr(module, "pair_batch", lambda tokenizer, rows: seen.extend(rows) or real(tokenizer, rows))
    dpo(run, run.folder / "theta_0", run.folder / "preferences.json", tmp_path / "dpo", None)
    rows = json.loads((run.folder / "preferences.json").read_text())
    key = json.dumps
    assert sorted(map(key, seen)) == sorted(key(row) for row in rows if row["split"] == "train")


@pytest.mark.parametrize(
    "lost", ["iteration01", "iteration02", "iteration02/config.json", "training01.safetensors", "iteration01.json"]
)
def test_a_run_that_lost_something_makes_it_again_to_the_byte(run, lost):
    folder = run.folder / "dpo" / "own"
    before = contents(folder)
    assert len([path for path in before if path.name == "model.safetensors"]) == 2
    shutil.rmtree(folder / lost) if (folder / lost).is_dir() else (folder / lost).unlink()
    align(run, "dpo", "own")
    assert contents(folder) == before


def test_finished_iterations_are_kept_and_those_older_than_the_pairs_made_again(run):
    folder = run.folder / "dpo" / "own"
    configs = [folder / f"iteration0{i}" / "config.json" for i in (1, 2)]
    before, made = contents(folder), [path.stat().st_mtime_ns for path in configs]
    align(run, "dpo", "own")
    assert [path.stat().st_mtime_ns for path in configs] == made
    now = time.time()
    os.utime(run.folder / "preferences.json", (now, now))
    align(run, "dpo", "own")
    assert all(path.stat().st_mtime_ns > then for path, then in zip(configs, made, strict=True))
    assert contents(folder) == before


def test_two_stretches_are_one_run(run, tmp_path):
    """The second goes on with the optimiser, the rate and the pairs where the first stopped."""
    whole = run.preset.dpo.model_copy(update={"iterations": 1})
    once = type(run)(run.preset.model_copy(update={"dpo": whole}), run.seed, run.out)
    dpo(once, run.folder / "theta_0", run.folder / "preferences.json", tmp_path / "dpo", None)
    name = "model.safetensors"
    assert (tmp_path / "dpo/iteration01" / name).read_bytes() == (
        run.folder / "dpo/own/iteration02" / name
    ).read_bytes()
    first = run.folder / "dpo/own/iteration01" / name
    assert first.read_bytes() != (run.folder / "theta_0" / name).read_bytes()


@pytest.mark.parametrize("file", ["training01.safetensors", "../../preferences.json"])
def test_what_is_torn_is_named_and_can_be_removed(run, tmp_path, file):
    shutil.copytree(run.folder, tmp_path / "smoke" / "seed0")
    torn = type(run)(run.preset, run.seed, tmp_path)
    folder, before = torn.folder / "dpo" / "own", contents(torn.folder / "dpo" / "own")
    shutil.rmtree(folder / "iteration02")
    data, age = (folder / file).read_bytes(), (folder / file).stat().st_mtime_ns
    (folder / file).write_bytes(data[: len(data) // 2])
    os.utime(folder / file, ns=(age, age))
    with pytest.raises(UserError, match=f"{Path(file).name} is damaged .*; remove it and give the same command again"):
        align(torn, "dpo", "own")
    if file == "training01.safetensors":
        (folder / file).unlink()
        align(torn, "dpo", "own")
        assert contents(folder) == before


def test_missing_preferences_are_named(run, tmp_path):
    with pytest.raises(UserError, match=f"preferences {tmp_path / 'none.json'} is missing; run the stage `reward`"):
        dpo(run, run.folder / "theta_0", tmp_path / "none.json", tmp_path / "dpo", None)


def test_the_command_aligns_measures_and_averages_by_the_algorithms_name(run, monkeypatch):
    arguments = ("--preset", "smoke", "--out", run.out, "--rlhf", "dpo")
    assert command(monkeypatch, "align", *arguments) == 0
    assert command(monkeypatch, "trajectory", *arguments) == 0
    for entry in ("part-input", "ama"):
        assert command(monkeypatch, "sweep", "algorithms", "--entry", entry, *arguments) == 0
    found = {}
    for path in sorted((run.folder / "rows" / "dpo" / "own").iterdir()):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["rlhf"] for row in rows} == {"dpo"}
        found[path.name] = len(rows) // len(METRICS)
    assert found == {"ama.jsonl": 4, "part-input.jsonl": 4, "trajectory.jsonl": 2 + 1}
    assert (run.folder / "ama" / "dpo" / "own" / "kept.json").is_file()
