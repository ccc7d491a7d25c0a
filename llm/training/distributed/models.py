"""Models of the trainers: how they are loaded, and how an ordinary model folder is made of what was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...config.trainers import Hardware, Lora
from ...errors import UserError
from ...models.save import save_model

Head = Literal["causal", "reward"]


@dataclass(frozen=True)
class Start:
    """Where training begins. model: a folder or a hub id. seed: of new heads, of adapters and of the order of the rows."""

    model: str
    seed: int


@dataclass(frozen=True)
class Origin:
    """What it takes to make a model folder of gathered weights. kind: the model's class, whatever sharding has made of it."""

    kind: type
    config: Any
    tokenizer: Any
    lora: Lora | None


def load_trained(start: Start, head: Head, lora: Lora | None):
    """(model to train, its `Origin`); in fp32, since small steps are lost in bf16, with adapters where there are any."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(start.seed)  # models are made on the CPU; devices' generators go on
        model = _load(start.model, head, torch.float32, fresh_head=True)
    tokenizer = load_tokenizer(start.model)
    model.config.pad_token_id = tokenizer.pad_token_id
    if head == "reward":
        from ...models.rewards import REPLIES

        model.config.reward_reads = REPLIES
    origin = Origin(type(model), model.config, tokenizer, lora)
    return _with_adapters(model, lora, start.seed), origin


def load_frozen(model: str | Path, head: Head, hardware: Hardware, device):
    """A whole copy that only reads or writes, in the dtype of the hardware, in evaluation mode."""
    import torch

    loaded = _load(model, head, torch.bfloat16 if hardware.dtype == "bf16" else torch.float32)
    loaded.config.pad_token_id = load_tokenizer(model).pad_token_id
    return loaded.to(device).eval().requires_grad_(False)


def load_tokenizer(model: str | Path):
    """A tokenizer, of the hub too, that can pad: with its end token, if it has nothing better."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_model(model))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def find_model(model: str | Path) -> str:
    """A folder, or the id of a model on the hub; UserError if it is neither here nor on the hub."""
    from transformers import AutoConfig

    if (Path(model) / "config.json").is_file():
        return str(model)
    try:
        AutoConfig.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        raise UserError(
            f"model = {str(model)!r} is no folder with a config.json and could not be had from the hub ({type(error).__name__}); "
            "allowed are a model folder, or the id of a model that is public or already downloaded"
        ) from None
    return str(model)


def age(model: str | Path) -> int:
    """By which a model folder that was made anew is told from the one before it; 0 for an id of the hub."""
    made = Path(model) / "config.json"
    return made.stat().st_mtime_ns if made.is_file() else 0


def write_model(state: dict, origin: Origin, dtype: str, folder: Path) -> None:
    """Make a model folder of gathered weights, adapters merged, in `dtype`; the folder is written atomically."""
    import torch

    from ..mitigations.lora import merge

    with torch.device("meta"):
        model = _with_adapters(origin.kind(origin.config), origin.lora, seed=0)
    # merging adds to the weights, which in one process are those of the model that goes on learning
    model.load_state_dict(
        {name: tensor.clone() for name, tensor in state.items()} if origin.lora else state, assign=True
    )
    model.tie_weights()
    if origin.lora:
        model = merge(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_model(model.to(torch.bfloat16 if dtype == "bf16" else torch.float32), origin.tokenizer, folder)


def _load(model: str | Path, head: Head, dtype, fresh_head: bool = False):
    from ...models.loading import causal_model, quiet, sequence_classifier

    quiet()
    found = find_model(model)
    if head == "causal":
        return causal_model(found, dtype=dtype)
    return sequence_classifier(found, dtype=dtype, fresh_head=fresh_head, num_labels=1)


def _with_adapters(model, lora: Lora | None, seed: int):
    if lora is None:
        return model
    from ..mitigations.lora import lora as make

    wrapped = make(lora.rank, lora.targets, lora.lora_alpha, seed, lora.dropout).wrap(model)
    if hasattr(wrapped, "score"):  # the head of a reward model is new, so it has to learn
        wrapped.score.requires_grad_(True)
    return wrapped
