"""Plans: formulas against real models, and refusals."""

import re
from dataclasses import replace
from math import inf

import pytest
import torch

from llm import methods
from llm.averaging.ama.oracle import lattice
from llm.config import PublicModel, Sweep, load_preset, load_sweep, names, why_empty
from llm.config.base import Work
from llm.config.sections import Renewal
from llm.config.tiny import tiny
from llm.config.trainers import Lora
from llm.plan import check as checking
from llm.plan import hub, local, regression, report
from llm.plan.costs import (
    ADAM,
    FULL,
    HALF,
    Speed,
    Step,
    Together,
    activations,
    adapters,
    cache,
    gathered,
    gpu_speed,
    layer_activations,
    less_learning,
    models,
    parameters,
    saved_state,
    steps,
    training_state,
    written,
)
from llm.plan.report import GB, Device, costs, require_room, text
from llm.training.loop import optimiser_for
from llm.training.mitigations.lora import lora
from microcosm_runs import command

SHAPES = {
    "grouped": {"heads": 4, "kv_heads": 2, "head_size": 16, "tied_embeddings": True},
    "plain": {"heads": 4, "kv_heads": 4, "head_size": 16, "tied_embeddings": False},
    "olmo": {"heads": 4, "kv_heads": 2, "head_size": 16, "tied_embeddings": False, "query_key_norms": True},
    "qwen": {"heads": 4, "kv_heads": 2, "head_size": 16, "tied_embeddings": True, "attention_biases": True},
    "wide heads": {"heads": 2, "kv_heads": 1, "head_size": 48, "tied_embeddings": False},
}
SIZES = {"layers": 3, "hidden_size": 64, "intermediate_size": 160, "vocabulary": 96, "context": 64}
FACTOR = 1.05  # of the estimate of activations


def shape(name: str = "grouped", **changes) -> PublicModel:
    return PublicModel(**SIZES | SHAPES[name] | changes)


def model_of(shape: PublicModel):
    from transformers import LlamaForCausalLM, Olmo2ForCausalLM, Qwen2ForCausalLM

    kind = Olmo2ForCausalLM if shape.query_key_norms else LlamaForCausalLM
    kind = Qwen2ForCausalLM if shape.attention_biases else kind
    return kind(
        kind.config_class(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_size,
            tie_word_embeddings=shape.tied_embeddings,
            max_position_embeddings=shape.context,
        )
    )


