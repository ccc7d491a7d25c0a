"""The page that `tax` writes: one HTML file that needs nothing else."""

from ...averaging.displacement import labels_of
from ...averaging.precision import Effect
from ..front.report import STYLE

_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
{{ style }}
.worse{color:#a40000}.better{color:#00662b}
.bar{background:#7a0019;height:.7rem;display:inline-block}
</style>
<h1>{{ title }}</h1>
{% for verdict in found.verdicts %}
<p><b>{{ verdict }}</b></p>
{% endfor %}
<p class="small">theta_0 (before RLHF): {{ found.theta_0 }}; theta (after RLHF): {{ found.theta }}. A change is theta's value less
theta_0's on the same items, with its {{ "%g" | format(100 * found.settings.confidence) }} % interval: Student's t over items, for BLEU and
the calibration error a percentile bootstrap over items. Said to pay a tax are abilities whose change lies below 0 at a confidence shared
between them (Bonferroni), which those of single tables are not.</p>
{% for task in found.tasks %}
<h2>{{ task.name }}</h2>
<table><tr><th>metric</th><th>theta_0</th><th>theta</th><th>change</th><th>interval</th><th>items</th></tr>
{% for name, one in task.metrics.items() %}
<tr><td>{{ name }}{% if one.better == "lower" %} <small>(lower is better)</small>{% endif %}</td>
<td>{{ "%.4g" | format(one.theta_0.value) }}</td><td>{{ "%.4g" | format(one.theta.value) }}</td>
<td class="{{ look(one) }}">{{ "%+.4g" | format(one.change) }}</td>
<td>{% if one.low is not none %}{{ "%+.4g" | format(one.low) }} to {{ "%+.4g" | format(one.high) }}{% endif %}</td><td>{{ one.n }}</td></tr>
{% endfor %}
</table>
{% if task.lost or task.gained %}
<p>By {{ task.kind }} {{ task.lost | length }} items got worse and {{ task.gained | length }} better.</p>
{% endif %}
{% if task.lost_prompts %}
<details><summary>Items that got worse{% if task.lost | length > task.lost_prompts | length %}, the first {{ task.lost_prompts | length }} of {{ task.lost | length }}{% endif %}</summary><ul>
{% for prompt in task.lost_prompts %}
<li>{{ prompt }}</li>
{% endfor %}
</ul></details>
{% endif %}
{% endfor %}
{% if found.divergence %}
<h2>Next tokens</h2>
<table><tr><th>divergence on the prompts' tokens</th><th>nats a token &plusmn; standard error</th></tr>
{% for name, one in found.divergence.items() %}
<tr><td>{{ name }}</td><td>{{ "%.4g" | format(one.value) }}{% if one.stderr is not none %} &plusmn; {{ "%.2g" | format(one.stderr) }}{% endif %}</td></tr>
{% endfor %}
</table>
{% endif %}
<h2>What moved</h2>
<p>{{ "%.2f" | format(100 * moved.changed) }} % of {{ "{:,}".format(moved.weights) }} weights differ. Theirs, the size of the update in
units of the last place of {{ moved.dtype }}:</p>
<table><tr>{% for label in bins %}<th>{{ label }}</th>{% endfor %}</tr>
<tr>{% for share in moved.steps %}<td>{{ "%.1f" | format(100 * share) }} %</td>{% endfor %}</tr></table>
<table><tr><th>averaged at alpha, saved in {{ moved.dtype }}</th><th>effective alpha</th><th>weights changed</th></tr>
{% for alpha, one in moved.saved.items() %}
<tr><td>{{ alpha }}</td><td>{% if one.alpha is not none %}{{ "%.3f" | format(one.alpha) }}{% endif %}</td>
<td>{% if one.changed is not none %}{{ "%.1f" | format(100 * one.changed) }} %{% endif %}</td></tr>
{% endfor %}
</table>
{% for warning in warnings %}
<p class="worse">{{ warning }}</p>
{% endfor %}
<table><tr><th>group</th><th>relative displacement</th><th></th><th>share of the squared displacement</th></tr>
{% for group, one in moved.groups.items() %}
<tr><td>{{ group }}</td><td>{{ "%.3g" | format(one.relative) }}</td>
<td style="text-align:left"><span class="bar" style="width:{{ "%.1f" | format(120 * one.relative / largest) }}px"></span></td>
<td>{{ "%.1f" | format(100 * one.share) }} %</td></tr>
{% endfor %}
</table>
{% if found.notes %}
<h2>Notes</h2><ul>{% for note in found.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
<p class="small">alignment-tax {{ found.version }}, seed {{ found.settings.seed }}. All numbers, and the items by number, are in tax.json.</p>
</html>
"""


def page(found: dict) -> str:
    """HTML of what tax.json holds."""
    from jinja2 import Environment

    moved = found["moved"]
    warnings = [Effect.of(one).warning(moved["dtype"]) for one in moved["saved"].values()]
    return (
        Environment(autoescape=True, trim_blocks=True, keep_trailing_newline=True)
        .from_string(_PAGE)
        .render(
            title=f"The alignment tax of {found['theta']}",
            style=STYLE,
            found=found,
            moved=moved,
            bins=labels_of(),
            warnings=[warning for warning in warnings if warning],
            largest=max([one["relative"] for one in moved["groups"].values()] + [1e-300]),
            look=_look,
        )
    )


def _look(one: dict) -> str:
    """Whether the whole interval lies on one side of 0, and on which."""
    if one["better"] == "neither" or one["low"] is None or one["low"] <= 0 <= one["high"]:
        return ""
    return "better" if (one["low"] > 0) == (one["better"] == "higher") else "worse"
