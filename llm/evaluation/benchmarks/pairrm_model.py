"""PairRM's network (Jiang et al., LLM-Blender, arXiv 2306.02561), named as the weights of llm-blender/PairRM-hf name it.

transformers has no class for it. Imported only where a ranker is loaded, since it needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DebertaV2Model, DebertaV2PreTrainedModel

from ...models.batches import batches_of, pad_right


@dataclass(frozen=True)
class Comparison:
    """Token ids of a prompt and two replies, each with its mark, and the places of the three marks."""

    ids: list[int]
    marks: tuple[int, int, int]


class PairRM(DebertaV2PreTrainedModel):
    """Scores each of two replies by what DeBERTa makes of its mark and of the prompt's, all three texts side by side."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = torch.nn.Sequential(
            torch.nn.Dropout(config.drop_out),
            torch.nn.Linear(2 * config.hidden_size, config.hidden_size),
            torch.nn.Tanh(),
            torch.nn.Dropout(config.drop_out),
            torch.nn.Linear(config.hidden_size, config.n_tasks),
        )
        self.post_init()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """log-odds that the first reply is the better one, (rows,); ids, mask: (rows, length), marks: (rows, 3)."""
        states = self.pretrained_model(input_ids=ids, attention_mask=mask).last_hidden_state
        rows = torch.arange(len(ids), device=ids.device)
        prompt, first, second = (states[rows, place] for place in marks.unbind(dim=1))
        scores = [self.head_layer(torch.cat([prompt, reply], dim=-1)) for reply in (first, second)]
        return (scores[0] - scores[1]).mean(dim=-1)


@torch.no_grad()
def log_odds(model: PairRM, comparisons: Sequence[Comparison], padding: int, batch: int) -> torch.Tensor:
    """log-odds that the first reply is better, (comparisons,) in fp64; those of similar length are read together."""
    found = torch.empty(len(comparisons), dtype=torch.float64)
    for rows in batches_of([len(one.ids) for one in comparisons], batch):
        texts = pad_right([(comparisons[i].ids, [1.0] * len(comparisons[i].ids)) for i in rows], padding)
        marks = torch.tensor([comparisons[i].marks for i in rows])
        found[rows] = model(*(tensor.to(model.device) for tensor in (texts.ids, texts.mask, marks))).double().cpu()
    return found