def size(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def kept_for_backward(model, ids) -> int:
    """Bytes of the distinct tensors that the forward pass keeps for the backward pass, the model's own left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # else its memory may be used again, and counted once
        return tensor

    alive: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, labels=ids).loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("name", SHAPES)
def test_weights_gradients_and_adams_moments_are_counted_exactly(name):
    sizes = shape(name)
    model = model_of(sizes)
    optimiser = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimiser.step()
    moments = [state[key] for state in optimiser.state.values() for key in ("exp_avg", "exp_avg_sq")]
    weights = list(model.parameters())
    assert parameters(sizes) == model.num_parameters()
    assert size(moments) == ADAM * parameters(sizes)
    assert size([*weights, *(weight.grad for weight in weights), *moments]) == training_state(sizes)


@pytest.mark.parametrize("targets", ["mlp", "mlp+attention"])
@pytest.mark.parametrize("name", SHAPES)
def test_of_a_model_with_adapters_only_they_have_gradients_and_moments(name, targets):
    sizes, settings = shape(name), Lora(rank=3, lora_alpha=6.0, dropout=0.0, targets=targets)
    model = lora(settings.rank, settings.targets, settings.lora_alpha, seed=0).wrap(model_of(sizes))
    optimiser = optimiser_for(model, load_preset("openllama-3b").rsf.descent.optimiser.optimiser(1))
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimiser.step()
    weights, learned = list(model.parameters()), [weight for weight in model.parameters() if weight.requires_grad]
    moments = [state[key] for state in optimiser.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert sum(weight.numel() for weight in learned) == adapters(sizes, settings)
    assert size([*weights, *moments]) == saved_state(sizes, settings)
    assert size([*weights, *(weight.grad for weight in learned), *moments]) == training_state(sizes, lora=settings)


def test_adapters_save_memory_disk_and_hours_of_what_they_train():
    """By hand, of OpenLLaMA-3B: frozen weights have no gradients, so a token takes 6 N operations instead of 8 N, and of PPO's two models one is
    trained whole; a state is 4 N and not 12 N bytes."""
    plain, thin = load_preset("openllama-3b"), load_preset("openllama-3b-lora")
    count, few = parameters(plain.model), adapters(plain.model, thin.rsf.lora)
    assert few == 26 * 16 * (3 * (3200 + 8640) + 4 * 2 * 3200)
    assert less_learning(plain.model, True, None) == 1
    assert less_learning(plain.model, True, thin.rsf.lora) == pytest.approx((6 * count + 8 * few) / (8 * count))
    rsf, ppo = Step("align", "rsf"), Step("align", "ppo")
    fewer = {step: hub.cost(plain, step).scratch - hub.cost(thin, step).scratch for step in (rsf, ppo)}
    saved = saved_state(plain.model) - saved_state(plain.model, thin.rsf.lora)
    assert saved == 8 * count - 12 * few
    assert fewer == {rsf: plain.rsf.states * saved, ppo: plain.ppo.states * saved}
    less = hub.memory(plain, ppo) - hub.memory(thin, ppo)
    assert less == pytest.approx((12 * count - 16 * few) / 4)
    alike = thin.model_copy(update={"ppo": thin.ppo.model_copy(update={"lora": None})})
    rest = (less_learning(plain.model, True, thin.ppo.lora) + 1) / 2
    assert hub.work(thin, ppo).trained == pytest.approx(rest * hub.work(alike, ppo).trained)
    assert hub.work(thin, ppo).read == hub.work(alike, ppo).read
    assert hub.waiting(alike, ppo, 1.0) - hub.waiting(thin, ppo, 1.0) == pytest.approx(40 * saved / hub.SAVED / 3600)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_the_estimate_of_activations_is_near_what_a_backward_pass_keeps(name, checkpointing):
    sizes = shape(name)
    model = model_of(sizes).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.randint(0, sizes.vocabulary, (3, 40))
    measured, estimated = kept_for_backward(model, ids), activations(sizes, ids.numel(), FULL, checkpointing)
    if checkpointing:  # the one layer that is computed again is not seen here; without checkpointing it is, three times
        estimated -= layer_activations(sizes, ids.numel(), FULL)
    assert 1 / FACTOR < estimated / measured < FACTOR


def test_the_cache_holds_what_a_model_writes_into_it():
    from transformers import DynamicCache

    sizes = shape("grouped")
    model, kept = model_of(sizes).to(torch.bfloat16), DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.ones((3, 7), dtype=torch.long), past_key_values=kept, use_cache=True)
    held = [tensor for layer in kept.layers for tensor in (layer.keys, layer.values)]
    assert size(held) == cache(sizes, 21)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("openllama-3b", 3_426_473_600),
        ("zephyr-7b-beta", 7_241_732_096),
        ("zephyr-7b-gemma", 8_537_680_896),
        ("smollm2-135m", 134_515_008),
        ("tulu-3-8b", 8_030_326_784),
        ("olmo-2-1b", 1_484_916_736),
        ("qwen2.5-1.5b", 1_543_714_304),
    ],
)
def test_the_presets_models_have_their_published_numbers_of_parameters(name, count):
    assert parameters(load_preset(name).model) == count


def test_a_larger_reward_model_than_the_model_takes_its_own_memory_and_disk():
    preset = load_preset("olmo-2-1b")
    alike = preset.model_copy(update={"reward_model": None})
    more = HALF * (parameters(preset.judge) - parameters(preset.model))
    assert parameters(preset.judge) == parameters(load_preset("tulu-3-8b").model)
    search = Step("average", "dpo", entry=load_sweep("core").entry("ama"))  # whose samples it judges
    assert hub.memory(preset, search) >= hub.memory(preset, Step("baseline"))
    for step in (Step("baseline"), Step("trajectory", "dpo")):
        assert hub.memory(preset, step) - hub.memory(alike, step) == more
    reward = Step("reward")
    assert hub.cost(preset, reward).disk - hub.cost(alike, reward).disk == more
    assert hub.memory(preset, reward) > HALF * parameters(preset.judge)


def test_sharding_divides_the_state_and_checkpointing_costs_time_for_memory():
    sizes = load_preset("openllama-3b").model
    assert training_state(sizes, 4) == training_state(sizes) / 4
    assert gathered(sizes, 1) == 0 < gathered(sizes, 4) < HALF * parameters(sizes)
    assert activations(sizes, 2048, HALF, True) < activations(sizes, 2048, HALF, False) / 5
    slow, fast = (gpu_speed(sizes, 1e15, 2e12, checkpointing, Together(8, 100.0)) for checkpointing in (True, False))
    assert fast.trained / slow.trained == pytest.approx(8 / 6)
    assert fast.trained * 6 * parameters(sizes) == pytest.approx(0.36e15)
    assert Speed(10, 20, 5).hours(Work(3600, 7200, 3600) + Work(3600) * 2) == pytest.approx(3 * 0.1 + 0.1 + 0.2)


def test_writing_is_bound_by_memory_for_few_replies_and_by_arithmetic_for_many():
    """By hand, of a model of 7.24e9 parameters in bf16 (32 layers, 8 key heads of 128) on an A100, at .6 of 2e12 bytes and .4 of 312e12 operations."""
    sizes, peak, bandwidth = load_preset("zephyr-7b-beta").model, 312e12, 2e12
    count = 7_241_732_096
    alone = 1.2e12 / (2 * count + 1000 * 131_072)  # 2 x 2 bytes x 32 x 8 x 128 a token of context
    assert written(sizes, peak, bandwidth, Together(1, 1000)) == pytest.approx(alone)
    assert 75 < alone < 85
    eight = 8 * 1.2e12 / (2 * count + 8 * 1000 * 131_072)
    assert written(sizes, peak, bandwidth, Together(8, 1000)) == pytest.approx(eight)
    many = written(sizes, peak, bandwidth, Together(4096, 0))
    assert many == pytest.approx(0.4 * 312e12 / (2 * count))  # as fast as reading
    assert many == pytest.approx(gpu_speed(sizes, peak, bandwidth, True, Together(4096, 0)).read)
    slower = 8 / (8 / eight + 32 * 0.6e-3)
    assert written(sizes, peak, bandwidth, Together(8, 1000, 0.6e-3)) == pytest.approx(slower)
    for batch in (1, 8, 64):
        twice = written(sizes, peak, 2 * bandwidth, Together(batch, 500))
        assert twice / written(sizes, peak, bandwidth, Together(batch, 500)) == pytest.approx(2)
        assert written(sizes, peak, bandwidth, Together(batch, 500)) < written(
            sizes, peak, bandwidth, Together(batch, 0)
        )


def test_who_writes_how_many_replies_together_decides_the_speed(monkeypatch):
    preset, align = load_preset("openllama-3b"), Step("align", "rsf")
    assert hub.together(preset, align) == Together(128, 150 + 98, 0)
    assert hub.together(hub.with_sampler(preset, "transformers"), Step("baseline")) == Together(16, 248, hub.LAUNCHES)
    assert hub.together(hub.with_sampler(preset, "vllm"), Step("baseline")) == Together(128, 150 + 98, 0)
    for installed, batch in ((True, 128), (False, 16)):
        monkeypatch.setattr(hub, "is_installed", lambda installed=installed: installed)
        assert hub.together(preset, Step("baseline")).batch == batch
    ppo = Step("align", "ppo")  # 512 replies an iteration, never by an engine
    assert hub.together(preset, ppo) == Together(128, 150 + 98, hub.LAUNCHES)
    assert hub.together(hub.with_gpus(preset, 8), ppo) == Together(64, 150 + 98, hub.LAUNCHES)
    slow = preset.model_copy(update={"hardware": preset.hardware.model_copy(update={"sampler": "transformers"})})
    assert hub.cost(slow, align).hours > hub.cost(preset, align).hours
    assert hub.cost(preset, align, bandwidth=2 * hub.BANDWIDTH).hours < hub.cost(preset, align).hours
    sft, dpo = Step("sft"), Step("align", "dpo")
    for step in (sft, dpo):  # which write nothing
        assert hub.cost(preset, step, bandwidth=1e9) == hub.cost(preset, step)


def test_replies_that_are_read_take_a_layer_and_their_logits():
    """By hand, of Qwen2.5: nine rows of 708 tokens, whose 196 new tokens have logits in bf16, in fp32, and as log-probabilities."""
    preset = load_preset("qwen2.5-1.5b")
    found = hub.reading(preset.model, preset.hardware, preset.ppo.writing)
    logits = 9 * 196 * 151_936
    assert found == layer_activations(preset.model, 9 * 708, HALF) + 10 * logits
    ppo = Step("align", "ppo")
    alone = hub._training(preset, preset.ppo, preset.ppo.longest) + 3 * HALF * parameters(preset.model)
    assert alone + found <= hub.memory(preset, ppo) < 80 * GB


def test_states_models_and_engines_take_time_and_states_are_written_by_the_clock():
    """By hand, of OpenLLaMA-3B: 6.85e9 bytes a model, 41.1e9 a state of one, at 1.5e9 a second; an engine starts in 90 seconds."""
    preset, count = hub.with_sampler(load_preset("openllama-3b"), "vllm"), 3_426_473_600
    folder, state = 2 * count / 1.5e9 / 3600, 12 * count / 1.5e9 / 3600
    found = {
        step: hub.waiting(preset, step, computed=2.1) for step in (Step("sft"), Step("reward"), Step("align", "dpo"))
    }
    assert list(found.values()) == pytest.approx([folder + 6 * state, 2 * folder + 6 * state, folder + 6 * state])
    assert hub.waiting(preset, Step("align", "rsf"), 2.1) == pytest.approx(10 * (folder + 90 / 3600))
    assert hub.waiting(preset, Step("align", "ppo"), 2.1) == pytest.approx(40 * (folder + 2 * state))  # no engine
    assert hub.waiting(preset, Step("trajectory", "rsf"), 2.1) == pytest.approx(10 * (folder + 90 / 3600))
    assert hub.waiting(hub.with_sampler(preset, "transformers"), Step("trajectory", "rsf"), 2.1) == 0


def test_by_transformers_the_tasks_logits_are_held_at_once():
    preset, step = load_preset("olmo-2-1b"), Step("baseline")
    ours, theirs = (hub.memory(hub.with_sampler(preset, sampler), step) for sampler in ("vllm", "transformers"))
    weights = HALF * (parameters(preset.model) + parameters(preset.judge))
    assert theirs == weights + 4 * 32 * 1000 * 100_352
    assert ours < 24 * GB < theirs < 40 * GB


def test_an_engine_keeps_room_for_one_text_of_the_longest_that_are_measured():
    """Tulu 3's context of 131072 tokens would take 16 GiB of keys and values."""
    long = load_preset("tulu-3-8b")
    few = hub.with_sampler(long, "vllm")
    few = few.model_copy(update={"hardware": few.hardware.model_copy(update={"generation_batch": 1})})
    weights = HALF * (parameters(long.model) + parameters(long.judge))
    assert cache(long.model, 131072) == 16 * GB and long.context == 8192
    assert hub.memory(few, Step("baseline")) == weights + cache(long.model, 8192)
    assert load_preset("openllama-3b").context == 2048


def test_a_regression_is_planned_by_its_texts_and_matrices():
    """By hand, of Zephyr: 256 texts of each model, of 64 and of 150 + 196 tokens; 32 layers, whose inputs have sizes 4096 (twice read by a matrix
    or more) and 14336."""
    preset, entry = load_preset("zephyr-7b-beta"), load_sweep("merging-others").entry("regmean")
    tokens, count = 256 * (64 + 150 + preset.ama.max_new_tokens), parameters(preset.model)
    sizes = [(4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096)]
    solved = 32 * sum(2 * tokens * d * d + d**3 / 3 + 4 * d * d * outputs for d, outputs in sizes)
    found = regression.work(preset, entry, hub.LENGTHS)
    assert found.written == 256 * (64 + preset.ama.max_new_tokens)
    assert found.read == pytest.approx(256 * 150 + 5 * (tokens + 16 * solved / (2 * count)))  # five strengths
    alone = Step("average", "dpo", entry=load_sweep("merging-others").entry("lines"))
    step = Step("average", "dpo", entry=entry)
    assert hub.cost(preset, step).scratch == 2 * hub.cost(preset, alone).scratch  # made beside the folder first
    assert hub.memory(preset, step) >= 6 * 8 * 14336**2
    few = entry.model_copy(update={"options": {"strength": (1,), "samples": (16,)}})
    assert regression.memory(preset, few, hub.LENGTHS) < regression.memory(preset, entry, hub.LENGTHS)


def test_the_steps_are_the_graphs_jobs_once_each_and_tell_how_many_models_they_measure():
    preset = load_preset("smoke")
    found = steps(preset, [load_sweep("core")])
    before = ["pretrain", "sft", "reward", "align", "trajectory"]
    assert [step.rule for step in found] == [*before, *["average"] * 7, "baseline"]
    assert sum(models(preset, step) for step in found) == 2 + 13 + 44 + 8 + 1
    both = steps(preset, [load_sweep("core"), load_sweep("mitigations")])
    assert len(both) == len(set(both)) == len(found) + 8
    penalties = steps(preset, [load_sweep("kl-penalty")])
    penalised = [step.eta for step in penalties if step.rule == "penalise"]
    assert penalised == [0.1, 0.2, 0.5]  # the preset's own is no other


@pytest.mark.parametrize("name", names("presets"))
def test_every_step_of_every_sweep_of_every_preset_has_a_finite_cost(name):
    preset = load_preset(name)
    sweeps = [sweep for sweep in map(load_sweep, names("sweeps")) if not why_empty(sweep, preset)]
    planned = costs(preset, sweeps)
    for step, cost in planned:
        assert 0 <= cost.hours < 1e4, step
        assert 0 <= cost.memory < 1e12, step
        assert preset.needs_gpus == (cost.gpus > 0) or cost.hours == 0, step
    aligned = [cost for step, cost in planned if step.rule == "align"]
    assert all(cost.disk > 0 for cost in aligned)
    require_room(preset, planned, Device(8, inf))


@pytest.mark.parametrize("step", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_the_oracles_points_are_counted_without_making_them(groups, step):
    oracle = load_preset("smoke").oracle.model_copy(update={"step": step})
    for alpha in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        assert oracle.points(alpha, groups) == len(lattice(groups, alpha, step))


def computed(preset, step: Step, peak: float = 1) -> float:
    """The hours of a step in which something is computed. peak: times that of the default."""
    cost = hub.cost(preset, step, peak * hub.PEAK)
    return cost.hours - cost.waiting


def test_twice_the_samples_take_longer_and_more_gpus_hold_more():
    preset, step = load_preset("openllama-3b"), Step("align", "rsf")
    more = preset.model_copy(update={"rsf": preset.rsf.model_copy(update={"samples": 64})})
    assert 1.5 < hub.cost(more, step).hours / hub.cost(preset, step).hours < 2
    sft = Step("sft")
    assert hub.cost(hub.with_gpus(preset, 8), sft).memory < hub.cost(preset, sft).memory
    eight, four, fast = (
        computed(of, sft, peak) for of, peak in ((hub.with_gpus(preset, 8), 1), (preset, 1), (preset, 2))
    )
    assert [eight / four, fast / four] == pytest.approx([4 / 8, 1 / 2])
    small, large = (local.cost(load_preset(name), Step("align", "rsf")) for name in ("smoke", "microcosm"))
    assert replace(small, hours=0).memory < large.memory
    assert small.hours < large.hours


def test_each_round_of_new_pairs_costs_an_rsf_its_pairs_and_another_fit():
    preset, reward, align = load_preset("microcosm-1"), Step("reward"), Step("align", "rsf")

    def renewed(rounds: int, pairs: int) -> float:
        return local.cost(
            preset.model_copy(
                update={"renewal": Renewal(rounds=rounds, pairs=pairs, iterations=preset.rsf.iterations)}
            ),
            reward,
        ).hours

    without, rsf = local.cost(preset, reward).hours, local.cost(preset, align).hours
    one, two = renewed(1, 1), renewed(2, 1)
    assert one - without == pytest.approx(two - one, rel=1e-3)
    assert one - without > rsf
    assert renewed(1, preset.preferences.pairs) > one


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--preset", "zephyr-7b-beta", "--gpus", "1", "--memory-gb", "24"],
            r"memory_gb = 24 is not allowed with preset = zephyr-7b-beta, whose step `average dpo ama` takes [\d.]+ GB; allowed are at least \d+",
        ),
        (
            ["--preset", "openllama-3b"],
            "gpus = 0 is not allowed with preset = openllama-3b, which is planned for 4; allowed are at least",
        ),
        (
            ["--preset", "smollm2-135m", "--memory-gb", "1"],
            "memory_gb = 1 is not allowed with preset = smollm2-135m, whose step `align dpo` takes",
        ),
        (
            ["--preset", "openllama-3b", "--tflops", "inf"],
            "tflops = 'inf' is not allowed; allowed are numbers from 1 to 1000000\n",
        ),
        (
            ["--preset", "openllama-3b", "--bandwidth", "inf"],
            "bandwidth = 'inf' is not allowed; allowed are numbers from 0.01 to 1000000\n",
        ),
        (
            ["--preset", "zephyr-7b-beta", "--sweep", "core"],
            "sweep = core is not allowed with preset = zephyr-7b-beta, whose models are aligned by dpo",
        ),
    ],
)
def test_what_a_machine_cannot_hold_is_refused_in_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert command(monkeypatch, "plan", *arguments) == 2
    assert re.search(sentence, capsys.readouterr().err)


