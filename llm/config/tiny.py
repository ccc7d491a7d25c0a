"""Presets made tiny: the same kind, the same code path, in seconds on a processor; for tests of the plumbing, not of quality."""

from typing import Any, TypeVar

from .base import Settings
from .hub import RANDOM, HubPreset
from .local import SmollmPreset

P = TypeVar("P", SmollmPreset, HubPreset)
SHAPE = {  # three layers, since the sweeps part them in three; fewer key heads than heads, as the models have
    "layers": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "heads": 4,
    "kv_heads": 2,
    "head_size": 16,
    "context": 512,
}
_TRAINED = {"epochs": 1, "batch": 4}
_SAMPLED = {"iterations": 2, "prompts": 4, "samples": 2}
_AMA = {"prompts": 16, "samples": 2, "keep": 16, "draw": 6}
SMOLLM = {
    "device": "cpu",
    "max_new_tokens": 6,
    "generation_batch": 8,
    "preferences": {"pairs": 12, "test_pairs": 6},
    "rsf": _SAMPLED | _TRAINED,
    "dpo": {"iterations": 2, **_TRAINED},
    "ama": _AMA | {"steps": 2, "batch": 3},
    "oracle": {"step": 0.2, "screen": 2, "finalists": 2, "prompts": 4},
    "evaluate": {"prompts": 4, "qa": 4, "reading": 4, "text": 3, "batch": 8},
}


_SHORT = {"temperature": 1.0, "max_new_tokens": 6, "prompt_tokens": 600}
_DESCENT = {"descent": _TRAINED}
HARDWARE = {
    "device": "cpu",
    "launcher": "none",
    "processes": 1,
    "per_device_batch": 2,
    "generation_batch": 8,
    "dtype": "fp32",
    "checkpoint_minutes": 0,
    "sampler": "transformers",
}
HUB: dict[str, dict[str, Any]] = {
    "hardware": HARDWARE,
    "sft": {"block": 128, **_DESCENT},
    "warm_start": {"block": 128, **_DESCENT},
    "reward": {"sft": {"block": 128, **_DESCENT}, "bradley_terry": {"length": 1000, **_DESCENT}},
    "rsf": _SAMPLED | _DESCENT | {"writing": _SHORT},
    "ppo": {"iterations": 2, "measured_every": 2, "prompts": 4, "writing": _SHORT, **_TRAINED},
    "dpo": {"length": 1000, **_DESCENT},
    "ama": _AMA | {"batch": 2, "max_new_tokens": 6},
    "evaluate": {"prompts": 4, "limit": 2, "answer_tokens": 6, "max_new_tokens": 6, "batch": 4, "ranker": RANDOM},
}
ALPACA = 2  # instructions of AlpacaEval, of presets that have any
BYTES = 261  # tokens of the tokenizer of random models, one a byte (`llm.stages.hub.start`); so texts are long


def tiny(preset: P, data_dir: str | None = None) -> P:
    """The preset with "-tiny" after its name, small numbers, and models of `SHAPE`, of random weights where it is a hub preset.

    data_dir: where the data sets of a hub preset are.
    """
    if isinstance(preset, SmollmPreset):
        changed: dict[str, Any] = {"model": SHAPE, **SMOLLM}
        changed["reward"] = {**_TRAINED, "layers": preset.reward.layers and 2}
    else:
        models = {key: RANDOM for key, name in preset.models.model_dump().items() if name is not None}
        sections = {key: value for key, value in HUB.items() if getattr(preset, key) is not None}
        sections["evaluate"] = HUB["evaluate"] | {"alpaca_prompts": min(ALPACA, preset.evaluate.alpaca_prompts)}
        shape = SHAPE | {"context": 8192, "vocabulary": BYTES}
        changed = {"model": shape, "models": models, "reward_model": None, "data_dir": data_dir, **sections}
    return _updated(preset, changed).model_copy(update={"name": f"{preset.name}-tiny"})


def _updated(settings: Settings, changed: dict) -> Any:
    """Groups of settings are changed key by key; checked again as a whole."""

    def merged(old: dict, new: dict) -> dict:
        return old | {
            key: merged(old[key], value) if isinstance(value, dict) and isinstance(old[key], dict) else value
            for key, value in new.items()
        }

    return type(settings).model_validate(merged(settings.model_dump(), changed))
