"""Our loop, RSF and PPO on accelerate, in one process: values, what is left behind, and going on after a kill."""

import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fake_vllm import installed
from llm.config.trainers import PpoSettings
from llm.errors import UserError
from llm.models.batches import pad_replies
from llm.models.loading import load_model
from llm.training.distributed import loop, ppo_learner, sampling, vllm_writer
from llm.training.distributed import ppo as ppo_module
from llm.training.distributed import rsf as rsf_module
from llm.training.distributed.jobs import full_memory_refused
from llm.training.distributed.launch import slowness
from llm.training.distributed.loop import Inputs, passes
from llm.training.distributed.ppo_learner import fresh_learner, take_fresh_critic
from llm.training.distributed.processes import Split, make_accelerator, read_together, split
from llm.training.distributed.sampling import Sample, fitting, rewards, write_samples
from llm.training.distributed.vllm_writer import _environment
from llm.training.iterations import iteration_folder, log_file
from llm.training.loop import token_loss
from llm.training.rlhf.ppo.restarts import Trail, walk
from trainer_models import PROMPTS, hardware, same, tokenizer, weights, writing
from trainer_runs import gradients, ppo_run, ppo_settings, rsf_run, start


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def whole(folder):
    """RSF and PPO run to the end, two iterations each."""
    rsf_run(folder, folder / "rsf", hardware(), iterations=2)
    ppo_run(folder, folder / "ppo", hardware(), iterations=2)
    return folder


def run_until_killed(run, module, monkeypatch) -> None:
    """A run that stops as its second model is to be written by the module."""
    written = module.write_model

    def killed(state, origin, dtype, to):
        if to.name == "iteration02":
            raise Stopped
        written(state, origin, dtype, to)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_model", killed)
        with pytest.raises(Stopped):
            run()


def logs(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("iteration??.json"))]


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 8), st.data())
def test_every_row_of_a_global_batch_goes_through_one_pass_of_one_process(batch, processes, per_device, data):
    asked = hardware(launcher="fsdp", processes=processes, per_device_batch=per_device)
    if batch % processes:
        with pytest.raises(UserError, match=f"processes = {processes} is not allowed with batch = {batch},"):
            split(batch, asked)
    taken = asked.of_batch(batch)
    assert not [k for k in range(taken.processes + 1, processes + 1) if batch % k == 0], "more would have divided it"
    processes, made = taken.processes, split(batch, taken)
    assert made.per_device * made.accumulation * processes == batch and made.per_device <= per_device
    rows = list(range(data.draw(st.integers(1, batch))))
    dealt = [passes(rows, made, processes, process) for process in range(processes)]
    assert {len(parts) for parts in dealt} == {made.accumulation}
    together = [row for which in range(made.accumulation) for parts in dealt for row in parts[which]]
    assert together == rows
    for which in range(made.accumulation):  # a process that has one row less than the others waits for one row
        counts = [len(parts[which]) for parts in dealt]
        assert max(counts) == -(-sum(counts) // processes)


def test_a_step_has_the_gradient_of_the_mean_over_all_tokens_of_its_batch(folder, tmp_path):
    gradients(folder, tmp_path / "gradients.pt", hardware())
    found, model = torch.load(tmp_path / "gradients.pt"), load_model(folder / "model")
    loss = token_loss(model, pad_replies([([5, 6, 7], [8, 9]), ([5], [6, 7, 8, 9, 10]), ([11, 12], [13])], 0))
    loss.backward()
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-5)


def test_rewards_are_those_of_each_reply_alone_whatever_it_is_judged_with(folder):
    from llm.models.loading import load_reward_model

    samples = [Sample(i, [5, 6], list(range(7, 7 + n)), n % 2 == 0, "") for i, n in enumerate((5, 1, 3, 4, 2))]
    model, end = load_reward_model(folder / "reward"), tokenizer().eos_token_id
    alone = [model(input_ids=torch.tensor([s.prompt_ids + s.with_end(end)])).logits.item() for s in samples]
    accelerator = make_accelerator(hardware(), Split(1, 1))
    assert rewards(accelerator, folder / "reward", samples, hardware(generation_batch=3)) == pytest.approx(
        alone, rel=1e-4
    )


