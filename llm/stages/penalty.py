"""PPO with other KL penalties in the reward, r - eta log(pi / pi_0) (the paper, section 4, figure 8): the ends, measured.

The models are made by the stage `ppo`, every eta with the same prompts and random numbers. What counts is the end of the
run, after the preset's iterations and whatever restarts its rule of collapse has asked for: no best iteration is chosen.
"""

from ..config import TrainingEntry, eta_name
from ..evaluation.local import Evaluator
from ..evaluation.rows import rows_of, with_rate
from ..models.loading import load_model
from .align import number, theta_folder


def measure_penalties(evaluator: Evaluator, entry: TrainingEntry, rate: str) -> list[dict]:
    """Rows of method `kl`, setting {"strength": eta}, for every eta of an entry; PPO must have been run with each.

    Args:
        rate: PPO's learning rate, as text or `own`; a rate of its own becomes part of the setting.
    """
    run, rows, lr = evaluator.run, [], number(rate)
    for setting in entry.settings():
        theta = theta_folder(run, "ppo", rate, eta_name(run.preset.ppo.eta, setting["strength"]))
        measured, seconds = evaluator.measure(load_model(theta))
        rows += rows_of(run, "ppo", entry.method, with_rate(setting, lr), measured, seconds)
    return rows
