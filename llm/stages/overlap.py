"""Do two tasks use the same directions in a layer, and does averaging that layer help? What the theory's graded overlap
(`theory.overlap`) is about, measured in a run: the notebook joins the two.

The tasks: a, the abilities, by theta_0 on training items (log-likelihood of the references); b, the alignment task, by
theta on its own replies to training prompts. A layer's *used directions* for a task are the leading eigenvectors of E g g^T
where g is the gradient of a reply's log-likelihood with respect to the layer's output, over all tokens. Each task has its own rank:
the smallest number of directions that hold `ENERGY` of its trace. Two subspaces of ranks n_a and n_b have min(n_a, n_b)
principal cosines. By chance: the tasks of the blocks of examples are exchanged at random, and the ranks kept.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import Algorithm
from ..data.records import AbilityItems
from ..errors import UserError
from ..evaluation.local import Evaluator
from ..evidence.claims.theory import predicted_gain
from ..grouping import Grouping, labels, layer_list
from ..models.batches import Tokens, pad_replies
from ..models.chat import encode_apart, generate_replies
from ..models.loading import load_model
from ..run import LocalRun
from .align import theta_folder
from .average import Between, load_between

BY_LAYER = Grouping(level="layer", embeddings="own", norm="theta", head="theta")
ENERGY = 0.9  # share of the gradients' energy that a layer's used directions hold
BLOCKS = 16  # of examples a task: what permutations exchange
PERMUTATIONS = 200
EXAMPLES = 192  # a task


def measure_overlap(evaluator: Evaluator, algorithms: Sequence[Algorithm]) -> dict:
    """Of each algorithm, with what it is of."""
    run = evaluator.run
    found = {rlhf: overlap(evaluator, theta_folder(run, rlhf, "own")) for rlhf in algorithms}
    return {"preset": run.preset.name, "seed": run.seed, "rlhf": found}


def overlap(evaluator: Evaluator, theta: Path) -> dict:
    """{"dimension"; "layers": {"layer1": as `compare`, and "effect": as `layer_effects`}, ..}, every `thin_layers`-th of them;
    "theta_0", "theta": metric -> value}.
    """
    evaluator = _of_texts(evaluator)
    run, between = evaluator.run, load_between(evaluator.theta_0, theta, BY_LAYER, evaluator.mixed_on)
    start, end = load_model(evaluator.theta_0, run.device), load_model(theta, run.device)
    groups = [group for group in labels(between.assignment) if group.startswith("layer")]
    numbers = range(0, len(groups), run.preset.thin_layers)
    of_a = gradient_blocks(start, ability_examples(evaluator.tokenizer, _training_items(run)), evaluator, numbers)
    of_b = gradient_blocks(end, _own_replies(evaluator, end), evaluator, numbers)
    rng, layers = run.rng("overlap", "permutations"), {}
    effects = layer_effects(evaluator, between, [groups[number] for number in numbers])
    for number, a, b in zip(numbers, of_a, of_b, strict=True):
        layers[groups[number]] = compare(a, b, rng) | {"effect": effects[groups[number]]}
    ends = {name: _values(evaluator, model) for name, model in (("theta_0", start), ("theta", end))}
    return {"dimension": of_a.shape[-1], "layers": layers, **ends}


def layer_effects(evaluator: Evaluator, between: Between, groups: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Layer -> {"half", "start"}: metrics of theta with that layer alone averaged half and half, or replaced by theta_0's."""
    theta, effects = dict.fromkeys(labels(between.assignment), 1.0), {}
    for group in groups:
        ratios = {"half": 0.5, "start": 0.0}
        effects[group] = {
            name: _values(evaluator, between.mix(theta | {group: ratio})) for name, ratio in ratios.items()
        }
    return effects


def _values(evaluator: Evaluator, model) -> dict[str, float]:
    """Of its replies, and of its abilities."""
    measured = evaluator.dialogue(model, evaluator.prompts) | evaluator.abilities.measure(model)
    return {name: float(one.value) for name, one in measured.items()}


def _of_texts(evaluator: Evaluator) -> Evaluator:
    """The same, with texts as the only ability where the preset has some."""
    preset = evaluator.run.preset
    if not preset.evaluate.counts.get("text"):
        return evaluator
    texts = preset.evaluate.model_copy(update={"qa": 0, "reading": 0})
    return replace(evaluator, run=replace(evaluator.run, preset=preset.model_copy(update={"evaluate": texts})))


def ability_examples(tokenizer, items: AbilityItems) -> list[Tokens]:
    """(prompt, reference) ids of the items of every ability, an ability after the other in turn."""
    asked = [(item.prompt, item.reference, True) for item in (*items.reading, *items.translation)]
    plain, chat = [], asked
    for item in items.qa:
        if item.is_plain:
            ids = tokenizer.encode(item.prompt, add_special_tokens=False)
            plain.append(Tokens(ids, tokenizer.encode(item.reference, add_special_tokens=False)))
        else:
            chat = [*chat, (item.prompt, item.reference, True)]
    texts = [tokenizer.encode(text, add_special_tokens=False) for text in items.text]
    return plain + encode_apart(tokenizer, chat) + [Tokens(ids[:1], ids[1:]) for ids in texts]


