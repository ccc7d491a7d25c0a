"""Regression averaging of two model folders (`..whole.regression`), layer by layer, for models that do not fit into memory.

A skeleton of the model without weights (transformers on the meta device) is filled one layer at a time, by theta_0's weights and by
theta's. What is merged lies in a folder beside the output, a file a layer, until the output is written: a run that was stopped and is
started again reads its texts through the finished layers and goes on with the next one.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...files import read_made, write_json, written
from ...grouping import Grouping
from ...models.folder import ModelFolder
from ...models.loading import dtype_on, load_tokenizer
from ...models.safetensors import TensorInfo, read_header
from ..ratios import Recipe, uniform
from ..schedule import lines
from ..whole.grams import batches_for
from ..whole.regression import Setting
from ..whole.walk import Side, walk_through
from .chunks import Chunk
from .own_samples import FILE, Drawing, samples_of, write_samples

Tensors = Mapping[str, TensorInfo]
Progress = Callable[[int, int], None]  # parts of the network that are done, and in all
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Regression:
    """What `average_files` is asked for.

    setting: lambda and what goes with it. drawing: the texts. merged_inputs: as for `walk_through`. device: where the layers run.
    """

    setting: Setting
    drawing: Drawing = Drawing()
    merged_inputs: bool = False
    device: torch.device = torch.device("cpu")
    dtype: str = "auto"
    progress: Progress = lambda done, total: None

    @property
    def rest(self) -> Recipe:
        """The ratios of what no regression decides."""
        recipe = uniform(self.setting.alpha, Grouping())
        return recipe if self.setting.layers == "equal" else replace(recipe, rule=lines.ratios)

    def described(self) -> dict[str, Any]:
        """All that decides what is made, for JSON."""
        inputs = "merged" if self.merged_inputs else "own"
        return asdict(self.setting) | {"inputs": inputs, "dtype": self.dtype} | self.drawing.described()

    def finish(self, out: Path) -> None:
        """Once `out` is written: keep the samples that the models wrote beside it, and remove what was made on the way."""
        work = _work(out)
        if (work / FILE).is_file():
            os.replace(work / FILE, out.with_name(f"{out.name}.{FILE}"))
        shutil.rmtree(work)


class Moved(NamedTuple):
    """How far what was merged of a part lies from theta_0, D being theta - theta_0: |W - W_0| / |D| and <W - W_0, D> / |D|^2."""

    distance: float
    share: float


@dataclass(frozen=True)
class Made:
    """What a regression has made. tensors: name in the output -> where it lies; part_of: name -> its part of the network ("first", a
    layer's number, "last"); parts: part -> how far it has moved. texts: who wrote them -> numbers of samples and of tokens.
    """

    tensors: Tensors
    part_of: dict[str, str]
    parts: dict[str, Moved]
    texts: dict[str, dict[str, int]]
    setting: Setting

    _FORMULA: ClassVar[str] = (
        "W_0 + (W - W_0) G_1 (lambda G_0 + G_1)^-1, G_0 and G_1 the Gram matrices of the layer's inputs on theta_0's own text and on "
        "theta's own replies (regression averaging, arXiv 2212.09849, on the two models' own samples), with a ridge towards\n"
        "(1 - alpha) theta_0 + alpha theta, alpha = 1 / (1 + lambda), which is also what all other tensors are"
    )

    @property
    def formula(self) -> str:
        """In words, for the model card."""
        if self.setting.layers == "equal":
            return self._FORMULA
        return (
            f"{self._FORMULA}, but for the layers: alpha rises in equal steps from 1 / (1 + lambda) in the first one to 1 in the last, and a "
            "layer's lambda is that of its alpha"
        )

    @property
    def details(self) -> dict[str, Any]:
        """For the report."""
        return {"texts": self.texts, "moved": {part: moved._asdict() for part, moved in self.parts.items()}}

    def chunks(self, name: str) -> Iterator[Chunk]:
        """A merged tensor as it goes into the output."""
        yield Chunk(None, None, lambda *_: self.tensors[name].read())

    def notes(self, all_of_them: Tensors) -> list[str]:
        """On the texts, and on matrices that none of them came to."""
        counts = [f"{one['samples']} samples ({one['tokens']} tokens) of {who}" for who, one in self.texts.items()]
        found = [
            f"Merged by regression at lambda {self.setting.strength:g} on {' and '.join(counts)}; alpha is then the share of theta - theta_0 that "
            "the merged tensors have along it."
        ]
        if self.setting.layers == "increasing":
            found.append(
                "That is the lambda of the first layer and of all outside the layers; it falls from layer to layer, and the last of several "
                "layers is theta's."
            )
        unseen = [n for n, tensor in all_of_them.items() if len(tensor.shape) > 1 and n not in self.tensors]
        if unseen:
            more = f" and {len(unseen) - 1} more matrices" * (len(unseen) > 1)
            found.append(f"No text came to {unseen[0]}{more}, or no linear layer has it: averaged at its alpha.")
        return found


class Ends(Mapping[str, Tensor]):
    """One model's tensors by the names that the live model has, read from the disk when they are used."""

    def __init__(self, chunks: Callable[[str], Iterator[Chunk]], names: Mapping[str, str], stored: Tensors, side: str):
        self._chunks, self._names, self._stored, self._side = chunks, names, stored, side

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._stored[self._names[name]]
        dtype, pieces = tensor.dtype, []
        for chunk in self._chunks(self._names[name]):
            values = [span and span.tensor.read(span.first, span.last) for span in (chunk.theta_0, chunk.theta)]
            if self._side == "theta_0" and chunk.theta_0 is not None:
                dtype = chunk.theta_0.tensor.dtype
                pieces.append(values[0])
            else:
                pieces.append(chunk.make(*values))
        flat = np.concatenate([piece.view(f"<i{piece.dtype.itemsize}") for piece in pieces])
        return torch.from_numpy(flat).view(_TYPES[dtype]).reshape(tensor.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def regress_files(
    request: Regression,
    like: ModelFolder,
    tokenizer: Path,
    stored: Tensors,
    settings: Mapping[str, Any],
    ends: Sequence[Callable[[str], Iterator[Chunk]]],
    out: Path,
    sources: Sequence[ModelFolder],
) -> Made:
    """Merge all that the texts come to.

    like: the folder whose configuration the output has, but for `settings`. stored: the output's tensors. ends: theta_0's and theta's chunks
    by a tensor's name. out: the output, beside which lies what is made on the way. sources: the folders that all is made of.
    Raises UserError if the model is not stored as transformers has it in memory, or the texts do not fit.
    """
    models = [_skeleton(like.path, settings, dtype_on(request.dtype, request.device), request.device) for _ in ends]
    names = stored_names(models[0], stored)
    weights = [Ends(chunks, names, stored, side) for chunks, side in zip(ends, ("theta_0", "theta"), strict=True)]
    work = _open(out, request, sources)
    try:
        live = Side(models[0], weights[0], [torch.empty(0, device=request.device)])
        drawing = request.drawing.or_kept(work / FILE)
        texts = samples_of(drawing, lambda side: live.holding(weights[side]), load_tokenizer(tokenizer))
        if not drawing.files:
            write_samples(work / FILE, texts)
        batches = [batches_for(models[0].config, some, request.device) for some in texts.values()]
    except UserError:  # there is nothing to go on with
        shutil.rmtree(work)
        raise
    first, second = (Side(*side) for side in zip(models, weights, batches, strict=True))
    _walk(request, (first, second), names, stored, work)
    counts = [{"samples": len(some), "tokens": sum(map(torch.numel, b))} for some, b in zip(texts.values(), batches)]
    return _made(work, dict(zip(texts, counts)), request.setting)


def _walk(request: Regression, sides: tuple[Side, Side], names: Mapping[str, str], stored: Tensors, work: Path) -> None:
    """Write each part's merged tensors into `work`, by their names in the output, if it is not there."""
    from safetensors.torch import save_file

    known = frozenset() if request.merged_inputs else frozenset(file.stem for file in work.glob("*.safetensors"))
    total = len(sides[0].layers) + 2
    for done, (part, merged) in enumerate(
        walk_through(sides, request.setting, request.merged_inputs, known), len(known)
    ):
        request.progress(done, total)
        found, moved, along, square = {}, 0.0, 0.0, 0.0
        for name, values in merged.items():
            rounded = values.to(_TYPES[stored[names[name]].dtype])
            if not rounded.isfinite().all():
                raise UserError(f"{name} has values that are NaN, Inf or too large for {stored[names[name]].dtype}.")
            start, end = (side.weights[name].to(values.device, torch.float64) for side in sides)
            step, full = rounded.double() - start, end - start
            moved += step.square().sum().item()
            along += (step * full).sum().item()
            square += full.square().sum().item()
            found[names[name]] = rounded.cpu().contiguous()
        how = Moved((moved / square) ** 0.5, along / square) if square else Moved(0.0, 0.0)
        with written(work / f"{part}.safetensors") as aside:
            save_file(found, aside, {"moved": json.dumps(how)})
    request.progress(total, total)


def _made(work: Path, texts: dict[str, dict[str, int]], setting: Setting) -> Made:
    tensors: dict[str, TensorInfo] = {}
    part_of: dict[str, str] = {}
    parts: dict[str, Moved] = {}
    for file in sorted(work.glob("*.safetensors")):
        header, found, _ = read_header(file)
        tensors |= {tensor.name: tensor for tensor in found}
        part_of |= {tensor.name: file.stem for tensor in found}
        parts[file.stem] = Moved(*json.loads(json.loads(header[8:])["__metadata__"]["moved"]))
    return Made(tensors, part_of, parts, texts, setting)


def _skeleton(folder: Path, settings: Mapping[str, Any], dtype: str, device: torch.device) -> Any:
    """The model of a folder's configuration, its weights on the meta device, its buffers on the one where it is to run."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for key, value in settings.items():
        setattr(config, key, value)
    kept = config.dtype if dtype == "auto" else dtype
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=kept or "float32", trust_remote_code=False)
    model.tie_weights()
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    return model.eval()


def stored_names(model, stored: Collection[str]) -> dict[str, str]:
    """Parameter -> the stored tensor that it is, which may have the base model's name without the prefix.

    Raises UserError for one that is not stored.
    """
    prefix = f"{model.base_model_prefix}."
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    found = {}
    for owner, *tied in aliases.values():
        known = [n for name in (owner, *tied) for n in (name, name.removeprefix(prefix)) if n in stored]
        if not known:
            raise UserError(
                f"method regmean needs tensors stored one by one as transformers has them in memory, but {owner} is not among "
                "theta's; models with fused experts are such."
            )
        found[owner] = known[0]
    return found


def _work(out: Path) -> Path:
    return out.with_name(f".{out.name}.regression")


def _open(out: Path, request: Regression, sources: Sequence[ModelFolder]) -> Path:
    """The folder of what is made on the way: a new one, or that of a run with the same arguments."""
    work = _work(out)
    files = {one.name: [[file.path.name, *_stamp(file.path)] for file in one.files] for one in sources}
    run = json.loads(json.dumps(files | request.described()))
    if (work / "run.json").is_file() and read_made(work / "run.json") != run:
        raise UserError(f"{str(work)!r} holds a run with other arguments; finish that one, or remove the folder.")
    write_json(work / "run.json", run)
    return work


def _stamp(file: Path) -> tuple[int, str]:
    found = file.stat()
    return found.st_size, str(found.st_mtime_ns)
