"""Loading the models and tokenizers of local folders, and where they can run; never runs code from a folder."""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from ..errors import UserError, first_line
from ..grouping import role
from .cache import local_model
from .folder import ModelFolder, plain_name, read_folder, read_json

DTYPES = ("auto", "float32", "bfloat16", "float16")
Note = Callable[[str], object]  # gets a sentence
warn = logging.getLogger(__name__).warning  # which writes it to stderr unless logging is set up otherwise
MEAN_POOLED = "mean-pooled-"  # stands before the model_type of a reward model that reads the mean over a reply


def device_of(name: str) -> torch.device:
    """ "auto" is the accelerator if there is one, else the CPU; UserError for a device that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise UserError(
            f"device = {name!r} is not allowed; allowed are auto, cpu and the accelerators of this computer."
        ) from None


def require_gpu(asked: str) -> None:
    """UserError where torch sees no GPU; `asked` is what asks for one, as "name = value"."""
    if not torch.cuda.is_available():
        raise UserError(f"{asked} is not allowed: this machine has no GPU that torch can use; allowed is cpu")


def dtype_on(dtype: str, device: torch.device) -> str:
    """What transformers is given: "auto" is fp32 on a CPU, which has no fast arithmetic for less, and what is stored on
    an accelerator. UserError for a type that is not in `DTYPES`.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype = {dtype!r} is not allowed; allowed are {', '.join(DTYPES)}.")
    return dtype if dtype != "auto" else "float32" if device.type == "cpu" else "auto"


def load_model(
    folder: Path, device: torch.device | str = "cpu", dtype: str = "auto", name: str = "model", note: Note = warn
):
    """A causal language model in evaluation mode, all of whose weights are the folder's.

    dtype: of `DTYPES`; "auto" is what is stored. name: the option that gave the folder, for messages. note: gets what was
    done about tensors that do not fit (`whole`). Raises UserError for a folder that holds no model that loads, one that
    lacks a weight, or one that is too large for the device.
    """
    return _loaded(causal_model, folder, device, name, note=note, dtype=dtype)


def load_reward_model(folder: Path, device: torch.device | str = "cpu", dtype: str = "auto"):
    """A sequence classifier with one output, in evaluation mode, as `load_model`, or a LoRA adapter with such a head on a model
    that its configuration names, a folder or a model in the hub's cache; UserError for any other folder.
    """
    name = "reward-model"
    found = read_folder(folder, name)
    if found.is_adapter:  # whether or not a trainer left its model's config.json beside it
        return _adapted_reward_model(found, device, dtype)
    kind = ", ".join(found.config.get("architectures") or ["no architecture"])
    if "SequenceClassification" not in kind:
        raise UserError(f"{name} is {str(folder)!r}, a {kind}; allowed are sequence classifiers.")
    model = _loaded(sequence_classifier, folder, device, name, dtype=dtype)
    if model.config.num_labels != 1:
        raise UserError(f"{name} is {str(folder)!r} with {model.config.num_labels} outputs; allowed is 1.")
    return _with_padding(model)


def _adapted_reward_model(adapter: ModelFolder, device: torch.device | str, dtype: str):
    """The classifier of an adapter's base with the adapter merged into it, its head included."""
    from peft import PeftModel

    folder, name = adapter.path, adapter.name
    head = [key for key in adapter.tensors if role(key) == "head" and key.endswith("weight")]
    named = adapter.config.get("base_model_name_or_path")
    if adapter.config.get("task_type") != "SEQ_CLS" or not head or not isinstance(named, str):
        raise UserError(
            f"{name} is {str(folder)!r}, an adapter without a head of one output; allowed are sequence classifiers."
        )
    base = local_model(folder / named if (folder / named).is_dir() else named, f"{name}'s base_model_name_or_path")
    model = _loaded(sequence_classifier, base, "cpu", name, dtype=dtype, fresh_head=True, num_labels=1)
    try:
        wrapped = PeftModel.from_pretrained(model, folder)
        if report := wrapped.load_adapter(folder, "default").missing_keys:
            raise ValueError(f"{report[0]} is missing")
        merged = wrapped.merge_and_unload().to(device).eval()
    except Exception as error:  # peft's are of any kind
        raise UserError(
            f"{name} is {str(folder)!r}, an adapter that does not fit {str(base)!r} ({first_line(error)})."
        ) from None
    require_finite(dict(merged.named_parameters()), f"{name} ({str(folder)!r})")
    return _with_padding(merged)


