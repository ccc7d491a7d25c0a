"""What `front` shows: a picture and one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence

from ...methods import METHODS, family, looks
from .measure import Point
from .recommend import Change, Recommendation

_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
img{max-width:100%}tr.best{background:#fff3d6}
pre{background:#f4f4f4;padding:.7rem;overflow:auto}.small{color:#555;font-size:13px}
</style>
<h1>{{ title }}</h1>
<p>{{ advice }}</p>
{% if command %}<p>Make that model:</p><pre>{{ command }}</pre>{% endif %}
<img alt="{{ alignment }} against each ability" src="data:image/png;base64,{{ picture }}">
<h2>Values</h2>
<table><tr><th>model</th>{% for name, kind in kinds.items() %}<th>{{ name }}<br><small>{{ kind }}</small></th>{% endfor %}</tr>
{% for best, label, values in models %}
<tr{% if best %} class="best"{% endif %}><td>{{ label }}</td>{% for value, error in values %}<td>{{ value }}{% if error %} &plusmn; {{ error }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}
</table>
<p class="small">Value and standard error over items. alpha is the share of theta.</p>
<h2>Choice</h2>
<table><tr><th>alpha</th><th>significant loss</th><th>chosen on resampled items</th></tr>
{% for point in path %}
<tr><td>{{ "%g" | format(point.alpha) }}</td><td>{{ "no" if point.alpha in found.allowed else "yes" }}</td>
<td>{{ "%.0f%%" | format(100 * found.chosen.get(point.alpha, 0.0)) }}</td></tr>
{% endfor %}
</table>
<h2>Run</h2>
<table>{% for key, value in facts.items() %}<tr><td>{{ key }}</td><td>{{ value }}</td></tr>{% endfor %}</table>
</html>
"""


def draw_front(points: Sequence[Point], alignment: str, found: Recommendation, note: str):
    """A matplotlib figure: `alignment` against each ability, with standard errors over items and the ends marked."""
    from matplotlib.figure import Figure

    abilities = [name for name in points[0].scores if name != alignment]
    columns = min(3, len(abilities))
    rows = -(-len(abilities) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, ability in zip(panels, abilities, strict=False):
        _panel(panel, points, alignment, ability, found.alpha)
    for panel in panels[len(abilities) :]:
        panel.set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.supxlabel(note, fontsize=7, color="#555555", parse_math=False)  # names may have a $
    return figure


def _panel(panel, points: Sequence[Point], alignment: str, ability: str, best: float) -> None:
    ends, path = points[:2], points[2:]
    x, y, dx, dy = _coordinates(path, alignment, ability)
    method = path[0].method
    look = looks().get(family(method, path[0].setting)) or next(iter(METHODS[method].looks.values()))
    label = look.short if method != "part" else f"{path[0].setting['part']} part only"
    panel.errorbar(x, y, xerr=dx, yerr=dy, color=look.colour, marker="o", markersize=3.5, elinewidth=0.6, label=label)
    for point, across, up in zip(path, x, y, strict=True):
        panel.annotate(f"{point.alpha:g}", (across, up), textcoords="offset points", xytext=(4, 4), fontsize=7)
    for point, colour, marker in zip(ends, ("#000000", "#7a0019"), ("s", "D"), strict=True):
        x, y, dx, dy = _coordinates([point], alignment, ability)
        label = r"$\theta_0$ (before RLHF)" if point.label == "theta_0" else r"$\theta$ (after RLHF)"
        panel.errorbar(x, y, xerr=dx, yerr=dy, color=colour, marker=marker, linestyle="none", label=label, zorder=3)
    for point in (point for point in path if point.alpha == best):
        x, y, _, _ = _coordinates([point], alignment, ability)
        panel.plot(
            x,
            y,
            marker="o",
            markersize=13,
            markerfacecolor="none",
            color="#e69f00",
            linestyle="none",
            label=f"recommended: {best:g}",
        )
    panel.set_xlabel(alignment, parse_math=False)
    panel.set_ylabel(ability, parse_math=False)
    panel.margins(0.09)
    panel.grid(alpha=0.3)


def _coordinates(points: Sequence[Point], *tasks: str) -> list[list[float]]:
    """The values of two tasks at each point, then their standard errors."""
    values = [[point.scores[task].value for point in points] for task in tasks]
    return values + [[point.scores[task].stderr or 0.0 for point in points] for task in tasks]


def sentence(found: Recommendation, alignment: str) -> str:
    """The recommendation in words."""
    sure = f"{found.confidence:.0%}"
    if found.alpha == 1:
        return (
            f"No ratio gains ability without a significant loss of {alignment} (paired bootstrap over items, "
            f"{sure} confidence): keep theta."
        )
    gains = "; ".join(f"{name} {_change(change)}" for name, change in found.abilities.items())
    return (
        f"Take alpha = {found.alpha:g}: the largest gain in ability at no significant loss of {alignment} "
        f"({alignment} {_change(found.alignment)} against theta; {gains}; {sure} intervals of a paired "
        f"bootstrap over items). On resampled items the same choice fell in {found.chosen[found.alpha]:.0%} of "
        f"the cases, and on items that were left out what was chosen changed ability by "
        f"{_change(found.expected)} of its scale."
    )


def report(
    points: Sequence[Point],
    kinds: Mapping[str, str],
    alignment: str,
    found: Recommendation,
    figure,
    *,
    title: str,
    facts: Mapping[str, str],
    command: str | None,
) -> str:
    """The HTML report. kinds: task -> what its numbers are. facts: what was run. command: how to make the model."""
    from jinja2 import Environment

    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130, metadata={"Software": None})
    ends, path = points[:2], points[2:]
    models = [(False, point.label, _values(point, kinds)) for point in ends]
    for point in path:
        label = f"{point.method}, alpha {point.alpha:g}{_groups(point)}"
        models.append((point.alpha == found.alpha, label, _values(point, kinds)))
    return (
        Environment(autoescape=True, trim_blocks=True, keep_trailing_newline=True)
        .from_string(_PAGE)
        .render(
            title=title,
            advice=sentence(found, alignment),
            command=command,
            alignment=alignment,
            picture=base64.b64encode(image.getvalue()).decode(),
            kinds=kinds,
            models=models,
            path=path,
            found=found,
            facts=facts,
        )
    )


def _values(point: Point, kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each task's (value, standard error or "")."""
    scores = [point.scores[name] for name in kinds]
    return [(f"{one.value:.4g}", "" if one.stderr is None else f"{one.stderr:.2g}") for one in scores]


def _groups(point: Point) -> str:
    groups = point.setting.get("alphas")
    return f" ({', '.join(f'{group} {ratio:.3f}' for group, ratio in groups.items())})" if groups else ""


def _change(change: Change) -> str:
    return f"{change.value:+.4g} [{change.low:+.4g}, {change.high:+.4g}]"
