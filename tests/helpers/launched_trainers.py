"""What each process of a launch does in test_trainers_launch.py: all checks that need several processes, one after the other."""

import contextlib
import gc
import sys
from pathlib import Path

from trainer_runs import dpo_run, gradients, ppo_run, reward_run, sft_run


class Stopped(Exception):
    pass


def stopped_sft(folder: Path, out: Path, hardware) -> None:
    """An SFT run that ends, in every process, when its fourth state is written but not whole."""
    from llm.training.distributed import states

    def stopping(accelerator, state, losses) -> None:
        if len(losses) == 4:
            accelerator.save_state(str(state.with_name(f".{state.name}.partial")))
            raise Stopped
        save(accelerator, state, losses)

    save, states.save_state = states.save_state, stopping
    with contextlib.suppress(Stopped):
        sft_run(folder, out, hardware)
    states.save_state = save


def main(folder: Path) -> None:
    from trainer_models import hardware

    gc.freeze()  # accelerate looks for garbage after every run: not in what was imported
    split, out = hardware(launcher="fsdp", processes=2), folder / "fsdp"
    gradients(folder, out / "gradients.pt", split)
    gradients(folder, out / "gradients-bf16.pt", split.model_copy(update={"dtype": "bf16"}))
    sft_run(folder, out / "whole", split)
    stopped_sft(folder, out / "resumed", split)
    sft_run(folder, out / "resumed", split)
    reward_run(folder, out / "scored", split)
    dpo_run(folder, out / "dpo", split)
    for iterations in (1, 2):  # the second begins from the sharded state that the first has left
        ppo_run(folder, out / "ppo", split, iterations)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