@pytest.mark.parametrize("gpus", [8, 7, 2, 1])
def test_any_number_of_gpus_is_planned_with_as_many_as_divide_the_batches(gpus):
    """Batches are 128; 12 and 16; 32: of eight GPUs a batch of 12 takes six, of seven one of 32 takes four."""
    preset = hub.with_gpus(load_preset("openllama-3b"), gpus)
    found = {
        rule: hub.cost(preset, Step(rule, rlhf)) for rule, rlhf in (("sft", None), ("reward", None), ("align", "rsf"))
    }
    shares = {8: (8, 8, 8), 7: (4, 6, 4), 2: (2, 2, 2), 1: (1, 1, 1)}[gpus]
    assert tuple(one.gpus for one in found.values()) == shares
    alone = hub.with_gpus(preset, 1)
    hours = [
        computed(alone, step) / computed(preset, step) for step in (Step("sft"), Step("reward"), Step("align", "rsf"))
    ]
    assert hours == pytest.approx({8: (8, 6, 8), 7: (4, 4, 4), 2: (2, 2, 2), 1: (1, 1, 1)}[gpus])


def test_a_plan_lists_every_step_and_sums_them(monkeypatch, capsys):
    assert (
        command(monkeypatch, "plan", "--preset", "openllama-3b", "--gpus", "4", "--memory-gb", "80", "--seeds", "2")
        == 0
    )
    *lines, total, _, _ = capsys.readouterr().out.splitlines()[1:]  # two lines of what an H200 did
    hours = sum(
        int(gpus) * float(hour)
        for gpus, hour in re.findall(r" +(\d+) +([\d.]+) +[\d.]+ +[\d.]+$", "\n".join(lines), re.MULTILINE)
    )
    said = float(re.search(r"openllama-3b, 2 seed\(s\): ([\d.]+) GPU hours", total)[1])
    assert said == pytest.approx(2 * hours, rel=0.01)
    assert float(re.search(r"peak memory on a GPU ([\d.]+) GB", total)[1]) * GB < 80 * GB