def _with_padding(model):
    """The model with an id of padding, which transformers asks for where texts are read together. One that no text has where it has none:
    texts are padded on the left, and an end token that were taken for padding would not be read.
    """
    if model.config.pad_token_id is None:
        model.config.pad_token_id = -1
    return model


def fresh_reward_model(folder: Path, layers: int | None = None):
    """A sequence classifier with one output on the body of the model in `folder`, or on its first `layers`; its head is drawn."""
    fewer = {} if layers is None else {"num_hidden_layers": layers}
    return _loaded(sequence_classifier, folder, "cpu", "model", fresh_head=True, num_labels=1, **fewer)


def causal_model(source: Path | str, name: str = "model", dtype="auto", note: Note = warn):
    """transformers' causal language model of a folder or a name on the hub, `whole`."""
    from transformers import AutoModelForCausalLM

    options = {"dtype": dtype, "trust_remote_code": False} | _configured(source, name, {}) | REPORTED
    model = whole(AutoModelForCausalLM.from_pretrained(source, **options), source, name, note)
    if hasattr(model.config, "rescale_every"):
        model.config.rescale_every = 0  # RWKV would halve weights in place for fp16, behind the back of averages
    return model


def sequence_classifier(
    source: Path | str, name: str = "model", dtype="auto", note: Note = warn, fresh_head: bool = False, **changes
):
    """transformers' sequence classifier of a folder or a name on the hub, `whole`; `changes` are of its configuration."""
    from transformers import AutoModelForSequenceClassification

    options = {"dtype": dtype, "trust_remote_code": False} | _configured(source, name, changes) | REPORTED
    return whole(AutoModelForSequenceClassification.from_pretrained(source, **options), source, name, note, fresh_head)


def _configured(source: Path | str, name: str, changes: dict) -> dict:
    """`changes` of the configuration as arguments of `from_pretrained`, or the configuration where more is to be changed.

    A quantisation that the weights do not have, left from training, is dropped. A reward model that reads the mean over a
    reply is stored with a `model_type` of its own (`save_model`), so that who loads it without this function is refused
    rather than given scores of the last token; here it gets its own back.
    """
    from transformers import AutoConfig

    file = Path(source) / "config.json"
    content = read_json(file) if file.is_file() else {}
    kind = content.get("model_type", "")
    if content.pop("quantization_config", None) is not None:
        read_folder(Path(source), name)  # raises if the weights are quantised
    elif not kind.startswith(MEAN_POOLED):
        return changes
    kind = kind.removeprefix(MEAN_POOLED)
    return {"config": type(AutoConfig.for_model(kind)).from_dict(content | {"model_type": kind} | changes)}


REPORTED = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # of `from_pretrained`, for `whole`


