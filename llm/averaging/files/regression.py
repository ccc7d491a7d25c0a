"""Regression averaging of two model folders (`..whole.regression`), layer by layer, for models that do not fit into memory.

A skeleton of the model without weights (transformers on the meta device) is filled one layer at a time, by theta_0's weights and by
theta's. What is merged lies in a folder beside the output, a file a layer, until the output is written: a run that was stopped and is
started again reads its texts through the finished layers and goes on with the next one.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError, first_line
from ...files import read_made, write_json, written
from ...grouping import Grouping
from ...models.folder import ModelFolder
from ...models.loading import dtype_on, load_tokenizer
from ...models.names import check_one_by_one, stored_names
from ...models.safetensors import TensorInfo
from ..displacement import STEPS, in_steps
from ..pair import TYPES
from ..precision import Effect
from ..ratios import Recipe, uniform
from ..schedule import lines
from ..whole.grams import batches_for
from ..whole.regression import Setting
from ..whole.walk import Side, walk_through
from .arithmetic import all_finite
from .chunks import Chunk
from .output import Output
from .own_samples import FILE, Drawing, samples_of, write_samples
from .regressed import Made, Moved, of_folder

Tensors = Mapping[str, TensorInfo]
Progress = Callable[[int, int], None]  # parts of the network that are done, and in all


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
        return asdict(self.setting) | {"inputs": inputs, "dtype": self.dtype} | self.drawing.described

    def finish(self, out: Path) -> None:
        """Once `out` is written: keep the samples that the models wrote beside it, and remove what was made on the way."""
        work = _work(out)
        if (work / FILE).is_file():
            os.replace(work / FILE, out.with_name(f"{out.name}.{FILE}"))
        shutil.rmtree(work)

    def discard(self, out: Path) -> None:
        """Remove what was made on the way to `out`, with which there is nothing to go on."""
        shutil.rmtree(_work(out), ignore_errors=True)


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
        return torch.from_numpy(flat).view(TYPES[dtype]).reshape(tensor.shape)

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
    output: Output,
) -> Made:
    """Merge all that the texts come to.

    like: the folder whose configuration the output has, but for `settings`. stored: the output's tensors. ends: theta_0's and theta's chunks
    by a tensor's name. out: the output, beside which lies what is made on the way. sources: the folders that all is made of. output: the
    type and rounding of what is merged, whose effect is counted.
    Raises UserError if the model is not stored as transformers has it in memory, or the texts do not fit.
    """
    models = [_skeleton(like.path, settings, dtype_on(request.dtype, request.device), request.device) for _ in ends]
    names = stored_names(models[0], stored)
    check_one_by_one(models[0], names, "regmean")
    weights = [Ends(chunks, names, stored, side) for chunks, side in zip(ends, ("theta_0", "theta"), strict=True)]
    work = _open(out, request, sources, output)
    try:
        live = Side(models[0], weights[0], [torch.empty(0, device=request.device)])
        drawing = request.drawing.or_kept(work / FILE)
        texts = samples_of(drawing, lambda side: live.holding(weights[side]), load_tokenizer(tokenizer))
        if not drawing.files:
            write_samples(work / FILE, texts)
        batches = [batches_for(models[0].config, some, request.device) for some in texts.values()]
        first, second = (Side(*side) for side in zip(models, weights, batches, strict=True))
        _walk(request, (first, second), names, stored, work, output)
    except UserError:
        request.discard(out)
        raise
    counts = [{"samples": len(some), "tokens": sum(map(torch.numel, b))} for some, b in zip(texts.values(), batches)]
    made = of_folder(work, dict(zip(texts, counts)), request.setting)
    for moved in made.parts.values():
        output.effect.include(moved.effect)
    return made


def _walk(
    request: Regression, sides: tuple[Side, Side], names: Mapping[str, str], stored: Tensors, work: Path, output: Output
) -> None:
    """Write each part's merged tensors into `work`, by their names in the output, if it is not there."""
    from safetensors.torch import save_file

    known = frozenset() if request.merged_inputs else frozenset(file.stem for file in work.glob("*.safetensors"))
    total = len(sides[0].layers) + 2
    for done, (part, merged) in enumerate(
        walk_through(sides, request.setting, request.merged_inputs, known), len(known)
    ):
        request.progress(done, total)
        found, distance, effect, steps = {}, 0.0, Effect(), torch.zeros(len(STEPS) + 1)
        for name, values in merged.items():
            kind = output.type_of(stored[names[name]].dtype)
            exact, start, end = (
                one.reshape(-1).cpu().double() for one in (values, *(side.weights[name] for side in sides))
            )
            rounded = output.narrow(names[name])(exact.numpy(), kind)
            if not all_finite(rounded, kind):
                raise UserError(f"{name} has values that are NaN, Inf or too large for {kind}.")
            made = torch.from_numpy(rounded.view(f"<i{rounded.itemsize}")).view(TYPES[kind])
            effect.add(start, end, made.double(), 0.0, exact=exact)
            distance += (made.double() - start).square().sum().item()
            steps += in_steps(start, exact, TYPES[kind])
            found[names[name]] = made.reshape(values.shape)
        size = (distance / effect.square) ** 0.5 if effect.square else 0.0
        with written(work / f"{part}.safetensors") as aside:
            save_file(found, aside, {"moved": Moved(size, effect, steps.tolist()).to_json()})
    request.progress(total, total)


def _skeleton(folder: Path, settings: Mapping[str, Any], dtype: str, device: torch.device) -> Any:
    """The model of a folder's configuration, its weights on the meta device, its buffers on the one where it is to run."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for key, value in settings.items():
            setattr(config, key, value)
        kept = config.dtype if dtype == "auto" else dtype
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=kept or "float32", trust_remote_code=False)
    except Exception as error:  # of unknown classes, other kinds of models, and values that do not go together
        raise UserError(f"theta is {str(folder)!r}, which transformers cannot build ({first_line(error)}).") from None
    model.tie_weights()
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    return model.eval()


def size_made(out: Path) -> int:
    """Bytes of what a run that was stopped has merged already."""
    return sum(file.stat().st_size for file in _work(out).glob("*.safetensors"))


def _work(out: Path) -> Path:
    return out.with_name(f".{out.name}.regression")


def _open(out: Path, request: Regression, sources: Sequence[ModelFolder], output: Output) -> Path:
    """The folder of what is made on the way: a new one, or that of a run with the same arguments."""
    work = _work(out)
    files = {one.name: [[file.path.name, *_stamp(file.path)] for file in one.files] for one in sources}
    stored = {"output": [output.dtype, output.rounding, output.seed]}
    run = json.loads(json.dumps(files | request.described() | stored))
    if (work / "run.json").is_file() and read_made(work / "run.json") != run:
        raise UserError(f"{str(work)!r} holds a run with other arguments; finish that one, or remove the folder.")
    write_json(work / "run.json", run)
    return work


def _stamp(file: Path) -> tuple[int, str]:
    found = file.stat()
    return found.st_size, str(found.st_mtime_ns)
