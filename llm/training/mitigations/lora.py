"""LoRA: only low-rank changes of some matrices are trained, W = W_0 + (lora_alpha / rank) B A (the paper, section 4).

The adapters go into the matrices of the MLPs, or of the MLPs and the attention; embeddings, norms and head stay
theta_0's. At the end they are merged into a plain model.
"""

import torch

from .mitigation import Materials, Mitigation

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
TARGETS = {"mlp": MLP, "mlp+attention": MLP + ATTENTION}


def lora(rank: int, targets: str, lora_alpha: float, seed: int, dropout: float = 0.0) -> Mitigation:
    """rank: >= 1. targets: a key of `TARGETS`. lora_alpha: > 0. seed: of A's random first weights (B begins at 0).

    dropout: of what goes into the adapters while they learn, in [0, 1).
    """

    def wrap(model):
        from peft import LoraConfig, inject_adapter_in_model

        modules = list(TARGETS[targets])
        settings = LoraConfig(r=rank, lora_alpha=lora_alpha, lora_dropout=dropout, target_modules=modules)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)  # the CPU's alone: a device's goes on, and dropout with it
            return inject_adapter_in_model(settings, model)

    return Mitigation(wrap=wrap, merge=merge, goes_on=False)  # every iteration has new adapters


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"rank", "lora_alpha", "targets"}, as `lora` takes them."""
    return lora(**setting, seed=materials.seed + materials.iteration)


def merge(model):
    """The model with each adapter added to its matrix and taken away, ready to be saved as a plain one."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    return model