def test_what_is_fetched_is_counted_once_for_all_seeds():
    """Zephyr's three models of 7 241 732 096 parameters and 2e10 bytes of data are linked by every seed; one average at a time is written aside."""
    pair, sweeps = load_preset("zephyr-7b-beta"), [load_sweep("algorithms")]
    planned = costs(pair, sweeps)
    assert sum(cost.shared for _, cost in planned) == 3 * 2 * 7_241_732_096 + 2e10
    for seeds in (1, 3):
        assert text(pair, planned, seeds).endswith(
            " disk 72.6 GB, 59.1 of it once for all seeds (data sets and public models)"
        )
    local = pair.model_copy(update={"data_dir": "there"})
    assert sum(cost.shared for _, cost in costs(local, sweeps)) == 3 * 2 * 7_241_732_096


def test_what_a_seed_makes_is_counted_for_each():
    """Of OpenLLaMA-3B the pre-trained model and the data are fetched; in GB of 2**30 bytes 6.4 and 18.6."""
    trained = load_preset("openllama-3b")
    planned = costs(trained, [load_sweep("core")])
    own = sum(cost.disk - cost.shared for _, cost in planned)
    shared = 2 * parameters(trained.model) + 2e10
    one, three = (float(re.search(r"disk ([\d.]+) GB, 25.0 of", text(trained, planned, seeds))[1]) for seeds in (1, 3))
    assert sum(cost.shared for _, cost in planned) == shared and round(shared / GB, 1) == 25.0
    assert three - one == pytest.approx(2 * own / GB, abs=0.11)
    random = tiny(trained, "there")
    assert not any(cost.shared for _, cost in costs(random, [])) and costs(random, [])[0][1].disk > 0
    assert "once for all seeds" not in text(random, costs(random, []), 2)


