"""PairRM's network (Jiang et al., LLM-Blender, arXiv 2306.02561), named as the weights of llm-blender/PairRM-hf name it.

transformers has no class for it. Imported only where a ranker is loaded, since it needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DebertaV2Model, DebertaV2PreTrainedModel


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
    order = sorted(range(len(comparisons)), key=lambda i: len(comparisons[i].ids))
    found = torch.empty(len(comparisons), dtype=torch.float64)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        longest = max(len(comparisons[i].ids) for i in rows)
        ids = torch.full((len(rows), longest), padding)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for row, i in enumerate(rows):
            length = len(comparisons[i].ids)
            ids[row, :length], mask[row, :length] = torch.tensor(comparisons[i].ids), 1
        marks = torch.tensor([comparisons[i].marks for i in rows])
        found[rows] = model(*(tensor.to(model.device) for tensor in (ids, mask, marks))).double().cpu()
    return found
