"""How far apart the two models' next tokens are: KL divergences on the tokens of prompts."""

from collections.abc import Sequence

import numpy as np
import torch

from ...averaging.pair import Pair
from ...data.records import Prompt
from ...models.batches import batches_of, left_pad, positions
from ...models.chat import ids_of_prompts, pad_id
from ...models.generate import forward, is_recurrent
from ..measurement import Measurement
from ..scores import kl_per_token

FORWARD, REVERSE = "KL(theta_0 || theta)", "KL(theta || theta_0)"


@torch.no_grad()
def divergences(pair: Pair, prompts: Sequence[Prompt], batch: int) -> dict[str, Measurement]:
    """Both divergences in nats a token: of each prompt, in its chat format, the mean over the distributions that follow its tokens,
    the last of which is that of the reply's first token. The pair's model has theta_0's weights, before and after.
    """
    contexts = ids_of_prompts(pair.tokenizer, prompts)
    found = {FORWARD: np.empty(len(contexts)), REVERSE: np.empty(len(contexts))}
    for rows in batches_of([len(ids) for ids in contexts], batch, is_recurrent(pair.model)):
        ids, mask = left_pad([contexts[row] for row in rows], pad_id(pair.tokenizer), pair.model.device)
        read = {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask)}
        before, _ = forward(pair.model, ids.shape[1], **read)
        pair.exchange()
        after, _ = forward(pair.model, ids.shape[1], **read)
        pair.exchange()
        for row, low, high, real in zip(rows, before, after, mask.bool(), strict=True):
            low, high = low[real].cpu(), high[real].cpu()
            found[FORWARD][row] = kl_per_token(low, high).mean().item()
            found[REVERSE][row] = kl_per_token(high, low).mean().item()
    return {name: Measurement.of(values) for name, values in found.items()}
