"""What methods that change training ask a run for: documents, theta_0's own samples, theta_pre (`llm.training.mitigations`)."""

from functools import partial

from ..models.loading import load_model, load_tokenizer
from ..run import MicrocosmRun
from ..training.mitigations.mitigation import Example, Materials
from .pretrain import draw_document
from .samples import own_samples


def materials(run: MicrocosmRun, purpose: str, iteration: int = 0, of_several: int = 1) -> Materials:
    """Documents of pre-training's last phase, and a seed, each from a stream of its own for a purpose.

    iteration: of alignment; 0 for a run of its own. of_several: which of the runs of that iteration. Each has other documents; the seed is
    the same in all iterations, the reference the same everywhere.
    """
    place = (iteration, of_several) if iteration else ()
    rng, mixture = run.rng(purpose, "documents", *place), run.preset.pretrain.phases[-1].mixture
    return Materials(
        document=lambda: draw_document(run, mixture, rng),
        seed=int(run.rng(purpose, "weights", *place[1:]).integers(2**62)),
        reference=partial(reference, run),
        pretrained=lambda: load_model(run.folder / "pretrained"),
        pad_id=load_tokenizer(run.folder / "theta_0").pad_token_id,
        iteration=iteration,
    )


def reference(run: MicrocosmRun, kind: str, count: int) -> list[Example]:
    """The first examples of general text: theta_0's "free" samples, of which every token but the given first one counts, or "documents"."""
    if kind == "documents":
        rng, mixture = run.rng("reference"), run.preset.pretrain.phases[-1].mixture
        return [draw_document(run, mixture, rng) for _ in range(count)]
    theta_0 = run.folder / "theta_0"
    samples = own_samples(run, theta_0, theta_0, kind, count)
    return [(context + reply, [0.0] * len(context) + [1.0] * len(reply)) for context, reply in samples]
