"""Methods at several learning rates: each family's path at each rate, what MA and early stopping save of its tax, and MA of theirs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm.config import Preset
from llm.evidence import paths
from llm.evidence.compare import AtBest
from llm.evidence.intervals import Interval
from llm.evidence.metrics import METRICS, SAVED
from llm.evidence.shares import Models, Rate

from . import gains, panels, sentences, style
from .fronts import Line
from .rows import not_measured
from .sentences import ability_words, cell

LEAD = "share of its tax saved\nat equal learned reward"
RIVALS = {"ma": "o", "early-stopping": "s"}  # their marks
EDGE = 1.5  # of a panel, in taxes of the method: what lies beyond has an arrow


def find(
    rows: pd.DataFrame, names: Sequence[str], preset: Preset, frames: Mapping[str, pd.DataFrame]
) -> dict[str, Models] | None:
    """The paths of families at every rate that all of them have, in rising order, of the seeds that have them all; None,
    after a sentence, where that is no rate but the preset's own, or no seed. `rows` from `llm.evidence.frames.after`.
    """
    families = [rows[rows["family"] == name] for name in names]
    others = set.intersection(*(set(chosen["lr"].dropna()) for chosen in families))
    if not others or any(chosen["lr"].notna().all() for chosen in families):
        sweeps = ["learning-rates", "mitigations", "mitigation-rates"]
        sentences.show(not_measured("every method at several learning rates", sweeps, frames))
        return None
    own, its = preset.distil.optimiser.lr, preset.rsf.optimiser.lr
    if own != its:
        sentences.show(
            f"RSF's own learning rate is {panels.rate(its)}, that of what imitates its samples {panels.rate(own)}: they are not compared by rates."
        )
        return None
    rates = paths.rates(rows[rows["lr"].isna() | rows["lr"].isin(others)], own)
    found = {name: {lr: paths.path(rows, name, lr) for lr in rates} for name in names}
    common = set.intersection(*(set(path["seed"]) for models in found.values() for path in models.values()))
    if not common:
        sentences.show("No seed has the rows of every method at several learning rates, so nothing is drawn here.")
        return None
    return {name: {lr: paths.of_seeds(path, common) for lr, path in models.items()} for name, models in found.items()}


def fronts_of(rows: pd.DataFrame, found: Mapping[str, Models], titles: Mapping[Rate, str]) -> list[Line]:
    """A line of panels for each rate, against the learned reward."""
    return [
        Line("reward", {name: models[lr] for name, models in found.items()}, rows, title, stars=("theta_0",))
        for lr, title in titles.items()
    ]


def figure(by_rival: Mapping[str, Mapping[str, AtBest]], titles: Mapping[Rate, str], preset: str) -> Figure:
    """A panel for each rate and one for the best: what each rival saves of each method's tax. `by_rival`: rival -> method -> shares."""
    names = list(by_rival["ma"])
    size = style.WIDTH, 1.15 + gains.ROW * len(names)
    fig, axes = plt.subplots(1, len(titles) + 1, figsize=size, sharey=True, squeeze=False)
    for ax, lr in zip(axes[0], titles, strict=False):
        draw(ax, names, {rival: {name: one.at[lr] for name, one in found.items()} for rival, found in by_rival.items()})
    best = {rival: {name: one.best for name, one in found.items()} for rival, found in by_rival.items()}
    draw(axes[0, -1], names, best)
    every = [
        one for found in by_rival.values() for shares in found.values() for one in (shares.best, *shares.at.values())
    ]
    seeds = max((len(one.per_seed) for one in every if one), default=0)
    for ax, title in zip(axes[0], (*titles.values(), "each at its best"), strict=True):
        ax.set(title=title, xlabel=LEAD)
    gains.label(axes[0, 0], [style.look(name).short for name in names])
    marks = [
        plt.Line2D([], [], color=style.GREY, marker=mark, label=f"{style.look(rival).short} against the method")
        for rival, mark in RIVALS.items()
    ]
    fig.legend(handles=marks, loc="outside upper center", ncols=2)
    panels.stamp_differences(fig, preset, seeds, items=False)
    return fig


def draw(ax: Axes, names: Sequence[str], found: Mapping[str, Mapping[str, Interval | None]]) -> None:
    """One panel, a line for each method: the shares that the rivals save, or that there is none to save."""
    ax.axvline(0, color=style.GREY, linewidth=0.8)
    ax.set_xlim(-EDGE, EDGE)
    for rival, differences in found.items():
        for name, one in differences.items():
            if one is not None:
                height = -names.index(name) + (0.18 if rival == "ma" else -0.18)
                clipped(ax, one, height, style.look(name).colour, RIVALS[rival], EDGE)
    for place, name in enumerate(names):
        if not any(differences.get(name) for differences in found.values()):
            untaxed(ax, -place, 0.03 * EDGE, "no tax clear of 0")