@pytest.mark.parametrize("asking", ["plan", "check"])
def test_all_sweeps_that_a_preset_can_run_are_planned_by_one_word(monkeypatch, capsys, tmp_path, asking):
    planned, options = [], ("--gpus", "8", "--memory-gb", "80") if asking == "plan" else ("--out", str(tmp_path))

    def counted(preset, sweeps, *arguments):
        planned.append([sweep.name for sweep in sweeps])
        return costs(preset, sweeps, *arguments)

    monkeypatch.setattr(report, "costs", counted)
    monkeypatch.setattr(checking, "check", lambda *arguments: [])
    every = [load_sweep(sweep) for sweep in names("sweeps")]
    for name, given, some in (
        ("zephyr-7b-beta", ("--sweep", "all", "--sweep", "algorithms"), {"algorithms", "merging-others"}),
        ("openllama-3b", ("--sweep", "all"), {"algorithms", "core", "kl-penalty", "merging-others", "regmean"}),
    ):
        assert command(monkeypatch, asking, "--preset", name, *given, *options) == 0
        can = [sweep.name for sweep in every if not why_empty(sweep, load_preset(name))]
        assert sorted(planned[-1]) == can and some <= set(can)  # each once
    if asking == "plan":
        steps_of_all = r"^penalise ppo eta 0\.05 .*^average rsf regmean"
        assert re.search(steps_of_all, capsys.readouterr().out, re.DOTALL | re.MULTILINE)
    assert (
        command(monkeypatch, asking, "--preset", "zephyr-7b-beta", "--sweep", "all", "--sweep", "core", *options) == 2
    )
    assert "sweep = core is not allowed with preset = zephyr-7b-beta" in capsys.readouterr().err