def test_few_replies_are_read_at_a_time_where_their_tokens_or_logits_are_many(whole, tmp_path, monkeypatch):
    """Of Qwen2.5 with 196 new tokens: nine rows, whose logits take 1 GiB in fp32."""
    assert read_together(256, 708, 196 * 151_936) == 9 and read_together(256, 708) == 46
    assert read_together(8, 708, 196 * 32_000) == 8 and read_together(8, 10**9, 10**12) == 1
    rows, read = [], ppo_learner.pad_replies

    def counted(pairs, pad_id):
        rows.append(len(pairs))
        return read(pairs, pad_id)

    monkeypatch.setattr("llm.training.distributed.processes.READ_LOGITS", 2 * 6 * len(tokenizer()))
    monkeypatch.setattr(loop, "pad_replies", counted)
    monkeypatch.setattr(ppo_learner, "pad_replies", counted)
    ppo_run(whole, tmp_path, hardware(), iterations=1)
    assert sorted(rows) == [2, 2, 2, 2, 4]  # actor and critic, theta_0, and all replies for learning
    (found,), wanted = logs(tmp_path), logs(whole / "ppo")[0]
    numbers = {key: value for key, value in wanted.items() if isinstance(value, float)}
    assert {key: found[key] for key in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-5)


def test_samples_follow_from_the_seed_and_are_not_written_twice(folder, tmp_path, monkeypatch):
    accelerator, asked = make_accelerator(hardware(), Split(1, 1)), [[2, 9 + i, 1, 3] for i in range(5)]

    def sample(name, seed=0, **changes):
        return write_samples(
            accelerator, folder / "model", asked, 2, writing(), hardware(**changes), [seed], tmp_path / name
        )

    first = sample("first")
    assert [s.prompt for s in first] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(s.prompt_ids == asked[s.prompt] and len(s.reply_ids) + s.finished <= 6 for s in first)
    assert sample("again") == first != sample("other", seed=1)
    kept, lost, _ = sorted((tmp_path / "again").iterdir())
    lost.unlink()
    age = kept.stat().st_mtime_ns
    assert sample("again") == first and kept.stat().st_mtime_ns == age
    monkeypatch.setattr(sampling, "by_transformers", None)
    assert sample("again") == first


