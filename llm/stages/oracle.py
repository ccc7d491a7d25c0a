"""AMA's oracle: the ratios that the reward itself prefers, learned or gold (the paper, eq. 3).

Rewards are of training prompts: the first `oracle.screen` of `oracle.prompts` for all points of the lattice, all of them
for the finalists. Prompts and random numbers are the same for every point, so the comparison is paired.
"""

from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..averaging.ama.oracle import lattice, search
from ..config import AveragingEntry
from ..evaluation.local import Evaluator
from ..files import kept_answer
from ..grouping import labels
from .average import Found, load_between


def oracle_ratios(evaluator: Evaluator, theta: Path, entry: AveragingEntry, folder: Path) -> Found:
    """({"alpha", "chosen_by": name of the reward}, ratios of the groups); `folder` keeps what was found for each mean ratio."""
    found, settings, judges = [], evaluator.run.preset.oracle, entry.options["chosen_by"]
    grouping = entry.grouping.model_dump(mode="json")
    for alpha in entry.alphas:
        file = folder / f"{entry.label}-{alpha:g}.json"
        made_from = [model / "config.json" for model in (evaluator.theta_0, theta, evaluator.reward)]
        search = partial(search_omega, evaluator, theta, entry, alpha)
        best = kept_answer(
            file,
            {"grouping": grouping, "settings": settings.model_dump(mode="json"), "judges": judges},
            made_from,
            search,
        )
        found += [({"alpha": alpha, "chosen_by": judge}, best[judge]) for judge in judges]
    return found


def search_omega(evaluator: Evaluator, theta: Path, entry: AveragingEntry, alpha: float) -> dict[str, dict[str, float]]:
    """Name of each of the entry's rewards -> its best ratios of the groups with the mean `alpha`."""
    run = evaluator.run
    between = load_between(evaluator.theta_0, theta, entry.grouping.of_model(run.preset.model), run.device)
    groups, settings = labels(between.assignment), run.preset.oracle
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, run.rng("oracle"))
    points = lattice(len(groups), alpha, settings.step)
    bar = tqdm(total=len(points), desc=f"oracle, alpha {alpha:g}", unit="point")

    def rewards(point: tuple[float, ...], count: int) -> dict[str, float]:
        model = between.mix(dict(zip(groups, point, strict=True)))
        measured = evaluator.dialogue(model, prompts[:count])
        return {judge: measured[judge].value for judge in entry.options["chosen_by"]}

    def screen(point: tuple[float, ...]) -> dict[str, float]:
        bar.update()
        return rewards(point, settings.screen)

    best = search(points, screen, lambda point: rewards(point, settings.prompts), settings.finalists)
    bar.close()
    return {judge: dict(zip(groups, point, strict=True)) for judge, point in best.items()}