def whole(loaded: tuple, source: Path | str, name: str, note: Note = warn, fresh_head: bool = False):
    """The model that `from_pretrained` has loaded from `source`, if each of its parameters was there.

    loaded: (model, report), as it comes with `REPORTED`. Names with what wrappers put into them (`plain_name`) are read
    without that. fresh_head: the head may be missing, and is drawn, and what else the folder has is left out. note: gets a
    sentence on stripped names and on tensors that the architecture does not have. Raises UserError naming a parameter that
    is missing or has another shape.
    """
    model, report = loaded
    wrapped = any(plain_name(key) != key for key in report["unexpected_keys"])
    if wrapped:
        plain = {"config": model.config, "state_dict": _plain_state(Path(source), name), "dtype": model.dtype}
        model, report = type(model).from_pretrained(None, **plain, **REPORTED)
    own = dict(model.named_parameters()).keys()
    fresh = {key for key in own if fresh_head and role(key) == "head"}
    for key, stored, expected in sorted(report["mismatched_keys"]):
        if key not in fresh:
            shapes = f"{tuple(stored)}, where its configuration has {tuple(expected)}"
            raise UserError(f"{name} is {str(source)!r}, whose {key} has shape {shapes}.")
    missing = sorted(report["missing_keys"] & own - fresh)
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise UserError(f"{name} is {str(source)!r}, which lacks {missing[0]}{more} of a {type(model).__name__}.")
    odd = sorted(report["unexpected_keys"])
    scale = next((key for key in odd if key.partition("weight")[0] + "weight" in own), None)
    if scale:
        kinds = "give it in bf16, fp16 or fp32"
        raise UserError(f"{name} is {str(source)!r}, whose {scale} goes with quantised weights; {kinds}.")
    if (wrapped or odd) and not fresh_head and Path(source).is_dir():
        folder = read_folder(Path(source), name)
        odd = [key for key in odd if key in folder.tensors]
        more = f" and {len(odd) - 1} more" * (len(odd) > 1)
        left = [f"{odd[0]}{more} of {name} were left out: no {type(model).__name__} has them."] if odd else []
        for sentence in folder.notes + left:
            note(sentence)
    return model


def _plain_state(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """A folder's parameters by their plain names."""
    from safetensors.torch import load_file

    found = read_folder(folder, name)
    stored = (pair for file in found.files for pair in load_file(file.path).items())
    return {plain_name(key): tensor for key, tensor in stored if plain_name(key) in found.tensors}


def load_tokenizer(folder: Path):
    """The folder's tokenizer; UserError if there is none that loads."""
    from transformers import AutoTokenizer

    missing = missing_for_tokenizer(folder)
    if missing:
        raise UserError(
            f"the tokenizer in {str(folder)!r} is a tokenizer.model of SentencePiece, for which {' and '.join(missing)} "
            f"must be installed; give `pip install {' '.join(missing)}` first"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare ones
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be loaded ({first_line(error)}).") from None


def missing_for_tokenizer(folder: Path) -> list[str]:
    """The packages by which transformers converts a tokenizer that a folder holds as `tokenizer.model` only, if not installed."""
    if (folder / "tokenizer.json").is_file() or not (folder / "tokenizer.model").is_file():
        return []
    return [name for name, module in _FOR_SENTENCEPIECE.items() if not _is_there(module)]


_FOR_SENTENCEPIECE = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


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


def require_finite(tensors: Mapping[str, torch.Tensor], owner: str) -> None:
    """UserError that names the first tensor with NaN or Inf, by which a model would choose as if nothing were wrong."""
    for name, tensor in tensors.items():
        looked_at = tensor.is_floating_point() and tensor.itemsize > 1 and tensor.numel() and not tensor.is_meta
        if looked_at and not all(map(torch.isfinite, torch.aminmax(tensor.detach()))):
            raise UserError(f"{name} of {owner} holds NaN or Inf.")


def _loaded(load, folder: Path, device: torch.device | str, name: str, **options):
    quiet()
    if (folder / "adapter_config.json").is_file():  # which transformers would load on top
        raise UserError(f"{name} is {str(folder)!r}, which holds an adapter (adapter_config.json); give a model alone.")
    try:
        model = load(require_model(folder), name, **options).to(device).eval()
        require_finite(dict(model.named_parameters()), f"{name} ({str(folder)!r})")
        return model
    except torch.OutOfMemoryError:
        raise UserError(f"{name} is {str(folder)!r}, which is too large for the memory of {device}.") from None
    except UserError:
        raise
    except Exception as error:  # what a bad configuration or file raises is of any kind
        raise UserError(f"{name} is {str(folder)!r}, which transformers cannot load ({first_line(error)}).") from None
