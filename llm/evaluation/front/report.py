"""What `front` shows: a picture and one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence

from ...methods import METHODS, family, looks
from .points import Point
from .recommend import Recommendation

STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
img{max-width:100%}tr.best{background:#fff3d6}
pre{background:#f4f4f4;padding:.7rem;overflow:auto}.small{color:#555;font-size:13px}"""
_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
{{ style }}
</style>
<h1>{{ title }}</h1>
{% for verdict in found.verdicts %}<p>{{ verdict }}</p>
{% endfor %}<p><b>{{ advice }}</b></p>
{% for warning in found.warnings %}<p>Warning: {{ warning }}</p>
{% endfor %}
{% if command %}<p>Make that model:</p><pre>{{ command }}</pre>{% endif %}
<img alt="{{ alignment }} against each ability" src="data:image/png;base64,{{ picture }}">
<h2>Values</h2>
<table><tr><th>model</th>{% for name, kind in kinds.items() %}<th>{{ name }}<br><small>{{ kind }}</small></th>{% endfor %}</tr>
{% for best, label, values in models %}
<tr{% if best %} class="best"{% endif %}><td>{{ label }}</td>{% for value, error in values %}<td>{{ value }}{% if error %} &plusmn; {{ error }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}
</table>
<p class="small">Value and standard error over items. alpha is the share of theta, lambda how much theta_0 counts.</p>
<h2>Choice</h2>
<table><tr><th>model</th><th>share of the rise kept</th><th>interval</th><th>keeps enough</th><th>gain in ability</th>
<th>chosen on resampled items</th><th>effective alpha if saved</th><th>weights changed if saved</th></tr>
{% for one, saved in candidates %}
<tr{% if one == found.best %} class="best"{% endif %}><td>{{ one.method }}, {{ ratios[one.method, one.alpha] }}</td>
<td>{% if one.kept is not none %}{{ "%.3f" | format(one.kept) }}{% endif %}</td>
<td>{% if one.low is not none %}{{ "%.3f" | format(one.low) }} to {{ "%.3f" | format(one.high) }}{% endif %}</td>
<td>{{ "yes" if one.allowed else "no" }}</td><td>{{ "%+.4f" | format(one.gain) }}</td><td>{{ "%.0f%%" | format(100 * one.chosen) }}</td>
<td>{% if saved.alpha is not none %}{{ "%.3f" | format(saved.alpha) }}{% endif %}</td>
<td>{% if saved.changed is not none %}{{ "%.1f" | format(100 * saved.changed) }} %{% endif %}</td></tr>
{% endfor %}
</table>
<p class="small">The rise is theta's {{ alignment }} less theta_0's, {{ found.rise }}. A model keeps enough where the lower end of its interval
(Fieller's, {{ "%.4g" | format(100 * found.each) }} %{% if found.by_method %}: what leaves {{ "%g" | format(100 * found.confidence) }} % for
all {{ found.by_method | length }} methods together{% endif %}) is at least {{ "%g" | format(found.keep) }}, and so for every ratio of its
method that is nearer to theta{% if not found.sure and found.best %}; here none does, and the estimate decided{% endif %}. Beyond theta a
share may be above 1. Gain: mean change of the abilities against theta, as a share of their scales. What is measured is the average in the precision of the run; the last columns
say what rounding it to the type that it would be saved in does.</p>
{% if found.by_method %}
<h2>Methods</h2>
<table><tr><th>method</th><th>its model</th><th>share of the rise kept</th><th>gain in ability</th><th>largest gain less this</th></tr>
{% for name, one in found.by_method.items() %}
<tr><td>{{ name }}</td><td>{{ ratios[name, one.alpha] }}</td>
<td>{% if one.kept is not none %}{{ "%.3f" | format(one.kept) }}{% endif %}</td>
<td>{{ "%+.4f" | format(one.gain) }}</td><td>{{ one.most_less_this }}</td></tr>
{% endfor %}
</table>
<p class="small">Each method at its model farthest from theta up to which the estimates are at least {{ "%g" | format(found.keep) }} of the
rise, else at the nearest. Differences are on the same items, drawn together for all models, and their intervals share the
confidence between all pairs of methods (Bonferroni), since the largest gain is chosen on these items; that the models were chosen by what
they keep on them is not in the intervals.</p>
{% endif %}
<h2>Run</h2>
<table>{% for key, value in facts.items() %}<tr><td>{{ key }}</td><td>{{ value }}</td></tr>{% endfor %}</table>
</html>
"""


def draw_front(points: Sequence[Point], alignment: str, found: Recommendation, note: str):
    """A matplotlib figure: `alignment` against each ability, with standard errors over items and the ends marked."""
    from matplotlib.figure import Figure

    abilities = [name for name in points[0].scores if name != alignment and "/" not in name]
    columns = min(3, len(abilities))
    rows = -(-len(abilities) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, ability in zip(panels, abilities, strict=False):
        _panel(panel, points, alignment, ability, recommended(points, found))
    for panel in panels[len(abilities) :]:
        panel.set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.supxlabel(note, fontsize=7, color="#555555", parse_math=False)  # names may have a $
    return figure


def _panel(panel, points: Sequence[Point], alignment: str, ability: str, best: Point | None) -> None:
    ends = points[:2]
    for curve in dict.fromkeys(point.curve for point in points[2:]):
        path = [point for point in points[2:] if point.curve == curve]
        method = path[0].method
        x, y, dx, dy = _coordinates(path, alignment, ability)
        look = looks().get(family(method, path[0].setting)) or next(iter(METHODS[method].looks.values()))
        label = look.short if method != "part" else f"{path[0].setting['part']} part only"
        how = {"color": look.colour, "marker": "o", "markersize": 3.5, "elinewidth": 0.6, "label": label}
        panel.errorbar(x, y, xerr=dx, yerr=dy, **how)
        for point, across, up in zip(path, x, y, strict=True):
            panel.annotate(_short(point), (across, up), textcoords="offset points", xytext=(4, 4), fontsize=7)
    for point, colour, marker in zip(ends, ("#000000", "#7a0019"), ("s", "D"), strict=True):
        x, y, dx, dy = _coordinates([point], alignment, ability)
        label = r"$\theta_0$ (before RLHF)" if point.label == "theta_0" else r"$\theta$ (after RLHF)"
        panel.errorbar(x, y, xerr=dx, yerr=dy, color=colour, marker=marker, linestyle="none", label=label, zorder=3)
    if best is not None:
        x, y, _, _ = _coordinates([best], alignment, ability)
        ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "color": "#e69f00", "linestyle": "none"}
        panel.plot(x, y, **ring, label=f"recommended: {_short(best)}")
    panel.set_xlabel(alignment, parse_math=False)
    panel.set_ylabel(ability, parse_math=False)
    panel.margins(0.09)
    panel.grid(alpha=0.3)


def _short(point: Point) -> str:
    name, value = point.ratio
    return rf"$\lambda$ {value:g}" if name == "lambda" else f"{value:g}"


def _coordinates(points: Sequence[Point], *tasks: str) -> list[list[float]]:
    """The values of two tasks at each point, then their standard errors."""
    values = [[point.scores[task].value for point in points] for task in tasks]
    return values + [[point.scores[task].stderr or 0.0 for point in points] for task in tasks]


def recommended(points: Sequence[Point], found: Recommendation) -> Point | None:
    """The model that is recommended, None where it is one of the ends."""
    return next((point for point in points[2:] if point.key == (found.method, found.alpha)), None)


def sentence(found: Recommendation, alignment: str, points: Sequence[Point]) -> str:
    """The recommendation in words."""
    sure, best, point = f"{found.confidence:.0%}", found.best, recommended(points, found)
    if found.alpha is None:
        return f"There is no measurable rise of {alignment} to keep ({found.rise}), so no ratio is recommended."
    if best is None or point is None:
        surely, advice = ("", "keep theta") if found.sure else ("surely ", "keep theta until more is known")
        return (
            f"No model that was tried gains ability and {surely}keeps {found.keep:.0%} of the rise of {alignment} (interval over items, "
            f"{sure} confidence): {advice}." + "".join(f" {warning}" for warning in found.warnings)
        )
    gains = "; ".join(f"{name} {change}" for name, change in found.abilities.items())
    kept = f"{best.kept:.1%} of the rise of {alignment} is kept"
    span = f" [{best.low:.1%}, {best.high:.1%}]" if best.low is not None and best.high is not None else ""
    shared = f", of the share kept {100 * found.each:.4g}%" if found.each > found.confidence else ""
    how, (name, value) = "" if best.method == "ma" else f" with {best.method}", point.ratio
    return (
        f"Take {name} = {value:g}{how}: the largest gain in ability of the models that keep {found.keep:.0%} of the rise "
        f"of {alignment} ({kept}{span}; {gains} against theta; {sure} intervals over items{shared}). On resampled items the "
        f"same choice fell in {best.chosen:.0%} of the cases, and on items that were left out what was chosen changed ability by "
        f"{found.expected} of its scale." + "".join(f" {warning}" for warning in found.warnings)
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
    ratios = {point.key: "{} {:g}".format(*point.ratio) for point in path}
    for point in path:
        label = f"{point.curve}, {ratios[point.key]}{_groups(point)}"
        models.append((point is recommended(points, found), label, _values(point, kinds)))
    saved = {point.key: point.saved for point in path}
    return (
        Environment(autoescape=True, trim_blocks=True, keep_trailing_newline=True)
        .from_string(_PAGE)
        .render(
            title=title,
            advice=sentence(found, alignment, points),
            command=command,
            alignment=alignment,
            picture=base64.b64encode(image.getvalue()).decode(),
            kinds=kinds,
            models=models,
            ratios=ratios,
            style=STYLE,
            candidates=[(one, saved[one.method, one.alpha]) for one in found.candidates],
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
