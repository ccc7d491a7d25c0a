"""What averages of theta_0 and theta reply, ratio by ratio: samples for a person, which the front explorer shows beside the rows."""

from ..config import Algorithm
from ..evaluation.local import Evaluator
from ..grouping import Grouping
from ..models.chat import encode_apart, generate_replies
from ..models.rewards import reader_outputs
from ..run import LocalRun
from .align import theta_folder
from .average import load_between

ALPHAS = tuple(tenth / 10 for tenth in range(11))


def sample_replies(evaluator: Evaluator, rlhf: Algorithm, count: int) -> dict:
    """{"preset", "seed", "rlhf", "alphas", "asked": [{"kind", "prompt", "reference" (None for alignment prompts), "replies":
    [{"reply", "reward", "gold_reward"}, one an alpha]}]}, of averages with one ratio for all weights.

    Greedy replies to `count` alignment prompts of each kind, of split "test", and to as many test items of each ability that is
    generated. Learned and gold reward are of this one reply, and of alignment prompts only.
    """
    run, tokenizer = evaluator.run, evaluator.tokenizer
    prompts, asked = _asked(run, count)
    between = load_between(evaluator.theta_0, theta_folder(run, rlhf, "own"), Grouping(parts=1), evaluator.mixed_on)
    for alpha in ALPHAS:
        model = between.mix_tensors(dict.fromkeys(between.theta, alpha))
        replies = generate_replies(
            model,
            tokenizer,
            [one["prompt"] for one in asked],
            max_new_tokens=run.preset.max_new_tokens,
            temperature=0.0,
            batch_size=run.preset.evaluate.batch,
        )
        said = encode_apart(tokenizer, [(prompt.text, *reply) for prompt, reply in zip(prompts, replies)])
        learned = reader_outputs(evaluator.judge, said)[:, 0].tolist()
        for number, (one, (text, finished)) in enumerate(zip(asked, replies, strict=True)):
            shown: dict[str, str | float] = {"reply": text}
            if number < len(prompts):
                gold = run.source.gold_reward(prompts[number], text, finished)
                shown |= {"reward": round(learned[number], 2), "gold_reward": round(gold, 2)}
            one["replies"].append(shown)
    return {"preset": run.preset.name, "seed": run.seed, "rlhf": rlhf, "alphas": list(ALPHAS), "asked": asked}


def _asked(run: LocalRun, count: int) -> tuple[list, list[dict]]:
    """The alignment prompts, and what is asked, these first."""
    prompts, asked = [], []
    for kind in run.preset.prompts:
        drawn = run.source.prompts("test", {kind: 1.0}, count, run.rng("replies", kind))
        asked += [{"kind": f"alignment prompt, {kind}", "prompt": prompt.text, "reference": None} for prompt in drawn]
        prompts += drawn
    items = run.source.items("test", run.preset.evaluate.counts)
    for ability in ("reading", "translation"):
        generated = [item for item in getattr(items, ability)[:count] if not hasattr(item, "choices")]
        asked += [
            {"kind": f"test item, {ability}", "prompt": item.prompt, "reference": item.reference} for item in generated
        ]
    return prompts, [one | {"replies": []} for one in asked]
