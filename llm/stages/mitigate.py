"""Mitigations: methods that change training, each model measured (the paper, section 4).

Some fine-tune theta_0 "in distillation style" on all the samples that RSF chose on its way: the same samples in the same order,
and a method differs from the plain one, `distilled`, by its penalty or hook alone (`llm.training.mitigations`). Others change every
iteration of RSF or DPO by the same penalties and hooks, so that RSF samples from what the method makes (`on-policy`). And others are PPO
with another KL penalty in the reward, r - eta log(pi / pi_0) (figure 8).
"""

from pathlib import Path
from typing import cast

from tqdm import tqdm

from ..config import Optimiser, TrainingEntry
from ..evaluation.local import Evaluator
from ..evaluation.measurement import rows_of, with_rate
from ..files import read_made, up_to_date
from ..methods import METHODS, ON_POLICY, code_of
from ..models.batches import pad_right
from ..models.chat import imitation_example
from ..models.loading import load_model, load_tokenizer
from ..models.save import save_model
from ..run import MicrocosmRun
from ..training.iterations import chosen_file, iteration_folder
from ..training.loop import count_minibatches, minibatches, token_loss
from ..training.mitigated import Change, fit_mitigated
from ..training.mitigations.mitigation import Mitigation
from .align import align_changed, last_iteration, number, theta_folder
from .materials import materials
from .rsf import Sample, samples_of


def measure_trained(evaluator: Evaluator, entry: TrainingEntry, rate: str, rlhf: str | None = None) -> list[dict]:
    """Result rows of every setting of an entry.

    What imitates RSF's samples, or changes alignment, is trained first, where the run's `mitigations` lack it or have an older one. What
    is PPO with another KL penalty (setting {"strength": eta}) must be there (`align --eta`), every eta with the same prompts and random
    numbers; the end of the run is measured, after whatever restarts its rule of collapse has made: no best iteration is chosen.

    Args:
        rate: the learning rate, as text or `own` for the preset's; another one becomes part of the setting.
        rlhf: the algorithm, one that the method goes with; None: the first of these.
    """
    run, rows, lr = cast(MicrocosmRun, evaluator.run), [], number(rate)
    rlhf = rlhf or entry.spec.after[0]
    for setting in entry.settings():
        measured, seconds = evaluator.measure(_model(run, entry, setting, rlhf, rate))
        rows += rows_of(run, rlhf, entry.method, with_rate(setting, lr), measured, seconds)
    return rows


def _model(run: MicrocosmRun, entry: TrainingEntry, setting: dict, rlhf: str, rate: str):
    """The model of one setting, trained where it has to be."""
    name = "-".join(f"{key}{value}" for key, value in entry.spec.trained_by(setting).items()) or "plain"
    if entry.spec.how == "penalty":
        return load_model(theta_folder(run, "ppo", rate, run.preset.ppo.name_of(setting["strength"])))
    if entry.spec.how == ON_POLICY:
        return changed_model(
            run, entry.method, setting, rlhf, rate, run.folder / "mitigations" / rlhf / rate / entry.method / name
        )
    model = run.folder / "mitigations" / rate / entry.method / name
    train(run, run.folder / "rsf" / "own", entry.method, setting, number(rate), model)
    return load_model(model)


def changed_model(run: MicrocosmRun, method: str, setting: dict, rlhf: str, rate: str, out: Path):
    """The model after an iteration of an algorithm which a method changes in each, or after the last; the iterations lie in `out`.

    setting: its "iteration", if it has one, says which; the last stands for those beyond it, since runs may stop earlier.
    """

    def fresh(iteration: int, of_several: int) -> Mitigation:
        return code_of(METHODS[method])(setting, materials(run, "mitigated", iteration, of_several))

    change = Change(fresh, run.folder / "theta_0")
    align_changed(run, rlhf, rate, out, change=change)
    last = last_iteration(run, rlhf, out)
    wanted = min(setting.get("iteration", last), last)
    model = load_model(iteration_folder(out, wanted))
    change.at(wanted + 1, out).finish(model, change.theta_0)
    return model


def train(run: MicrocosmRun, rsf: Path, method: str, setting: dict, lr: float | None, out: Path) -> None:
    """The model folder `out`, unless it is there and newer than theta_0 and the samples that RSF chose on its way to theta."""
    files = [chosen_file(rsf, iteration) for iteration in range(1, last_iteration(run, "rsf", rsf) + 1)]
    theta_0 = run.folder / "theta_0"
    if up_to_date(out / "config.json", theta_0 / "config.json", *files):
        return
    samples = [sample for file in files for sample in read_made(file, samples_of)]
    optimiser = run.preset.distil.optimiser.at(lr)
    tokenizer = load_tokenizer(theta_0)
    model = distil(run, load_model(theta_0), tokenizer, samples, method, setting, optimiser)
    save_model(model, tokenizer, out)


def distil(
    run: MicrocosmRun, model, tokenizer, samples: list[Sample], method: str, setting: dict, optimiser: Optimiser
):
    """`model` (theta_0), trained on the samples by a method of the table; returns a plain model."""
    settings = run.preset.distil
    theta_0 = type(model)(model.config).eval().requires_grad_(False)
    theta_0.load_state_dict(model.state_dict())
    mitigation: Mitigation = code_of(METHODS[method])(setting, materials(run, "distil"))
    trained = mitigation.wrap(model)
    batches = (
        pad_right(mitigation.mix([imitation_example(tokenizer, *sample) for sample in batch]), tokenizer.pad_token_id)
        for batch in minibatches(samples, settings.batch, settings.epochs, run.rng("distil"))
    )
    steps = count_minibatches(len(samples), settings.batch, settings.epochs)
    losses = fit_mitigated(mitigation, trained, theta_0, batches, token_loss, optimiser, steps=steps)
    bar = tqdm(losses, total=steps, desc=" ".join([method, *map(str, setting.values())]), unit="step")
    for loss in bar:
        bar.set_postfix(loss=f"{loss:.3f}")
    return mitigation.merge(trained)
