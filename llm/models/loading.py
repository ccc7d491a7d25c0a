"""Loading the models and tokenizers of local folders, and where they can run; never runs code from a folder."""

from pathlib import Path

import torch

from ..errors import UserError, first_line
from .chat import pad_id
from .folder import read_folder, read_json

DTYPES = ("auto", "float32", "bfloat16", "float16")
MEAN_POOLED = "mean-pooled-"  # stands before the model_type of a reward model that reads the mean over a reply


def device_of(name: str) -> torch.device:
    """ "auto" is the accelerator if there is one, else the CPU; UserError for a device that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise UserError(f"device is {name!r}, allowed are auto, cpu and the accelerators of this computer.") from None


def require_gpu(asked: str) -> None:
    """UserError where torch sees no GPU; `asked` is what asks for one, as "name = value"."""
    if not torch.cuda.is_available():
        raise UserError(f"{asked} is not allowed: this machine has no GPU that torch can use; allowed is cpu")


def dtype_on(dtype: str, device: torch.device) -> str:
    """What transformers is given: "auto" is fp32 on a CPU, which has no fast arithmetic for less, and what is stored on
    an accelerator. UserError for a type that is not in `DTYPES`.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}, allowed are {', '.join(DTYPES)}.")
    return dtype if dtype != "auto" else "float32" if device.type == "cpu" else "auto"


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: str = "auto", name: str = "model"):
    """A causal language model in evaluation mode.

    dtype: of `DTYPES`; "auto" is what is stored. name: the option that gave the folder, for messages. Raises UserError
    for a folder that holds no model that loads, or one that is too large for the device.
    """
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    return _loaded(load, folder, device, name, dtype=dtype, trust_remote_code=False)


def load_reward_model(
    folder: Path, device: torch.device | str = "cpu", dtype: str = "auto", name: str = "reward-model"
):
    """A sequence classifier with one output, in evaluation mode, as `load_model`; UserError for any other folder."""
    kind = ", ".join(read_folder(folder, name).config.get("architectures") or ["no architecture"])
    if "SequenceClassification" not in kind:
        raise UserError(f"{name} is {str(folder)!r}, a {kind}; allowed are sequence classifiers.")
    model = _loaded(sequence_classifier, folder, device, name, dtype=dtype)
    if model.config.num_labels != 1:
        raise UserError(f"{name} is {str(folder)!r} with {model.config.num_labels} outputs, allowed is 1.")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad_id(load_tokenizer(folder))
    return model


def fresh_reward_model(folder: Path, layers: int | None = None):
    """A sequence classifier with one output on the body of the model in `folder`, or on its first `layers`; its head is drawn."""
    fewer = {} if layers is None else {"num_hidden_layers": layers}
    return _loaded(sequence_classifier, folder, "cpu", "model", num_labels=1, **fewer)


def sequence_classifier(source: Path | str, dtype="auto", **changes):
    """transformers' sequence classifier of a folder or a name on the hub; `changes` are of its configuration.

    A reward model that reads the mean over a reply is stored with a `model_type` of its own (`save_model`), so that who
    loads it without this function is refused rather than given scores of the last token; here it gets its own back.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    load, options = AutoModelForSequenceClassification.from_pretrained, {"dtype": dtype, "trust_remote_code": False}
    if (file := Path(source) / "config.json").is_file():
        content = read_json(file)
        if (kind := content.get("model_type", "")).startswith(MEAN_POOLED):
            kind = kind.removeprefix(MEAN_POOLED)
            config = type(AutoConfig.for_model(kind)).from_dict(content | {"model_type": kind} | changes)
            return load(source, config=config, **options)
    return load(source, **options, **changes)


def load_tokenizer(folder: Path):
    """The folder's tokenizer; UserError if there is none that loads."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be loaded ({first_line(error)}).") from None


def require_model(folder: Path) -> Path:
    """The folder itself; UserError if it holds no model."""
    if not (folder / "config.json").is_file():
        raise UserError(f"model folder {folder} is missing or has no config.json; run the stage that makes it first")
    return folder


def quiet() -> None:
    """No bars and notes about loading: a stage loads many small models, and has a bar of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _loaded(load, folder: Path, device: torch.device | str, name: str, **options):
    quiet()
    try:
        return load(require_model(folder), **options).to(device).eval()
    except torch.OutOfMemoryError:
        raise UserError(f"{name} is {str(folder)!r}, which is too large for the memory of {device}.") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{name} is {str(folder)!r}, which transformers cannot load ({first_line(error)}).") from None
