"""What methods that change training ask a run for: documents, theta_0's own samples, theta_pre (`llm.training.mitigations`)."""

from functools import partial

from ..models.loading import load_model, load_tokenizer
from ..run import MicrocosmRun
from ..training.mitigations.mitigation import Example, Materials
from .pretrain import draw_document
from .samples import own_samples


def materials(run: MicrocosmRun, *purpose: str | int) -> Materials:
    """Documents of pre-training's last phase, and a seed, each from a stream of its own for a purpose; samples are the same for all."""
    rng, mixture = run.rng(*purpose, "documents"), run.preset.pretrain.phases[-1].mixture
    return Materials(
        document=lambda: draw_document(run, mixture, rng),
        seed=int(run.rng(*purpose, "weights").integers(2**62)),
        free=partial(free_examples, run),
        pretrained=lambda: load_model(run.folder / "pretrained"),
        pad_id=load_tokenizer(run.folder / "theta_0").pad_token_id,
    )


def free_examples(run: MicrocosmRun, count: int) -> list[Example]:
    """theta_0's first free samples; every token but the given first one counts."""
    theta_0 = run.folder / "theta_0"
    samples = own_samples(run, theta_0, theta_0, "free", count)
    return [(context + reply, [0.0] * len(context) + [1.0] * len(reply)) for context, reply in samples]
