"""Small runs of the trainers on the models of `trainer_models`, the same alone and in each process of a launch."""

from pathlib import Path

import torch

from llm.config import Collapse
from llm.config.trainers import DpoSettings, Hardware, PpoSettings, RewardSettings, RsfSettings, SftSettings
from llm.training.distributed.models import Start
from trainer_models import CONVERSATIONS, PAIRS, PROMPTS, adam, descent, save_model, tokenizer, writing


def make_models(folder: Path) -> None:
    """theta_0, and a reward model whose head is large enough to tell replies apart."""
    import transformers

    save_model(folder / "model", "mistral")
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
    model.score.weight.data.mul_(50)
    model.save_pretrained(folder / "reward")
    tokenizer().save_pretrained(folder / "reward")


def start(folder: Path) -> Start:
    return Start(str(folder / "model"), seed=0)


def sft_settings() -> SftSettings:
    return SftSettings(block=40, loss_on="replies", descent=descent(), lora=None)


def sft_run(folder: Path, out: Path, hardware: Hardware) -> None:
    """Six steps, with a state after each."""
    from llm.training.distributed.trainers import sft

    sft(start(folder), CONVERSATIONS, sft_settings(), hardware, out)


def reward_run(folder: Path, out: Path, hardware: Hardware) -> list[float]:
    from llm.training.distributed.trainers import reward

    return reward(start(folder), PAIRS, RewardSettings(length=100, descent=descent(), lora=None), hardware, out)


def dpo_run(folder: Path, out: Path, hardware: Hardware) -> list[float]:
    from llm.training.distributed.trainers import dpo

    settings = DpoSettings(beta=0.5, length=100, iterations=2, descent=descent(), lora=None)
    return dpo(start(folder), PAIRS, settings, hardware, out)


def rsf_settings(iterations: int = 1, **changes) -> RsfSettings:
    given = {"prompts": 3, "samples": 4, "writing": writing(), "descent": descent(epochs=2), "lora": None}
    return RsfSettings(iterations=iterations, **given | changes)


def rsf_run(folder: Path, out: Path, hardware: Hardware, iterations: int = 1) -> None:
    from llm.training.distributed.rsf import rsf

    rsf(start(folder), str(folder / "reward"), PROMPTS, rsf_settings(iterations), hardware, out)


def ppo_settings(iterations: int, **collapse) -> PpoSettings:
    signs = {"window": 2, "reward_drop": 50.0, "shortest": 0.01, "cut_off": 0.99, "critic_loss": 1e6, "back": 2}
    signs |= {"restarts": 1}
    counts = {"iterations": iterations, "prompts": 4, "epochs": 2, "batch": 2, "measured_every": 1}
    science = {"eta": 0.1, "gamma": 1.0, "gae_lambda": 0.95, "clip": 0.2, "value_clip": 50.0, "baseline": 0.5}
    parts = {"writing": writing(), "optimiser": adam(), "critic_optimiser": adam()}
    return PpoSettings(**counts, **science, **parts, collapse=Collapse(**signs | collapse), lora=None)


def ppo_run(folder: Path, out: Path, hardware: Hardware, iterations: int, **collapse) -> None:
    from llm.training.distributed.ppo import ppo

    ppo(start(folder), folder / "reward", PROMPTS, ppo_settings(iterations, **collapse), hardware, out)


def gradients(folder: Path, to: Path, hardware: Hardware) -> None:
    """How much each weight changes in one step of plain descent at rate 1, clipped at nothing, on a global batch of three rows."""
    from llm.config import Optimiser
    from llm.models.batches import pad_replies
    from llm.training.distributed.loop import Learned, Learner, Objective, fit
    from llm.training.distributed.models import load_trained
    from llm.training.distributed.processes import make_accelerator, split
    from llm.training.loop import token_loss

    made = split(4, hardware)
    accelerator = make_accelerator(hardware, made)
    model, _ = load_trained(start(folder), "causal", None)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    module = Learned(model, token_loss)
    module, optimiser = accelerator.prepare(module, torch.optim.SGD(module.parameters(), lr=1.0))
    schedule = Optimiser(lr=1.0, betas=(0.0, 0.0), weight_decay=0.0, clip=1e9, warmup_steps=0, final_share=1.0)
    rows = [([5, 6, 7], [8, 9]), ([5], [6, 7, 8, 9, 10]), ([11, 12], [13])]
    objective = Objective(
        collate=lambda some: pad_replies(some, 0).to(accelerator.device),
        count=lambda row: len(row[1]),
        loss=lambda module, batch: module(batch)[None],
    )
    learner = Learner(accelerator, module, optimiser, (schedule,))
    ((loss,),) = fit(learner, [rows], objective, made, steps=1)
    after = learner.weights("model")
    accelerator.free_memory()
    if accelerator.is_main_process:
        to.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"loss": loss} | {key: before[key] - after[key].cpu() for key in before}, to)