def _training_items(run: LocalRun) -> AbilityItems:
    counts = {name: min(count, EXAMPLES // 3) for name, count in run.preset.evaluate.counts.items()}
    return run.source.items("train", counts)


def _own_replies(evaluator: Evaluator, theta) -> list[Tokens]:
    """theta's replies to training prompts."""
    run, tokenizer = evaluator.run, evaluator.tokenizer
    preset = run.preset
    prompts = [p.text for p in run.source.prompts("train", preset.prompts, EXAMPLES, run.rng("overlap", "prompts"))]
    settings = {"max_new_tokens": preset.max_new_tokens, "temperature": 1.0, "batch_size": preset.evaluate.batch}
    replies = generate_replies(theta, tokenizer, prompts, rng=run.torch_rng("overlap", "replies"), **settings)
    return encode_apart(tokenizer, [(prompt, *reply) for prompt, reply in zip(prompts, replies) if reply[0].strip()])


def gradient_blocks(
    model, examples: Sequence[Tokens], evaluator: Evaluator, numbers: Sequence[int]
) -> NDArray[np.float64]:
    """(layer of these numbers, block, d, d) sums over a block's examples of g g^T, g the gradient of a reply's mean log-likelihood a token
    with respect to a layer's output at every token; examples go to the blocks in turn. Raises UserError for fewer examples
    than blocks.
    """
    if len(examples) < BLOCKS:
        raise UserError(f"overlap: {len(examples)} examples are not enough; at least {BLOCKS} are needed for a task.")
    prefix, outputs = layer_list([name for name, _ in model.named_parameters()]), {}
    stack = model.get_submodule(prefix)

    def keep(number: int, module, arguments, output) -> None:
        outputs[number] = output[0] if isinstance(output, tuple) else output
        outputs[number].retain_grad()

    sums: NDArray | None = None
    with ExitStack() as during:
        during.callback(model.zero_grad, set_to_none=True)
        for number in numbers:
            during.enter_context(stack[number].register_forward_hook(partial(keep, number)))
        for first in range(0, len(examples), BLOCKS):
            some = examples[first : first + BLOCKS]
            batch = pad_replies(some, evaluator.tokenizer.pad_token_id).to(model.device)
            lengths = torch.tensor([len(each.reply) for each in some], device=model.device)
            model.zero_grad(set_to_none=True)
            with torch.enable_grad():
                # in one pass: `token_log_probs` may read long and short rows apart, whose hooks would see the last ones only
                read = model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
                log_p = model.lm_head(read[:, :-1]).log_softmax(-1).gather(-1, batch.ids[:, 1:, None])[..., 0]
                ((log_p * (batch.weights[:, 1:] > 0)).sum(dim=1) / lengths).sum().backward()
            slopes = [outputs[number].grad.double() for number in numbers]
            found = torch.stack([torch.einsum("btd,bte->bde", slope, slope) for slope in slopes]).cpu().numpy()
            sums = np.zeros((len(numbers), BLOCKS, *found.shape[2:])) if sums is None else sums
            sums[:, : len(some)] += found
    assert sums is not None
    return sums


def compare(a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> dict:
    """One layer's overlap of two tasks, from their (block, d, d) sums.

    {"ranks": [n_a, n_b]; "cosines", min(n_a, n_b) of them; "s2", "s4"; "predicted": as `predicted_gain`;
    "null": {"within": S2 / n of two halves of one task's examples at its rank n, mean over the tasks (what sampling
    leaves of a whole overlap); "same", "low": S2 when the examples' tasks are exchanged at random (mean, 2.5 % quantile);
    "random": S2 of random subspaces}}.
    """
    # a task's scale of gradients says nothing of directions
    a, b = (each / np.trace(each.sum(axis=0)) for each in (a, b))
    ranks = [rank_of(each.sum(axis=0)) for each in (a, b)]
    cosines = cosines_of(a.sum(axis=0), b.sum(axis=0), ranks)
    both, exchanged = np.concatenate([a, b]), []
    for _ in range(PERMUTATIONS):
        order = rng.permutation(len(both))
        parts = both[order[: len(a)]].sum(axis=0), both[order[len(a) :]].sum(axis=0)
        exchanged.append(float((cosines_of(*parts, ranks) ** 2).sum()))
    s2, s4 = (float((cosines**power).sum()) for power in (2, 4))
    halves = [(each[::2].sum(axis=0), each[1::2].sum(axis=0)) for each in (a, b)]
    return {
        "ranks": ranks,
        "cosines": cosines.tolist(),
        "s2": s2,
        "s4": s4,
        "predicted": predicted_gain(ranks[0], ranks[1], s2, s4),
        "null": {
            "within": float(np.mean([(cosines_of(*pair, [n, n]) ** 2).mean() for pair, n in zip(halves, ranks)])),
            "same": float(np.mean(exchanged)),
            "low": float(np.quantile(exchanged, 0.025)),
            "random": ranks[0] * ranks[1] / a.shape[-1],
        },
    }


def rank_of(matrix: NDArray[np.float64]) -> int:
    """The smallest number of eigenvectors that hold `ENERGY` of the trace."""
    values = np.clip(np.linalg.eigvalsh(matrix)[::-1], 0, None)
    return int(np.searchsorted(np.cumsum(values) / values.sum(), ENERGY)) + 1


def cosines_of(a: NDArray[np.float64], b: NDArray[np.float64], ranks: Sequence[int]) -> NDArray[np.float64]:
    """(the smaller rank,) principal cosines between the spans of the leading eigenvectors, ranks[0] of the symmetric matrix
    a and ranks[1] of b.
    """
    first, second = (np.linalg.eigh(each)[1][:, -rank:] for each, rank in zip((a, b), ranks, strict=True))
    return np.clip(np.linalg.svd(first.T @ second, compute_uv=False), 0.0, 1.0)