def as_one_of(processes: int, process: int):
    """What `write_samples` needs of a launch of several processes; for the last one, whose waiting finds all others done."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        process_index=process,
        local_process_index=process,
        num_processes=processes,
        wait_for_everyone=lambda: None,
    )


@pytest.mark.parametrize("sampler", ["transformers", "vllm"])
def test_replies_are_the_same_on_any_number_of_processes_which_share_them_evenly(
    folder, tmp_path, monkeypatch, sampler
):
    """Also of one chunk only, of which each process writes a part."""
    (tmp_path / "engines").touch()
    asked, how = [[2, *range(9, 10 + i), 1, 3] for i in range(5)], hardware(sampler=sampler, generation_batch=6)
    for _ in installed(monkeypatch, tmp_path / "engines"):
        for samples in (1, 2):  # one chunk, and two

            def sample(processes, process):
                out = tmp_path / f"{samples}-of-{processes}"
                return write_samples(
                    as_one_of(processes, process), folder / "model", asked, samples, writing(), how, [3], out
                )

            alone = sample(1, 0)
            for processes in (2, 3):
                for process in range(processes - 1):
                    with pytest.raises(UserError, match="is no file"):  # the others' parts
                        sample(processes, process)
                assert sample(processes, processes - 1) == alone


def test_one_process_draws_what_generate_itself_would(folder, tmp_path):
    """`do_sample` of transformers, whose `torch.multinomial` draws from the same stream."""
    from transformers import AutoModelForCausalLM

    from llm.models.batches import left_pad

    asked, accelerator = [[2, 9 + i, 1, 3] for i in range(4)], make_accelerator(hardware(), Split(1, 1))
    wanted = writing(temperature=0.8)
    found = write_samples(accelerator, folder / "model", asked, 2, wanted, hardware(generation_batch=8), [5], tmp_path)
    model, words = AutoModelForCausalLM.from_pretrained(folder / "model"), tokenizer()
    ids, mask = left_pad(asked, words.pad_token_id)
    how = {"do_sample": True, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "num_return_sequences": 2}
    ends = {"max_new_tokens": wanted.max_new_tokens, "eos_token_id": 1, "pad_token_id": words.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng([5, 0]).integers(2**62)))
        rows = model.generate(input_ids=ids, attention_mask=mask, **how, **ends)[:, ids.shape[1] :].tolist()
    assert [s.with_end(1) for s in found] == [row[: row.index(1) + 1] if 1 in row else row for row in rows]


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 64), st.integers(1, 9))
def test_the_parts_of_all_processes_are_the_prompts_in_order_in_even_shares(prompts, samples, batch, processes):
    chunks = sampling.chunks_of(prompts, samples, hardware(generation_batch=batch))
    shares = sampling.parts_of(chunks, processes)
    dealt = [[p for part in share for p in part.prompts] for share in shares]
    assert [p for share in dealt for p in share] == list(range(prompts))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for part in (part for share in shares for part in share):
        assert chunks[part.number] == part.chunk and [part.chunk[place] for place in part.places] == list(part.prompts)
    if processes == 1:
        assert [part.prompts for part in shares[0]] == chunks


def test_vllm_leaves_chunks_as_they_come_and_starts_one_engine_for_those_that_are_missing(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "engines").touch()
    for log in installed(monkeypatch, tmp_path / "engines"):
        accelerator, asked = make_accelerator(hardware(), Split(1, 1)), [[2, 9 + i, 1, 3] for i in range(5)]
        sample = partial(write_samples, accelerator, folder / "model", asked, 2, writing())
        how = hardware(sampler="vllm")
        first = sample(how, [0], tmp_path / "first")
        assert [s.prompt for s in first] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and first != sample(
            how, [1], tmp_path / "other"
        )
        assert all(s.prompt_ids == asked[s.prompt] and len(s.reply_ids) + s.finished <= 6 for s in first)
        assert all(s.text == tokenizer().decode(s.reply_ids, skip_special_tokens=True) for s in first)
        monkeypatch.setattr(vllm_writer, "TOGETHER", 4)  # replies, so a chunk
        made, write_text = [], sampling.write_text

        def killed(file, text):
            if len(made) == 2:
                raise Stopped
            made.append(file)
            write_text(file, text)

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(sampling, "write_text", killed)
            sample(how, [0], tmp_path / "killed")
        engines = len(log.read_text().splitlines())
        assert sample(how, [0], tmp_path / "killed") == first
        assert len(log.read_text().splitlines()) == engines + 1 and len(list((tmp_path / "killed").iterdir())) == 3


def test_sampling_leaves_no_token_out(folder, tmp_path):
    """Of about a hundred nearly equally likely ones, where the usual `top_k` would leave fifty."""
    accelerator, wanted = make_accelerator(hardware(), Split(1, 1)), writing(max_new_tokens=1)
    found = write_samples(accelerator, folder / "model", [[2, 9, 1, 3]], 600, wanted, hardware(), [0], tmp_path)
    assert len({tuple(s.with_end(1)) for s in found}) > 80


def test_prompts_that_are_too_long_are_left_out_aloud_or_refused(capsys):
    words = tokenizer()
    kept = fitting(words, PROMPTS, writing(prompt_tokens=20), context=26)
    assert kept == [prompt for prompt in PROMPTS if len(prompt) == 1] and capsys.readouterr().out.startswith(
        "1 of 4 prompts are longer"
    )
    with pytest.raises(UserError, match="none of 4 has at most prompt_tokens = 3 tokens"):
        fitting(words, PROMPTS, writing(prompt_tokens=3), context=26)
    with pytest.raises(
        UserError, match=r"prompt_tokens \+ max_new_tokens = 66 tokens is not allowed: the model's context is 26"
    ):
        fitting(words, PROMPTS, writing(), context=26)


def test_rsf_imitates_the_best_reply_to_each_prompt(whole):
    out = whole / "rsf"
    assert sorted(path.name for path in out.iterdir()) == [
        "chosen01.json",
        "chosen02.json",
        "iteration01",
        "iteration01.json",
        "iteration02",
        "iteration02.json",
    ]
    first, second = logs(out)
    assert first["reward_chosen"] > first["reward"] and second["loss"] < first["loss"]
    chosen = json.loads((out / "chosen01.json").read_text())
    assert len({json.dumps(prompt) for prompt, _, _ in chosen}) == 3 and all(
        prompt in PROMPTS for prompt, _, _ in chosen
    )


def test_rsf_goes_on_where_it_was_killed(whole, tmp_path, monkeypatch):
    run_until_killed(partial(rsf_run, whole, tmp_path, hardware(), iterations=2), rsf_module, monkeypatch)
    assert len(list(tmp_path.glob(".samples*"))) == 1
    rsf_run(whole, tmp_path, hardware(), iterations=2)
    for name in ("iteration01", "iteration02"):
        assert same(tmp_path / name, whole / "rsf" / name)
    assert logs(tmp_path) == logs(whole / "rsf") and not list(tmp_path.glob(".*"))


def test_ppo_says_what_it_did_and_changes_the_policy(whole):
    first, second = logs(whole / "ppo")
    assert first["kl"] == pytest.approx(0, abs=1e-5) and second["kl"] > 0.01
    assert (first["fresh_critic"], second["fresh_critic"], second["restarts"]) == (True, False, 0)
    assert not same(whole / "ppo/iteration01", whole / "ppo/iteration02")
    assert not list((whole / "ppo").glob(".*"))


def test_ppo_writes_without_an_engine_of_vllm(whole, tmp_path):
    """Which is not installed here, and would take longer to start than a collection does."""
    ppo_run(whole, tmp_path, hardware(sampler="vllm"), iterations=1)
    assert logs(tmp_path) == logs(whole / "ppo")[:1]


def test_ppo_goes_on_where_it_was_killed(whole, tmp_path, monkeypatch):
    run_until_killed(partial(ppo_run, whole, tmp_path, hardware(), iterations=2), ppo_module, monkeypatch)
    ppo_run(whole, tmp_path, hardware(), iterations=2)
    assert logs(tmp_path) == logs(whole / "ppo")
    assert all(same(tmp_path / name, whole / "ppo" / name) for name in ("iteration01", "iteration02"))


@pytest.mark.parametrize("back", [1, 2])
def test_after_a_collapse_the_critic_is_fresh_and_the_policy_left_alone_for_once(whole, tmp_path, monkeypatch, back):
    def at_the_second(logs, settings):
        return "made up" if len(logs) == 2 and logs[-1]["restarts"] == 0 else None

    monkeypatch.setattr("llm.training.rlhf.ppo.restarts.collapse", at_the_second)
    ppo_run(whole, tmp_path, hardware(), iterations=2, back=back)
    again = logs(tmp_path)[2 - back]
    assert again["restarts"] == 1 and again["fresh_critic"] and again["policy_loss"] is None
    before, after = (whole / "model", "iteration01") if back == 2 else (tmp_path / "iteration01", "iteration02")
    old, new = weights(before), weights(tmp_path / after)
    assert all(torch.equal(old[key], new[key]) for key in old)
    if back == 2:
        assert not same(tmp_path / "iteration01", tmp_path / "iteration02")


@pytest.mark.parametrize(
    ("collapses", "back", "restarts"), [((), 3, 2), ((5, 6), 3, 2), ((3, 8, 9), 4, 2), ((2, 2), 2, 2)]
)
def test_models_that_are_not_measured_go_when_no_restart_can_need_them(tmp_path, collapses, back, restarts):
    """collapses: iterations at which training looks collapsed, once each, in this order."""
    due, most = list(collapses), 0
    settings = ppo_settings(9, back=back, restarts=restarts).model_copy(update={"measured_every": 4})
    everyone = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    inputs = SimpleNamespace(accelerator=everyone, settings=settings, out=tmp_path)

    def make(iteration: int, restarts: int) -> None:
        nonlocal most
        before, state = iteration_folder(tmp_path, iteration - 1), ppo_module._training(tmp_path, iteration - 1)
        assert iteration == 1 or ((before / "model.safetensors").is_file() and state.is_dir())
        collapsed = bool(due) and due[0] == iteration and bool(due.pop(0))
        numbers = dict.fromkeys(("reward", "length", "unfinished", "critic_loss"), 0.0) | {"restarts": restarts}
        told = numbers | {"collapse": "made up" if collapsed else None, "fresh_critic": False}
        log_file(tmp_path, iteration).write_text(json.dumps(told))
        ppo_module._training(tmp_path, iteration).mkdir(exist_ok=True)
        iteration_folder(tmp_path, iteration).mkdir(exist_ok=True)
        for name in ("model.safetensors", "config.json"):
            (iteration_folder(tmp_path, iteration) / name).write_text("")
        most = max(most, len(list(tmp_path.glob("training*"))))

    forget = partial(ppo_module._forget, inputs)
    trail = Trail("theta_0", "reward", tmp_path, partial(ppo_module._training, tmp_path), make=make, forget=forget)
    for _ in walk(9, settings.collapse, trail):
        pass
    forget(10)
    assert not due
    assert [file.parent.name for file in sorted(tmp_path.glob("*/*.safetensors"))] == [
        "iteration04",
        "iteration08",
        "iteration09",
    ]
    assert most <= settings.states  # as the plan of the disk has it


def test_a_fresh_critic_is_the_reward_model_less_the_baseline_and_nothing_is_remembered(folder, tmp_path):
    split_for = Split(1, 2)
    accelerator, begin = make_accelerator(hardware(), split_for), start(folder)
    inputs = Inputs(
        accelerator, split_for, begin, folder / "reward", PROMPTS, ppo_settings(1), hardware(), tmp_path, ""
    )
    learner = fresh_learner(inputs)
    made = {key: value.clone() for key, value in learner.learner.module.critic.state_dict().items()}
    optimiser = learner.learner.optimiser
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert not torch.equal(learner.learner.module.critic.state_dict()["head.weight"], made["head.weight"])
    take_fresh_critic(learner, folder / "reward", 0.5)
    assert all(torch.equal(value, made[key]) for key, value in learner.learner.module.critic.state_dict().items())
    of_policy, of_critic = (
        sum(float(t.abs().sum()) for p in group["params"] for t in optimiser.optimizer.state[p].values())
        for group in optimiser.param_groups
    )
    assert of_policy > 0 and of_critic == 0
    inputs.accelerator.free_memory()


def test_a_full_gpu_and_other_faults_are_one_sentence(folder, tmp_path):
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    told = (
        "per_device_batch = 4 with generation_batch = 1 does not fit .* lower per_device_batch, set checkpointing, or"
    )
    with pytest.raises(UserError, match=told), full_memory_refused(hardware(per_device_batch=4, generation_batch=1)):
        raise full
    with pytest.raises(UserError, match="prompts = 4 is not allowed: there are 3; allowed are 1 to 3"):
        ppo_module.ppo(start(folder), folder / "reward", PROMPTS[:3], ppo_settings(1), hardware(), tmp_path)
    accelerator = make_accelerator(hardware(), Split(1, 1))
    with pytest.raises(UserError, match="sampler = 'vllm' is not allowed: vLLM is not installed"):
        write_samples(
            accelerator, folder / "model", [[2, 3]], 1, writing(), hardware(sampler="vllm"), [0], tmp_path / "s"
        )
    with pytest.raises(ValidationError, match="writing.temperature = 0.7 is not allowed with ppo"):
        PpoSettings.model_validate(ppo_settings(1).model_dump() | {"writing": writing(temperature=0.7).model_dump()})
    assert slowness(hardware(dtype="bf16")) and slowness(hardware()) is None


def test_vllm_is_started_outside_of_the_launch_on_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("HF_HOME", "models")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = _environment(1)
    assert made["CUDA_VISIBLE_DEVICES"] == "1" and made["HF_HOME"] == "models"
    assert not {"RANK", "ACCELERATE_USE_FSDP"} & made.keys()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert _environment(1)["CUDA_VISIBLE_DEVICES"] == "6"


def test_an_engine_keeps_the_lock_of_its_card_even_if_it_outlives_who_started_it(tmp_path, monkeypatch):
    with (tmp_path / "card").open("w") as card:
        os.set_inheritable(card.fileno(), True)
        monkeypatch.setattr(vllm_writer, "is_installed", lambda: True)
        monkeypatch.setattr(vllm_writer, "_memory", lambda gpu: card.fileno())  # what the engine's process is given
        assert vllm_writer.apart(0, os.fstat).st_ino == os.fstat(card.fileno()).st_ino


def test_chunks_are_prompts_whose_replies_fit_into_a_batch():
    assert sampling.chunks_of(5, 2, hardware(generation_batch=4)) == [range(0, 2), range(2, 4), range(4, 5)]
    assert sampling.chunks_of(2, 9, hardware(generation_batch=4)) == [range(0, 1), range(1, 2)]
