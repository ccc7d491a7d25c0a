"""AdaMerging: one ratio a layer, learned from labelled data of a single ability (the paper, section 4, figure 15).

After Yang et al., "AdaMerging: adaptive model merging for multi-task learning" (ICLR 2024), who lower the entropy of the
predictions; here, as in the paper, it is the supervised loss of the right answers. The ratios are optimised as AMA's
are (`ama.optimise_ratios`): with the same exact gradient, and in Omega at every step. What differs is what is made likely,
answers that are right instead of replies that are well rewarded, and that every layer is a part.
"""

from collections.abc import Iterable

from ..data.records import ChoiceItem, GenerationItem


def labelled(items: Iterable[GenerationItem | ChoiceItem]) -> list[dict]:
    """Items with their right answers in the form of AMA's samples: {"prompt", "reply", "finished"}."""
    return [{"prompt": item.prompt, "reply": item.reference, "finished": True} for item in items]
