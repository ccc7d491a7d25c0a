"""The presets of the paper's models: every number of the paper's section 3, typed here again, and refusals."""

from pathlib import Path

import pytest
import yaml

from llm.config import HubPreset, load_preset, load_sweep, runnable, why_empty
from llm.errors import UserError

COSINE = {"schedule": "cosine", "warmup_share": 0.03}
SFT = COSINE | {"lr": 1e-5, "epochs": 1, "batch": 128, "block": 2048}
ADAPT = {"warmup_share": 0.03, "epochs": 1, "batch": 1, "block": 512, "keep": 5000, "draw": 2000}
LORA = {"lr": 1e-5, "batch": 32, "rank": 16, "lora_alpha": 32}
RSF = {"prompts": 2048, "samples": 32, "temperature": 1.0, "epochs": 2, "lr": 1e-5, "batch": 32, "iterations": 10}
PPO = {"temperature": 1.0, "prompts": 512, "lr": 1e-6, "epochs": 2, "batch": 32, "eta": 0.1, "baseline": 5.5625}
PPO |= {"back": 3}
PAPER = {  # section 3 of the paper, stage by stage
    ("openllama-3b", "sft"): SFT,
    ("openllama-3b", "warm_start"): SFT | {"batch": 12},
    ("openllama-3b", "reward.sft"): COSINE | {"lr": 2e-5, "epochs": 2, "batch": 12},
    ("openllama-3b", "reward.bradley_terry"): COSINE | {"lr": 5e-6, "epochs": 1, "batch": 16},
    ("openllama-3b", "rsf"): RSF | {"lora": None},
    ("openllama-3b-lora", "rsf"): LORA | {"epochs": 2},
    ("openllama-3b", "ppo"): PPO | {"lora": None},
    ("openllama-3b-lora", "ppo"): LORA | {"epochs": 4, "dropout": 0.05},
    # a model every half epoch
    ("openllama-3b", "dpo"): {"lr": 1e-6, "batch": 32, "beta": 0.1, "epochs": 1, "iterations": 2},
    ("openllama-3b", "ama"): ADAPT,
    ("openllama-3b-ama-paper", "ama"): ADAPT | {"rsf": 2e-5, "ppo": 4e-5, "dpo": 4e-5},
    ("zephyr-7b-beta", "ama"): ADAPT,
    ("zephyr-7b-beta-ama-paper", "ama"): ADAPT | {"dpo": 4e-5},
    ("zephyr-7b-gemma", "ama"): ADAPT,
    ("zephyr-7b-gemma-ama-paper", "ama"): ADAPT | {"dpo": 4e-5},
    ("openllama-3b", "evaluate"): {"temperature": 1.0, "max_new_tokens": 196},
    ("zephyr-7b-beta", "evaluate"): {"temperature": 1.0, "max_new_tokens": 196},
    ("zephyr-7b-gemma", "evaluate"): {"temperature": 1.0, "max_new_tokens": 196},
}
TASKS = {"arc_easy", "arc_challenge", "race", "piqa", "squad_v1_f1", "drop", "wmt14-fr-en"}
HUB = ["openllama-3b", "openllama-3b-lora", "zephyr-7b-beta", "zephyr-7b-gemma"]


def numbers(settings: dict) -> dict[str, list]:
    """Every setting by its own name, wherever it stands; the critic's, which the paper does not tell, left out."""
    found: dict[str, list] = {}
    for key, value in settings.items():
        inner = numbers(value) if isinstance(value, dict) else {key: [value]}
        for name, values in inner.items() if key != "critic_optimiser" else ():
            found[name] = found.get(name, []) + values
    return found


@pytest.mark.parametrize(("preset", "section"), PAPER)
def test_every_number_of_the_papers_section_3_is_the_presets(preset, section):
    settings = load_preset(preset).model_dump()
    for key in section.split("."):
        settings = settings[key]
    found = numbers(settings)
    assert {key: found[key] for key in PAPER[preset, section]} == {
        key: [value] for key, value in PAPER[preset, section].items()
    }


def test_the_papers_penalties_are_swept_its_tasks_asked_and_its_layers_parted():
    preset = load_preset("openllama-3b")
    assert load_sweep("kl-penalty").training_entry("kl").options["strength"][:3] == (0.05, 0.1, 0.2)
    assert [entry.label for entry in runnable(load_sweep("kl-penalty"), preset).training] == ["kl"]
    assert [load_preset(name).model.layers for name in HUB] == [26, 26, 32, 28]
    for name in HUB:
        assert set(load_preset(name).evaluate.tasks) == TASKS


def test_public_models_are_averaged_and_adapted_only():
    for name in ("zephyr-7b-beta", "zephyr-7b-gemma", "olmo-2-1b", "tulu-3-8b"):
        preset = load_preset(name)
        assert isinstance(preset, HubPreset)
        assert not preset.is_trained
        assert (preset.algorithms, preset.iterations("dpo")) == (("dpo",), 1)
        assert (preset.sft, preset.reward, preset.rsf, preset.dpo, preset.ppo) == (None,) * 5
        assert why_empty(load_sweep("core"), preset) == "whose models are aligned by dpo"
        found = [entry.method for entry in runnable(load_sweep("algorithms"), preset).averaging]
        assert found == ["ma", *["part"] * 4, "ama", "ama"]
    tied, untied = load_preset("zephyr-7b-gemma"), load_preset("zephyr-7b-beta")
    assert why_empty(load_sweep("embeddings"), tied) == "whose head is tied to its embeddings"
    assert why_empty(load_sweep("embeddings"), untied) is None


