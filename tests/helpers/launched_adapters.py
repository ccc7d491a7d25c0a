"""What each process of a launch does in test_trainers_launch.py with adapters that learn while activations are computed again, as in
the preset openllama-3b-lora."""

import sys
from pathlib import Path

from llm.config.trainers import Hardware, Lora
from trainer_models import CONVERSATIONS, PROMPTS, hardware
from trainer_runs import ppo_settings, rsf_settings, sft_settings, start

LORA = Lora(rank=4, lora_alpha=8.0, dropout=0.0, targets="mlp+attention")
MADE = ("sft", "rsf/iteration01", "ppo/iteration01", "ppo/iteration02")


def main(folder: Path, out: Path, split: Hardware) -> None:
    from llm.training.distributed.ppo import ppo
    from llm.training.distributed.rsf import rsf
    from llm.training.distributed.trainers import sft

    split, adapted = split.model_copy(update={"checkpointing": True}), {"lora": LORA}
    sft(start(folder), CONVERSATIONS, sft_settings().model_copy(update=adapted), split, out / "sft")
    rsf(start(folder), str(folder / "reward"), PROMPTS, rsf_settings(**adapted), split, out / "rsf")
    ppo(start(folder), folder / "reward", PROMPTS, ppo_settings(2).model_copy(update=adapted), split, out / "ppo")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[1]) / "adapted", hardware(launcher="fsdp", processes=2))
