"""Samples of everything a preset's models read, as text for a person."""

import numpy as np

from ..run import MicrocosmRun


def samples(run: MicrocosmRun, count: int) -> str:
    """`count` documents, conversations, alignment prompts with a written reply, and test items of each kind."""
    rng, source, preset = run.rng("show"), run.source, run.preset
    blocks = []
    kinds = dict.fromkeys(kind for phase in preset.pretrain.phases for kind in phase.mixture)
    for kind in kinds:
        texts = (" ".join(text for text, _ in source.document(kind, rng)) for _ in range(count))
        blocks.append(_block(f"pre-training document, {kind}", texts))
    for kind in preset.sft.mixture:
        talks = (source.conversation(kind, rng) for _ in range(count))
        blocks.append(_block(f"instruction tuning, {kind}", (f"{t.prompt} -> {t.reply}" for t in talks)))
    for kind in preset.prompts:
        blocks.append(
            _block(f"alignment prompt, {kind}, and a reply with its gold reward", _replies(source, kind, count, rng))
        )
    items = source.items("test", {"qa": count, "reading": count, "translation": count})
    blocks.append(
        _block("test item, qa", (f"{i.prompt} {' | '.join(i.choices)} (right: {i.answer + 1})" for i in items.qa))
    )
    for name in ("reading", "translation"):
        blocks.append(_block(f"test item, {name}", (f"{i.prompt} -> {i.reference}" for i in getattr(items, name))))
    return "\n\n".join(blocks)


def _replies(source, kind: str, count: int, rng: np.random.Generator):
    for prompt in source.prompts("train", {kind: 1.0}, count, rng):
        reply = source.written_reply(prompt, rng)
        yield f"{prompt.text} -> {reply} ({source.gold_reward(prompt, reply, True):+.1f})"


def _block(title: str, lines) -> str:
    return "\n".join([f"[{title}]", *(f"  {line}" for line in lines)])
