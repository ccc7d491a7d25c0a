"""The learned reward by TRL's RewardTrainer: Bradley-Terry, -log sigmoid(r(chosen) - r(rejected)) (paper.md section 3)."""

from pathlib import Path

from ...config.trainers import Hardware, RewardSettings
from ...models.chat import context_of, require_room
from .models import Start, load_tokenizer, load_trained
from .pairs import tokenised
from .processes import require_device
from .trl_run import arguments, dataset, fit, steps_of


def reward(start: Start, pairs: list[dict], settings: RewardSettings, hardware: Hardware, out: Path) -> list[float]:
    """Write a sequence classifier with one output to `out`, the start's body with a new head; the loss of every step.

    Args:
        pairs: rows {"prompt" (messages), "chosen", "rejected" (texts)}.
    """
    require_device(hardware)
    from trl import RewardConfig, RewardTrainer

    ids = tokenised(load_tokenizer(start.model), pairs, settings.length)
    rows = [{key: row["prompt_ids"] + row[key] for key in ("chosen_ids", "rejected_ids")} for row in ids]
    made = dataset(rows, "pairs")
    config = arguments(
        RewardConfig, settings.descent, hardware, out, start.seed, max_length=settings.length, disable_dropout=False
    )
    model, origin = load_trained(start, "reward", settings.lora)
    require_room(settings.length, context_of(model.config), "length")
    trainer = RewardTrainer(model=model, args=config, train_dataset=made, processing_class=origin.tokenizer)
    return fit(trainer, origin, start, hardware, settings, rows, out, {steps_of(len(rows), settings.descent): out})