def test_what_a_preset_cannot_run_is_left_out_of_a_sweep_and_the_first_microcosm_runs_all_of_it():
    microcosm, smollm = load_preset("microcosm-1"), load_preset("smollm2-135m")
    wanted = "core algorithms mitigations mitigation-rates learning-rates ratios kl-penalty ama-samples".split()
    for name in wanted:
        assert runnable(load_sweep(name), microcosm) == load_sweep(name)
    assert runnable(load_sweep("algorithms"), smollm).rlhf == ("dpo",)
    labels = [entry.label for entry in load_sweep("core").averaging]
    assert [entry.label for entry in runnable(load_sweep("core"), smollm).averaging] == labels[:-1]  # by its `entries`
    assert why_empty(load_sweep("learning-rates"), smollm) == "which is run at its own learning rates"
    assert (
        why_empty(load_sweep("mitigations"), smollm)
        == "which has none of the methods distilled, l1, l2, kd, lora, sma, er"
    )
    assert (
        why_empty(load_sweep("kl-penalty"), smollm)
        == "whose models are aligned by rsf, dpo, rsf-gold, rsf-run2, rsf-run3"
    )


@pytest.mark.parametrize(("name", "alphas"), [("smollm2-135m", (0.0, 0.5, 1.0)), ("smollm2-135m-gpu", None)])
def test_where_models_are_slow_to_measure_single_parts_have_fewer_ratios_and_nothing_else_has(name, alphas):
    whole, preset = load_sweep("core"), load_preset(name)
    chosen = [entry for entry in whole.averaging if entry.label in (preset.entries or {}).get("core", [entry.label])]
    for thinned, entry in zip(runnable(whole, preset).averaging, chosen, strict=True):
        fewer = {"alphas": alphas} if alphas and entry.method == "part" else {}
        assert thinned == entry.model_copy(update=fewer)


@pytest.mark.parametrize(
    ("base", "changed", "sentence"),
    [
        (
            "openllama-3b",
            {"models": {"theta": "x"}},
            "models: pretrained, theta is not allowed; allowed are pretrained alone, theta_0 alone, or theta_0, theta and reward",
        ),
        ("zephyr-7b-beta", {"models": {"theta": None}}, "models: theta_0, reward is not allowed"),
        (
            "openllama-3b",
            {"models": {"pretrained": None, "theta_0": "x"}, "sft": None, "reward": None},
            "the key reward is missing; it must be given with models.theta_0",
        ),
        (
            "openllama-3b",
            {"models": {"pretrained": None, "theta_0": "x"}},
            "sft is not allowed with models.theta_0, which is tuned already",
        ),
        ("openllama-3b", {"sft": None}, "the key sft is missing; it must be given with models.pretrained"),
        (
            "openllama-3b",
            {"warm_start": None},
            "the key warm_start is missing; it must be given with ppo, which starts from it",
        ),
        (
            "openllama-3b",
            {"hardware": {"launcher": "none"}},
            "hardware: processes = 4 is not allowed with launcher = none; allowed is 1",
        ),
        (
            "openllama-3b",
            {"ppo": {"writing": {"prompt_tokens": 3000}}},
            "ppo.writing: prompt_tokens \\+ max_new_tokens = 3196 is not allowed with model.context = 2048; allowed are at most",
        ),
        ("openllama-3b", {"dpo": {"length": 2049}}, "dpo.length = 2049 is not allowed with model.context = 2048"),
        ("openllama-3b", {"sft": {"block": 4096}}, "sft.block = 4096 is not allowed with model.context = 2048"),
        (
            "openllama-3b",
            {"reward": {"bradley_terry": {"length": 2049}}},
            "reward.bradley_terry.length = 2049 is not allowed with model.context = 2048",
        ),
        ("openllama-3b", {"aligned_by": "dpo"}, "aligned_by = dpo is not allowed with models.pretrained"),
        (
            "openllama-3b",
            {"reward_model": load_preset("zephyr-7b-beta").model.model_dump()},
            "reward_model is not allowed with models.pretrained",
        ),
        ("zephyr-7b-beta", {"aligned_by": None}, "the key aligned_by is missing; it must be given with models.theta"),
        (
            "openllama-3b",
            {"model": {"kv_heads": 5}},
            "model: kv_heads = 5 is not allowed with heads = 32; allowed are its divisors",
        ),
        (
            "openllama-3b",
            {"evaluate": {"tasks": ["chess"]}},
            "evaluate: tasks = 'chess' is an unknown name; allowed are arc_easy",
        ),
        (
            "openllama-3b",
            {"template": "alpaca"},
            "template = 'alpaca' is an unknown name; allowed are openllama, zephyr",
        ),
        (
            "openllama-3b",
            {"rsf": {"descent": {"batch": 0}}},
            "rsf.descent.batch = 0 is not allowed; .* whole numbers from 1",
        ),
        ("openllama-3b", {"reward": {"sft": {"blocks": 1}}}, "reward.sft: blocks = 1 is an unknown key; allowed are"),
    ],
)
def test_a_wrong_hub_preset_is_one_sentence(tmp_path: Path, base, changed, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": base, "name": "mine", **changed}))
    with pytest.raises(UserError, match=sentence) as caught:
        load_preset(str(path))
    assert "\n" not in str(caught.value)
