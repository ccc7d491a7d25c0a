"""Ways to make one model of theta_0 and theta that ask for more than a tensor and its ratio: samples of the two models, other
checkpoints of the same run, theta_pre. One method, one file.

A new one is a file here with a function `make(materials) -> Build`, and an entry in `llm.methods` with `whole=True` whose code is
"averaging.whole.FILE:make". What all settings of an entry have in common (Gram matrices, means of checkpoints) is prepared in `make`
once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...models.batches import Tokens

State = Mapping[str, torch.Tensor]
Build = Callable[[Mapping[str, Any]], torch.nn.Module]  # a row's setting -> the model, valid until the next call


@dataclass(frozen=True)
class Materials:
    """What a method may ask for.

    model: a live model with theta's weights, that a `Build` may overwrite and give back. theta_0, theta: state dicts that share no
    memory with it and are not to be changed. assignment: tensor name -> group (`llm.grouping`).
    folders: "theta_0", "theta", "pretrained", and the models along alignment under "iteration1", "iteration2", ...; where there are
    other runs of the same alignment, "run2", "run3", ...: their last models. load: a folder -> its model, for reading.
    samples: (kind, count) -> token ids, the same at every call: "free" ones of theta_0 from its first token (the context), or
    "replies" of theta to training prompts (the context). seed: for a method's own random choices.
    """

    model: torch.nn.Module
    tokenizer: Any
    theta_0: State
    theta: State
    assignment: Mapping[str, str]
    folders: Mapping[str, Path]
    load: Callable[[Path], torch.nn.Module]
    samples: Callable[[str, int], list[Tokens]]
    seed: int
