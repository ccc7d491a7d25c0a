"""DPO by TRL's DPOTrainer (Rafailov et al., arXiv 2305.18290): theta_0 to theta without a reward model."""

from pathlib import Path

from ...config.trainers import DpoSettings, Hardware
from ...errors import UserError
from ...models.chat import context_of, require_room
from ..iterations import iteration_folder
from .models import Start, load_tokenizer, load_trained
from .pairs import tokenised
from .processes import require_device
from .trl_run import arguments, dataset, fit, steps_of


def dpo(start: Start, pairs: list[dict], settings: DpoSettings, hardware: Hardware, out: Path) -> list[float]:
    """`out/iteration<i>` is the model after the i-th of `settings.iterations` equal stretches of steps; the loss of every step.

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import DPOConfig

    rows = tokenised(load_tokenizer(start.model), pairs, settings.length)
    made, steps = dataset(rows, "pairs"), steps_of(len(rows), settings.descent)
    if settings.iterations > steps:
        raise UserError(
            f"iterations = {settings.iterations} is not allowed; allowed are 1 to {steps}, the number of steps"
        )
    config = arguments(
        DPOConfig,
        settings.descent,
        hardware,
        out,
        start.seed,
        max_length=settings.length,
        beta=settings.beta,
        disable_dropout=False,
    )
    model, origin = load_trained(start, "causal", settings.lora)
    require_room(settings.length, context_of(model.config), "length")
    trainer = _trainer_class()(
        model=model,
        ref_model=load_trained(start, "causal", None)[0],
        args=config,
        train_dataset=made,
        processing_class=origin.tokenizer,
    )
    ends = {steps * i // settings.iterations: iteration_folder(out, i) for i in range(1, settings.iterations + 1)}
    return fit(trainer, origin, start, hardware, settings, rows, out, ends)


def _trainer_class() -> type:
    """TRL's trainer on ids as they are: it would else make its own of texts, which need not be those that sampling makes."""
    from trl import DPOTrainer

    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    return OnIds