def hours_of(preset, sweep):
    return {step.name: cost.hours for step, cost in costs(preset, [load_sweep(sweep)])}


def test_methods_in_every_iteration_take_a_run_of_alignment_a_setting_and_warp_one_for_each_of_its_runs():
    preset = load_preset("microcosm-1")  # whose algorithms run to their last iteration
    alone = local.cost(preset, Step("align", "rsf")).hours
    found, measured = hours_of(preset, "training-time"), local.cost(preset, Step("baseline")).hours
    assert found["mitigate rsf kl-anchor"] == pytest.approx(3 * (alone + measured))
    assert found["mitigate rsf warp"] == pytest.approx(
        3 * 2 * alone + 12 * measured
    )  # three shares, four points of each front
    assert found["mitigate rsf ondare"] == pytest.approx(alone + 6 * measured)  # its iterations
    assert not any(name.startswith("align") for name in found)
    dpo = hours_of(preset, "training-time-dpo")["mitigate dpo kl-anchor"]
    assert dpo == pytest.approx(3 * (local.cost(preset, Step("align", "dpo")).hours + measured))


def test_arms_cost_what_rsf_does_and_a_common_reward_costs_its_replies_and_waits_for_rsf():
    preset = load_preset("microcosm-1")
    stops = type(preset).model_validate(preset.model_dump() | {"until": {"share": 0.95, "prompts": 400}})
    for rlhf in ("rsf-gold", "rsf-run2"):
        assert local.cost(preset, Step("align", rlhf)) == local.cost(preset, Step("align", "rsf"))
    before, after = (local.cost(one, Step("align", "dpo")).hours for one in (preset, stops))
    assert 0 < after - before < 0.2
    for sweep, needed in (
        ("training-time", ["align rsf"]),
        ("second-runs", ["align rsf", "align rsf-run2", "align rsf-run3"]),
    ):
        assert [name for name in hours_of(stops, sweep) if name.startswith("align")] == needed
    assert [name for name in hours_of(stops, "gold-reward") if name.startswith("align")] == ["align rsf-gold"]


def test_an_average_of_several_runs_of_alignment_waits_for_them(monkeypatch):
    options = {"runs": methods.Option(least=2, whole=True)}
    stew = methods.Method("stew", "averaging", {"stew": methods.Look("stew", "#123456")}, "", "", options, whole=True)
    monkeypatch.setitem(methods.METHODS, "stew", stew)
    grouping = {"parts": 3, "embeddings": "first", "norm": "mean", "head": "mean"}
    entry = {"label": "stew", "method": "stew", "options": {"runs": [2, 3]}, "grouping": grouping}
    shared = {"name": "stews", "rlhf": ["rsf"], "learning_rates": [None], "trajectory": False, "training": []}
    found = steps(load_preset("smoke"), [Sweep.model_validate(shared | {"averaging": [entry]})])
    assert [step.rlhf for step in found if step.rule == "align"] == ["rsf", "rsf-run2", "rsf-run3"]
