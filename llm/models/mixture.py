"""Two language models as one, whose logits are an affine mean of theirs: a model object that is generated from and measured as any other."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from .generate import forward, is_recurrent


@dataclass
class Output:
    """What the forward pass gives, by the names that transformers' models use."""

    logits: torch.Tensor
    past_key_values: "Caches | None"


@dataclass
class Caches:
    """What each of the two models has read: its cache, under the name of the argument that it is."""

    theta_0: dict
    theta: dict

    @property
    def layers(self) -> list:
        every = [*self.theta_0.values(), *self.theta.values()]
        return [layer for cache in every for layer in getattr(cache, "layers", [None])]

    def batch_select_indices(self, rows: torch.Tensor) -> None:
        """Only these rows."""
        for cache in (*self.theta_0.values(), *self.theta.values()):
            cache.batch_select_indices(rows)


class LogitMixture(torch.nn.Module):
    """Logits (1 - share) h_theta_0 + share h_theta at every token; those of one model, bit by bit, at share 0 and 1.

    theta_0, theta: causal language models with the same tokens, on one device. share: any number.
    """

    def __init__(self, theta_0, theta, share: float) -> None:
        super().__init__()
        self.theta_0, self.theta, self.share = theta_0, theta, share
        self._is_stateful = is_recurrent(theta_0) or is_recurrent(theta)
        self.eval()

    @property
    def parts(self) -> tuple:
        """The two models."""
        return self.theta_0, self.theta

    @property
    def model(self) -> "Bodies":
        """The mixture without its head."""
        return Bodies(self.parts)

    def lm_head(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (.., vocabulary) from the hidden states of `model`, (.., both hidden sizes)."""
        sizes = [part.config.hidden_size for part in self.parts]
        return self.mixed(
            *(part.lm_head(own) for part, own in zip(self.parts, states.split(sizes, dim=-1), strict=True))
        )

    @property
    def device(self) -> torch.device:
        return self.theta.device

    @property
    def config(self):
        """theta's: how many tokens it reads, and which they are."""
        return self.theta.config

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Caches | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
    ) -> Output:
        """As transformers' models: token ids (rows, time) to logits (rows, kept time, vocabulary) and what was read."""
        arguments = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        arguments |= {} if use_cache is None else {"use_cache": use_cache}
        past = past_key_values or Caches({}, {})
        read = [
            forward(model, logits_to_keep, **arguments, **cache)
            for model, cache in zip(self.parts, (past.theta_0, past.theta), strict=True)
        ]
        caches = [cache for _, cache in read]
        return Output(self.mixed(*(logits for logits, _ in read)), Caches(*caches) if all(caches) else None)

    def mixed(self, theta_0: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """The mixture's logits from those of the two."""
        if self.share in (0, 1):
            return theta if self.share else theta_0
        return (1 - self.share) * theta_0 + self.share * theta


class Bodies:
    """Two Llamas without their heads that read the same: hidden states stand side by side, and so do the caches' layers."""

    def __init__(self, parts: tuple) -> None:
        self.bodies = [part.model for part in parts]

    @property
    def device(self) -> torch.device:
        return self.bodies[0].device

    def __call__(self, past_key_values=None, **read) -> SimpleNamespace:
        """As a Llama's body; `past_key_values` holds the layers of both, one after the other."""
        outputs = [
            body(past_key_values=cache, **read)
            for body, cache in zip(self.bodies, self._own(past_key_values), strict=True)
        ]
        states = torch.cat([output.last_hidden_state for output in outputs], dim=-1)
        layers = [layer for output in outputs for layer in output.past_key_values.layers]
        return SimpleNamespace(last_hidden_state=states, past_key_values=SimpleNamespace(layers=layers))

    def _own(self, cache) -> list:
        if cache is None:
            return [None] * len(self.bodies)
        from transformers import DynamicCache

        depth, found = self.bodies[0].config.num_hidden_layers, []
        for layers in (cache.layers[:depth], cache.layers[depth:]):
            own = DynamicCache()
            own.layers = layers
            found.append(own)
        return found
