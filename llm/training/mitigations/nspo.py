"""NSPO, null-space constrained policy optimisation (Niu et al., arXiv 2512.11391): matrices change only where general text has
no inputs.

With X the inputs that a linear layer of theta_0 gets on general text, P = V V^T projects on the eigenvectors of X^T X whose
eigenvalue is below `threshold` times the largest (the paper: 5e-4; its code: 5e-5), and theta = theta_0 + (theta - theta_0) P after
every step: to project gradients alone is not enough with Adam, which rescales them number by number. Their code projects the change, too, but
after every fifth batch, between which the weights are free; ours is stricter. A bias is the weight of an input that is always 1. The paper's
general text is what theta_0 replies to general prompts, its layers those of the MLPs. In a small layer few directions lie below their
thresholds: where none does, the matrix stays theta_0's, which is freezing and not their method.
"""

from contextlib import ExitStack

import torch

from ...models.batches import pad_right
from .lora import TARGETS
from .mitigation import Example, Materials, Mitigation

ROWS = 64  # examples read at a time


class NullSpace:
    """threshold: >= 0; above 1 nothing is held, at 0 the matrices stay theta_0's. targets: a key of `TARGETS`."""

    def __init__(self, examples: list[Example], threshold: float, targets: str, pad_id: int) -> None:
        self.examples, self.threshold, self.targets, self.pad_id = examples, threshold, targets, pad_id
        self.held: dict[str, torch.Tensor] | None = None

    @torch.no_grad()
    def after_step(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        if self.held is None:
            grams = gram_matrices(theta_0, self.examples, TARGETS[self.targets], self.pad_id)
            self.held = {name: held_directions(gram, self.threshold) for name, gram in grams.items()}
        for name, basis in self.held.items():
            if not basis.shape[1]:
                continue
            layer, start = model.get_submodule(name), theta_0.get_submodule(name)
            moved = joined(layer) - joined(start)
            back = (moved @ basis) @ basis.T
            layer.weight.sub_(back[:, : layer.in_features])
            if layer.bias is not None:
                layer.bias.sub_(back[:, -1])


def joined(layer: torch.nn.Linear) -> torch.Tensor:
    """(outputs, inputs), with the bias as the last column where there is one."""
    return layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], dim=1)


def held_directions(gram: torch.Tensor, threshold: float) -> torch.Tensor:
    """Eigenvectors in which nothing may change, those with at least `threshold` times the largest eigenvalue; (n, n) -> (n, k)."""
    values, vectors = torch.linalg.eigh(gram)
    return vectors[:, values.clamp(min=0) >= threshold * values.max()].to(torch.get_default_dtype())


@torch.no_grad()
def gram_matrices(
    model: torch.nn.Module, examples: list[Example], layers: tuple[str, ...], pad_id: int
) -> dict[str, torch.Tensor]:
    """X^T X of the inputs of every linear layer of those names, over all tokens of the examples, in fp64."""
    grams: dict[str, torch.Tensor] = {}
    chosen = {name: module for name, module in model.named_modules() if name.rpartition(".")[2] in layers}
    mask = torch.zeros(0)

    def watch(name: str, module: torch.nn.Linear, given: torch.Tensor) -> None:
        rows = given[mask > 0].double()
        if module.bias is not None:
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        grams[name] = grams.get(name, 0.0) + rows.T @ rows

    with ExitStack() as during:
        for name, module in chosen.items():
            hook = lambda module, inputs, name=name: watch(name, module, inputs[0])
            during.enter_context(module.register_forward_pre_hook(hook))
        for first in range(0, len(examples), ROWS):
            batch = pad_right(examples[first : first + ROWS], pad_id).to(model.device)
            mask = batch.mask
            model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return grams


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"threshold": >= 0, "targets": "mlp" or "mlp+attention", "samples": examples, "reference": "free" or "documents"}."""
    examples = materials.reference(setting["reference"], setting["samples"])
    space = NullSpace(examples, setting["threshold"], setting["targets"], materials.pad_id)
    return Mitigation(after_step=space.after_step)
