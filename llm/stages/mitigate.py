"""Mitigations: methods that change training, each model measured (the paper, section 4).

Most fine-tune theta_0 "in distillation style" on all the samples that RSF chose on its way: the same samples in the same order,
and a method differs from the plain one, `distilled`, by its penalty or hook alone (`llm.training.mitigations`). Others are PPO
with another KL penalty in the reward, r - eta log(pi / pi_0) (figure 8).
"""

from pathlib import Path
from typing import cast

from tqdm import tqdm

from ..config import Optimiser, TrainingEntry
from ..evaluation.local import Evaluator
from ..evaluation.measurement import rows_of, with_rate
from ..files import read_made, up_to_date
from ..methods import METHODS, code_of
from ..models.batches import pad_right
from ..models.chat import imitation_example
from ..models.loading import load_model, load_tokenizer
from ..models.save import save_model
from ..run import MicrocosmRun
from ..training.loop import count_minibatches, fit, minibatches, token_loss
from ..training.mitigations.mitigation import Materials, Mitigation
from .align import number, theta_folder
from .pretrain import draw_document
from .rsf import chosen_file

Sample = tuple[str, str, bool]  # prompt, reply, finished


def measure_trained(evaluator: Evaluator, entry: TrainingEntry, rate: str) -> list[dict]:
    """Result rows of every setting of an entry.

    What imitates RSF's samples is trained first, where the run's `mitigations` lack it or have an older one. What is PPO with
    another KL penalty (setting {"strength": eta}) must be there (`align --eta`), every eta with the same prompts and random numbers;
    the end of the run is measured, after whatever restarts its rule of collapse has made: no best iteration is chosen.

    Args:
        rate: the learning rate, as text or `own` for the preset's; another one becomes part of the setting.
    """
    run, rows, lr = cast(MicrocosmRun, evaluator.run), [], number(rate)
    for setting in entry.settings():
        if entry.spec.after == "ppo":
            model = theta_folder(run, "ppo", rate, run.preset.ppo.name_of(setting["strength"]))
        else:
            name = "-".join(f"{key}{value}" for key, value in setting.items()) or "plain"
            model = run.folder / "mitigations" / rate / entry.method / name
            train(run, run.folder / "rsf" / "own", entry.method, setting, lr, model)
        measured, seconds = evaluator.measure(load_model(model))
        rows += rows_of(run, entry.spec.after, entry.method, with_rate(setting, lr), measured, seconds)
    return rows


def train(run: MicrocosmRun, rsf: Path, method: str, setting: dict, lr: float | None, out: Path) -> None:
    """The model folder `out`, unless it is there and newer than theta_0 and all of RSF's chosen samples."""
    files = [chosen_file(rsf, iteration) for iteration in range(1, run.preset.rsf.iterations + 1)]
    theta_0 = run.folder / "theta_0"
    if up_to_date(out / "config.json", theta_0 / "config.json", *files):
        return
    samples = [sample for file in files for sample in read_made(file, _samples)]
    optimiser = run.preset.distil.optimiser
    optimiser = optimiser if lr is None else optimiser.model_copy(update={"lr": lr})
    tokenizer = load_tokenizer(theta_0)
    model = distil(run, load_model(theta_0), tokenizer, samples, method, setting, optimiser)
    save_model(model, tokenizer, out)


def _samples(rows: list) -> list[Sample]:
    return [(str(prompt), str(reply), bool(finished)) for prompt, reply, finished in rows]


def distil(
    run: MicrocosmRun, model, tokenizer, samples: list[Sample], method: str, setting: dict, optimiser: Optimiser
):
    """`model` (theta_0), trained on the samples by a method of the table; returns a plain model."""
    settings = run.preset.distil
    theta_0 = type(model)(model.config).eval().requires_grad_(False)
    theta_0.load_state_dict(model.state_dict())
    mitigation: Mitigation = code_of(METHODS[method])(setting, _materials(run))
    trained = mitigation.wrap(model)
    batches = (
        pad_right(mitigation.mix([imitation_example(tokenizer, *sample) for sample in batch]), tokenizer.pad_token_id)
        for batch in minibatches(samples, settings.batch, settings.epochs, run.rng("distil"))
    )
    steps = count_minibatches(len(samples), settings.batch, settings.epochs)
    losses = fit(trained, batches, _loss(mitigation, theta_0), optimiser, steps=steps)
    bar = tqdm(losses, total=steps, desc=" ".join([method, *map(str, setting.values())]), unit="step")
    for loss in bar:
        mitigation.after_step(trained, theta_0)
        bar.set_postfix(loss=f"{loss:.3f}")
    return mitigation.merge(trained)


def _loss(mitigation: Mitigation, theta_0):
    def loss(model, batch):
        plain = token_loss(model, batch)
        return plain if mitigation.penalty is None else plain + mitigation.penalty(model, theta_0, batch)

    return loss


def _materials(run: MicrocosmRun) -> Materials:
    """Documents of pre-training's last phase, and a seed; each from a stream of its own."""
    rng, mixture = run.rng("distil", "documents"), run.preset.pretrain.phases[-1].mixture
    return Materials(lambda: draw_document(run, mixture, rng), int(run.rng("distil", "weights").integers(2**62)))
