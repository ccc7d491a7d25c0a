"""The texts of both models that averages by regression are made of: written once, and kept with the front's run."""

from ...averaging.ama.settings import Sources
from ...averaging.files.own_samples import FILE, SAMPLES, Drawing, Texts, samples_of, write_samples
from ...averaging.pair import Pair
from ...averaging.whole.grams import batches_for, gather
from ...data.formats import FORMS
from ...errors import UserError
from ...files import described_file, require_file
from ...grouping import layer_list
from .claim import Claim
from .settings import REGRESSION, FrontSettings

_LINES = {"own-samples": SAMPLES, "train-prompts": FORMS}


def check_regression(sources: Sources, settings: FrontSettings) -> None:
    """UserError for what goes with method "regmean" only or, as in `average`, not at all."""
    files = {"own-samples": sources.own_samples, "train-prompts": tuple(filter(None, [sources.train_prompts]))}
    given = [name for name, some in files.items() if some]
    if REGRESSION not in settings.method:
        if given:
            raise UserError(f"{given[0]} is not allowed without method regmean.")
        return
    if len(given) > 1:
        raise UserError("own-samples and train-prompts are both given; allowed is one of them.")
    for name, some in files.items():
        for file in some:
            require_file(file, name, f"{_LINES[name]} a line")
    if sources.soup.others:
        raise UserError("with is not allowed with method regmean; allowed is one theta.")
    if settings.match.vocab != "same":
        raise UserError(f"vocab = {settings.match.vocab!r} is not allowed with method regmean; allowed is same.")


def described_regression(sources: Sources, settings: FrontSettings) -> dict[str, object]:
    """What decides the models of "regmean" at every lambda; without prompts of their own the texts reply to the task's."""
    files = {
        "train_prompts": sources.train_prompts,
        **{f"own_samples {n}": one for n, one in enumerate(sources.own_samples, 1)},
    }
    return settings.regmean.model_dump() | {key: file and described_file(file)["sha256"] for key, file in files.items()}


def own_texts(pair: Pair, sources: Sources, settings: FrontSettings, claim: Claim) -> Texts:
    """What theta_0 wrote and what theta replied, from the run's folder or files, or written now by pair.model: then it is kept in the
    folder, which becomes the run's. The first batch is read on trial.

    Raises UserError for models that `average` does not merge by regression, and for texts that do not fit them.
    """
    layer_list(name for name, _ in pair.model.named_parameters())
    prompts = None if sources.own_samples else sources.train_prompts or sources.prompts
    kept = claim.out / FILE
    drawing = Drawing(sources.own_samples, prompts, settings.regmean.count, seed=settings.seed).or_kept(kept)
    options = "own-samples", "train-prompts" if sources.train_prompts else "prompts"
    texts = samples_of(drawing, pair.holding, pair.tokenizer, *options)
    for some in texts.values():
        gather(pair.model, batches_for(pair.model.config, some, pair.model.device)[:1])
    claim.make()
    if not kept.is_file():
        write_samples(kept, texts)
    return texts