def saved(found: Mapping[str, Mapping[tuple[str, str], Interval | None]], preset: str) -> Figure:
    """What MA saves of early stopping's tax: a panel an ability, a line for each choice of learning rates, which names its seeds. `found`:
    choice -> (reward, ability) -> share, None where there is none.
    """
    shares = [one for of_choice in found.values() for one in of_choice.values()]
    abilities = list(dict.fromkeys(ability for of_choice in found.values() for _, ability in of_choice))
    by = list(dict.fromkeys(reward for of_choice in found.values() for reward, _ in of_choice))
    size = style.WIDTH, 1.25 + gains.ROW * len(found)
    fig, axes = plt.subplots(1, len(abilities), figsize=size, sharey=True, squeeze=False)
    for ability, ax in zip(abilities, axes[0], strict=True):
        ax.axvline(0, color=style.GREY, linewidth=0.8)
        ax.set(xlim=(-EDGE, EDGE), title=ability_words(ability), xlabel="share of the tax saved")
        for place, of_choice in enumerate(found.values()):
            taxed = [reward for reward in by if of_choice[reward, ability] is not None]
            for reward in by:
                height, one = gains.SHIFT[reward] - place, of_choice[reward, ability]
                if one is not None:
                    clipped(ax, one, height, style.look("ma").colour, "o", EDGE, filled=gains.FILLED[reward])
                elif taxed:
                    untaxed(ax, height, -0.95 * EDGE, f"{METRICS[reward].short}: no clear tax")
            if not taxed:
                untaxed(ax, -place, -0.95 * EDGE, "no clear tax")
    gains.label(axes[0, 0], list(found))
    gains.legend(fig, by)
    seeds = [len(one.per_seed) for one in shares if one] or [0]
    panels.stamp_differences(fig, preset, max(seeds), least=min(seeds), items=False)
    return fig


def untaxed(ax: Axes, height: float, left: float, words: str) -> None:
    ax.text(left, height, words, fontsize=style.LEAST, color=style.GREY, va="center")


def clipped(ax: Axes, found: Interval, height: float, colour: str, mark: str, edge: float, filled: bool = True) -> None:
    """A horizontal interval with its mean and single seeds; an arrow where it leaves the panel, from -edge to edge."""
    seeds = found.per_seed[np.abs(found.per_seed) < edge] if len(found.per_seed) > 1 else []
    ax.plot(seeds, np.full(len(seeds), height), ".", color=colour, markersize=2.5, alpha=0.6)
    if not np.isnan(found.low):
        ax.plot(np.clip([found.low, found.high], -edge, edge), [height] * 2, color=colour, linewidth=1.1)
        for end, arrow in ((found.low, "<"), (found.high, ">")):
            if abs(end) > edge:
                ax.plot(np.sign(end) * edge, height, arrow, color=colour, markersize=3.5, clip_on=False)
    if abs(found.mean) < edge:
        ax.plot(found.mean, height, mark, color=colour, markerfacecolor=colour if filled else style.PAPER, markersize=4)


def highest(found: Mapping[str, Models], names: Mapping[Rate, str]) -> str:
    """How far each method gets in learned reward at any rate: what it does not reach is not compared."""
    listed = []
    for name, models in found.items():
        means = {lr: float(panels.points(path, "reward")["mean"].max()) for lr, path in models.items()}
        best = max(means, key=lambda lr: means[lr])
        listed.append(f"{style.look(name).short} {means[best]:.2f} (at {names[best]})")
    ends = "those of methods that change training end with plain distillation"
    return f"Highest learned reward on each path ({ends}), means over seeds: " + "; ".join(listed) + "."


def table(shares: Mapping[str, AtBest], rival: str, names: Mapping[Rate, str]) -> pd.DataFrame:
    """A line a method: the share of its tax that the rival saves at each rate, and with each at its best; "-" where no tax is clear
    of 0, or no rewards are in common.
    """
    return pd.DataFrame(
        [
            {
                "saved by": style.look(rival).short,
                "of the tax of": style.look(name).short,
                **{f"both at {names[lr]}": cell(one, SAVED) for lr, one in found.at.items()},
                "each at its best": cell(found.best, SAVED),
            }
            for name, found in shares.items()
        ]
    )


def verdict(by_rival: Mapping[str, Mapping[str, AtBest]]) -> str:
    """One sentence: what each rival saves of the methods' tax, each at its best rates, and on how many seeds."""
    words = []
    found = [one.best for shares in by_rival.values() for one in shares.values() if one.best]
    seeds = f" ({panels.seed_count(max(len(one.per_seed) for one in found))})" if found else ""
    for rival, shares in by_rival.items():
        best = {name: one.best for name, one in shares.items() if one.best}
        saves = [style.look(name).short for name, one in best.items() if one.verdict == "above"]
        pays = [style.look(name).short for name, one in best.items() if one.verdict == "below"]
        text = f"{style.look(rival).short} saves tax against {'; '.join(saves) or 'no method'}"
        text += f". It pays more than {'; '.join(pays)}" if pays else ""
        words.append(f"{text} ({len(best)} of {len(shares)} pay a tax that is clear of 0 at rewards in common)")
    return f"Each at its best learning rate, all abilities together{seeds}: {'. '.join(words)}."
