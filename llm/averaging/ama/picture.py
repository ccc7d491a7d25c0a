"""The picture of AMA's way: ratios and loss over the steps."""

from pathlib import Path

from ...files import written
from .optimise import AmaResult

_SMOOTHED = 20  # the loss is drawn as a mean over the last steps/20, since single batches differ much


def draw_path(result: AmaResult, alpha: float, stem: Path) -> None:
    """Write stem.png and stem.pdf (`stem` has a suffix of its own already): one line a group, and the loss below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    steps = [entry["step"] for entry in result.path]
    for group, last in result.alphas.items():
        ratios = [entry["alphas"][group] for entry in result.path]
        above.plot([*steps, len(steps)], [*ratios, last], label=f"{group}: {last:.3f}")
    above.axhline(alpha, color="#555555", linestyle=":", linewidth=1, label=f"mean: {alpha:g}")
    above.set(ylabel=r"ratio $\alpha_k$ (share of $\theta$)", ylim=(-0.02, 1.02))
    if len(result.alphas) <= 12:
        above.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    losses = [entry["loss"] for entry in result.path]
    below.plot(steps, losses, color="#bbbbbb", linewidth=0.8)
    below.plot(steps, running_mean(losses, max(1, len(losses) // _SMOOTHED)), color="#000000")
    below.set(xlabel="step", ylabel="loss (nats a token)")
    below.xaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    save_figure(figure, stem)


def running_mean(values: list[float], width: int) -> list[float]:
    """Mean of each value and the up to `width` - 1 before it."""
    return [sum(part) / len(part) for part in (values[max(0, i + 1 - width) : i + 1] for i in range(len(values)))]


def save_figure(figure, stem: Path) -> None:
    """stem + .png and stem + .pdf without dates, so that the same figure gives the same bytes."""
    for ending, how in (
        ("png", {"dpi": 160, "metadata": {"Software": None}}),
        ("pdf", {"metadata": {"CreationDate": None}}),
    ):
        with written(stem.with_name(f"{stem.name}.{ending}")) as aside:
            figure.savefig(aside, **how)
