"""What a method carries from one iteration of alignment to the next: tensors by name, so that they can be written to a file."""

import torch

Memory = dict[str, torch.Tensor]
STEPS = "steps"


def kept(memory: Memory, name: str, start: torch.nn.Module) -> list[torch.Tensor]:
    """The weights kept as `name.0`, `name.1` ..., one tensor a parameter; copies of `start`'s where there are none yet."""
    if f"{name}.0" not in memory:
        keep(memory, name, start)
    return [memory[f"{name}.{i}"] for i, _ in enumerate(start.parameters())]


def keep(memory: Memory, name: str, model: torch.nn.Module) -> None:
    """Copies of a model's parameters as they now are, in place of those kept so far."""
    memory.update({f"{name}.{i}": parameter.detach().clone() for i, parameter in enumerate(model.parameters())})


def steps(memory: Memory) -> int:
    """How many steps have been counted."""
    return int(memory.get(STEPS, torch.tensor(0)))


def count_step(memory: Memory) -> int:
    """Count one more step; how many there now are."""
    memory[STEPS] = torch.tensor(steps(memory) + 1)
    return steps(memory)


@torch.no_grad()
def follow(means: list[torch.Tensor], model: torch.nn.Module, decay: float) -> None:
    """One step of a moving average of the parameters: mean <- decay mean + (1 - decay) parameter, decay in [0, 1]."""
    for mean, parameter in zip(means, model.parameters(), strict=True):
        mean.mul_(decay).add_(parameter, alpha=1 - decay)
