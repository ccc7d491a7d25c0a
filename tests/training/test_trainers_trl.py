"""TRL's trainers take the same steps as ours: instruction tuning, a reward model and DPO from the same weights on the same batches in
the same order.

Tolerances, in fp32: losses 1e-5 of themselves, weights a hundredth of how far they moved at most. AdamW divides by the size of a
gradient, so where that is next to nothing rounding alone decides a weight's step; measured: 2e-6 and 2e-3.
"""

import numpy as np
import pytest
import trl
from datasets import Dataset

from llm.config.trainers import DpoSettings, RewardSettings, SftSettings
from llm.models.chat import pair_ids
from llm.training.distributed.models import Start, load_trained
from llm.training.distributed.trainers import blocks, dpo, reward, sft
from llm.training.loop import minibatches
from trainer_models import CONVERSATIONS, PAIRS, descent, hardware, save_model, tokenizer, weights

DESCENT = descent(batch=2, epochs=1, lr=1e-3)
SFT = SftSettings(block=20, loss_on="replies", descent=DESCENT, lora=None)
REWARD = RewardSettings(length=100, descent=DESCENT, lora=None)
DPO = DpoSettings(beta=0.5, length=100, iterations=1, descent=DESCENT, lora=None)
MANY = PAIRS + [pair | {"rejected": pair["chosen"], "chosen": pair["rejected"][:9]} for pair in PAIRS[:3]]


class OnIds(trl.DPOTrainer):
    """On ids as they are: else it makes its own from texts, which need not be those that sampling makes."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def pairs_of_ids() -> list[dict]:
    return [pair_ids(tokenizer(), pair) for pair in MANY]


def whole_pairs() -> list[dict]:
    return [{side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")} for row in pairs_of_ids()]


RUNS = {  # our trainer, its rows and settings; TRL's, the rows as it takes them, its own settings
    "sft": (
        sft,
        CONVERSATIONS,
        SFT,
        trl.SFTTrainer,
        lambda: list(blocks(tokenizer(), CONVERSATIONS, 20, "replies")),
        {},
    ),
    "reward": (reward, MANY, REWARD, trl.RewardTrainer, whole_pairs, {}),
    "dpo": (dpo, MANY, DPO, OnIds, pairs_of_ids, {"beta": 0.5}),
}


@pytest.mark.parametrize("name", RUNS)
def test_trl_takes_the_same_steps(tmp_path, name):
    train, rows, settings, trainer, theirs, own = RUNS[name]
    start, out = Start(save_model(tmp_path / "model"), seed=0), tmp_path / "ours"
    losses = train(start, rows, settings, hardware(per_device_batch=2), out)
    found = weights(out / "iteration01" if name == "dpo" else out)
    made = theirs()
    order = [row for batch in minibatches(made, 2, 1, np.random.default_rng(start.seed)) for row in batch]
    expected, before, after = by_trl(trainer, name, start, order, tmp_path / "theirs", own)
    assert len(losses) == len(expected) == -(-len(made) // 2) >= 4
    assert losses == pytest.approx(expected, rel=1e-5)
    moved = max(float((after[key] - before[key]).abs().max()) for key in before)
    apart = max(float((after[key] - found[key]).abs().max()) for key in before)
    assert moved > 2e-3 and apart < 1e-2 * moved


def by_trl(trainer, name: str, start: Start, rows: list[dict], folder, own: dict) -> tuple[list[float], dict, dict]:
    """(losses, weights before, weights after) of one epoch over the rows in their order."""
    head = "reward" if name == "reward" else "causal"
    (model, origin), adam = load_trained(start, head, None), DESCENT.optimiser
    before = {key: value.clone() for key, value in model.state_dict().items()}
    config = getattr(trl, {"sft": "SFTConfig", "reward": "RewardConfig", "dpo": "DPOConfig"}[name])(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        learning_rate=adam.lr,
        lr_scheduler_type="constant",
        adam_beta1=adam.betas[0],
        adam_beta2=adam.betas[1],
        weight_decay=adam.weight_decay,
        max_grad_norm=adam.clip,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        max_length=100,
        **own,
    )
    reference = {"ref_model": load_trained(start, head, None)[0]} if name == "dpo" else {}
    given = {"args": config, "train_dataset": Dataset.from_list(rows), "processing_class": origin.tokenizer}
    running = trainer(model=model, **reference, **given)
    running.train()
    losses = [log["loss"] for log in running.state.log_history if "loss" in log]
    return losses, before, running.model.state_dict()
