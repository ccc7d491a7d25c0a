"""Every cell of every notebook, run on the committed results; and of those on the microcosm on made-up rows: with one seed, with
nothing but the core.

The figures are laid out but not written, and nothing may stick out of them. `make test-long` runs the notebooks in kernels.
"""

import re
import runpy
from functools import cache, partial
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import made_rows
import run
from committed import judged
from drawing import fronts, gains, panels, sentences, style, tiny_models
from drawing import rows as available
from figure_checks import fits, told_apart
from llm.config import load_preset, load_sweep, names, runnable
from llm.evaluation.front.settings import FrontSettings
from llm.evidence import paths
from llm.evidence.claims.book import make_book, read_book
from llm.evidence.claims.comparisons import NEIGHBOURS
from llm.evidence.claims.ledger import Entry, make_ledger
from llm.evidence.claims.line import Line
from llm.evidence.claims.table import CLAIMS
from llm.evidence.compare import Contest, Gain
from llm.evidence.frames import after, read_preset
from llm.evidence.intervals import t_interval
from llm.evidence.metrics import IN_TAXES
from llm.evidence.summary import summary
from rsf_rows import core, model, rows_of, write

NOTEBOOKS = Path(style.__file__).parents[1]
train, train_reward, make_items = tiny_models.train, tiny_models.train_reward, tiny_models.make_items
# Most notebooks begin with the rows of one preset, which take seconds to check: of a folder they are read once.
frames_of = cache(lambda folder, name, read=available.frames: read(name))
book_of = cache(lambda folder, read=available.with_book: read())
SLOW = ("mitigations", "algorithms")  # a quarter of a minute each
DRAWING = ("training", "averaging", "mitigations", "ratios", "inside_ama", "algorithms", "zephyr")
SWEEPS = (
    *"core learning-rates algorithms mitigations mitigation-rates mitigations-on-policy ratios ama-samples kl-penalty merging regmean merging-others gold-reward merging-gold".split(),
)
SAVE = re.compile(r'(?:style\.save|FOUND\.weigh)\(\w+, "([^"]+)"')
OF_CORE = {
    "training": {"fig01", "fig12", "fig12-training", "fig_tax"},
    "averaging": {
        "fig_fronts",
        "fig_front",
        "fig_front-narrow",
        "fig_advantage",
        "fig04-right",
        "fig04-all",
        "fig_parts",
    },
    "mitigations": set(),
    "ratios": {"fig05-left", "fig05-gain", "fig10", "fig11", "fig_recommended"},
    "inside_ama": {"fig_embeddings"},
    "algorithms": set(),
    "zephyr": set(),
}
OF_SWEEP = {  # (notebook, sweep) -> the figures that a sweep is needed for; where the committed rows lack it, they are not drawn
    ("training", "learning-rates"): {"fig_rates"},
    ("mitigations", "mitigations"): {"fig03", "fig03-gain", "fig03-gold", "fig07", "fig07-gain"},
    ("mitigations", "mitigation-rates"): {"fig_mitigation_rates", "fig_mitigation_leads"},
    ("mitigations", "mitigations-on-policy"): {"fig_on_policy", "fig_on_policy-gain"},
    ("mitigations", "kl-penalty"): {"fig08", "fig08-gain"},
}
MISSING = {
    "mitigations": ("mitigations", "mitigations-on-policy", "kl-penalty", "learning-rates", "mitigation-rates"),
    "ratios": ("ratios",),
    "inside_ama": ("ratios", "ama-samples"),
    "algorithms": ("algorithms", "merging-others", "gold-reward", "merging-gold"),
    "zephyr": ("algorithms",),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A function that gives the folder of made-up results of some seeds and sweeps, written once."""
    return cache(lambda seeds, sweeps: made_rows.write(tmp_path_factory.mktemp("results"), seeds, sweeps).parent)


@pytest.fixture
def drawn(monkeypatch, capsys, results, tmp_path_factory):
    """A function that runs a notebook, on made-up rows of seeds and sweeps where these are given, or on those of a preset in a
    folder: name -> figure, file -> text, and what was printed.
    """

    def run(notebook, *made, layout=False, preset=made_rows.PRESET.name, folder=None):
        folder = results(*made) if made else folder
        monkeypatch.setenv("RESULTS", str(folder or ""))
        monkeypatch.setenv("PRESET", preset)
        if not folder:  # each notebook's own
            monkeypatch.delenv("PRESET")
        monkeypatch.setattr(available, "frames", lambda name=None: dict(frames_of(style.results(name), name)))
        monkeypatch.setattr(available, "with_book", lambda: book_of(style.results()))
        if not folder:
            of_committed = partial(judged, folder=tmp_path_factory.getbasetemp())
            monkeypatch.setattr("llm.evidence.claims.ledger.ledger", lambda rows, _: of_committed(rows.name))
        figures, texts = {}, {}
        monkeypatch.setattr(
            style, "save", lambda fig, name: (figures.__setitem__(name, fig), layout and check(fig, name))
        )
        monkeypatch.setattr(
            IPython.display, "display", lambda *every: [print(getattr(one, "data", one)) for one in every]
        )
        monkeypatch.setattr(style, "write", lambda text, name: texts.__setitem__(name, text))
        runpy.run_path(str(NOTEBOOKS / f"{notebook}.py"))
        plt.close("all")
        return figures, texts, capsys.readouterr().out

    return run


def undrawn(notebook):
    """The figures whose sweeps the committed rows of the microcosm lack."""
    rows = NOTEBOOKS.parent / "results" / "microcosm"
    lacking = (
        of for (name, sweep), of in OF_SWEEP.items() if name == notebook and not any(rows.glob(f"{sweep}-seed*.jsonl"))
    )
    return set().union(*lacking)


def check(fig, name):
    """Within its bounds, as wide as one or two columns, legible, its colours apart."""
    fits(fig, name)
    told_apart(fig, name)


@pytest.mark.parametrize("notebook", run.names())
def test_every_notebook_runs_and_draws_its_figures_within_their_bounds_and_says_from_what(
    notebook, drawn, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)  # a notebook may go elsewhere
    monkeypatch.setattr(tiny_models, "train", lambda *a, **b: train(*a[:2], 30, *a[3:], **b))  # not 400 steps
    monkeypatch.setattr(tiny_models, "train_reward", lambda model, _, *rest: train_reward(model, 30, *rest))
    monkeypatch.setattr(tiny_models, "make_items", lambda folder: make_items(folder, 30, 40))  # not 120 and 150
    figures, texts, said = drawn(notebook, layout=True)
    assert set(figures) == set(SAVE.findall((NOTEBOOKS / f"{notebook}.py").read_text())) - undrawn(notebook)
    of_preset = re.compile(rf"(?<![-\w]){style.preset()}(?![-\w]).* \d+ seeds?\b", re.DOTALL)  # the notebook's own
    for name, fig in figures.items():
        assert all(ax.has_data() or not ax.axison for ax in fig.axes), name
        stamped = any(of_preset.search(text.get_text()) for text in fig.texts)
        assert stamped or notebook not in DRAWING, name
    assert ("nothing is drawn here" in said) == bool(undrawn(notebook))
    assert set(texts) == ({"table1"} if notebook == "zephyr" else set())
    assert all("The paper's values, copied" in text and re.search(r"\d seeds", text) for text in texts.values())


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in SLOW))
        for name in DRAWING
        if name not in ("training", "averaging")
    ],
)
def test_with_one_seed_the_same_figures_are_drawn_and_nothing_is_claimed(notebook, drawn):
    figures, _, said = drawn(notebook, (4,), SWEEPS)
    assert set(figures) == set(SAVE.findall((NOTEBOOKS / f"{notebook}.py").read_text()))
    assert all(any("1 seed" in text.get_text() for text in fig.texts) for fig in figures.values())
    assert "One seed gives no intervals, so nothing is decided yet." in said
    assert "nan" not in said


@pytest.mark.parametrize("notebook", MISSING)
def test_without_its_rows_a_cell_names_the_sweep_and_draws_nothing(notebook, drawn):
    figures, texts, said = drawn(notebook, (0, 1), ("core",))
    assert set(figures) == OF_CORE[notebook]
    assert not texts
    told = re.findall(r'Not measured yet, so nothing is drawn here: .*PRESET=microcosm SEEDS="0 1" TARGET="(.*)"', said)
    assert {sweep for targets in told for sweep in targets.split()} >= set(MISSING[notebook])
    assert {sweep for targets in told for sweep in targets.split()} <= set(names("sweeps"))


@pytest.fixture(scope="module")
def of_another(tmp_path_factory):
    """A folder of results of a preset with a public reward model, which has no gold reward beside it."""
    rows = [row | {"preset": "openllama-3b"} for seed in (0, 1) for row in made_rows.sweep_rows("core", seed)]
    folder = tmp_path_factory.mktemp("another")
    write(folder / "openllama-3b", [row for row in rows if row["metric"] not in ("gold_reward", "win_rate")])
    return folder


@pytest.mark.parametrize("notebook", ["training", "averaging", "ratios", "mitigations"])
def test_the_rows_of_another_preset_draw_what_they_have_data_for(notebook, drawn, of_another):
    figures, _, said = drawn(notebook, layout=True, preset="openllama-3b", folder=of_another)
    assert "Drawn from preset `openllama-3b`: RSF (2 seeds)" in said.replace("**", "")
    assert "**What was found** (openllama-3b, 2 seeds where a line names no others)" in said
    assert set(figures) >= OF_CORE[notebook] - {"fig05-gain"}
    assert not any("microcosm" in text.get_text() for fig in figures.values() for text in fig.texts)


@pytest.fixture(scope="module")
def of_a_pair(tmp_path_factory):
    """A folder of results with made-up rows of two models that others trained: DPO alone, one seed, no gold reward."""
    pair, folder = load_preset("zephyr-7b-beta"), tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(made_rows, "PRESET", pair)
        patched.setattr(made_rows, "load_sweep", lambda name: runnable(load_sweep(name), pair))
        rows = made_rows.sweep_rows("algorithms", 0) + made_rows.baseline(0)
    write(folder / pair.name, [row for row in rows if row["metric"] != "gold_reward"])
    return folder


OF_A_PAIR = {
    "training": {"fig01", "fig12", "fig12-training", "fig_tax"},
    "averaging": OF_CORE["averaging"],
    "zephyr": {"fig06", "fig06-gain"},
    "real_model": {"fig_real_tax", "fig_real_fronts", "fig_real_gaps", "fig_real_parts", "fig_real_ratios"},
}


@pytest.mark.parametrize("notebook", [name for name in run.names() if name not in run.OF_NO_PRESET])
def test_two_models_that_others_trained_are_drawn_from_rows_of_dpo_alone(notebook, of_a_pair, drawn):
    figures, _, said = drawn(notebook, preset="zephyr-7b-beta", folder=of_a_pair)
    assert set(figures) >= OF_A_PAIR.get(notebook, set())
    assert "nan" not in said
    if notebook in DRAWING:
        assert "Drawn from preset `zephyr-7b-beta`: DPO (1 seed)" in said.replace("**", "")


def test_two_models_that_others_trained_have_a_table_and_a_ledger(of_a_pair):
    table = summary(of_a_pair / "zephyr-7b-beta")
    assert table.startswith("zephyr-7b-beta, 1 seed; value +- standard error over items; DPO at ")
    assert "theta, 1 iteration " in table and "the rise of DPO's learned reward" in table and "nan" not in table
    asked = [claim for claim in CLAIMS if claim.name == "Seven billion parameters"]
    (entry,) = make_ledger(read_book(of_a_pair / "zephyr-7b-beta", NEIGHBOURS), asked).entries
    assert entry.weakest.estimate is not None


def test_a_preset_without_rows_is_told_the_command_that_makes_them(monkeypatch, tmp_path):
    monkeypatch.setenv("RESULTS", str(tmp_path))
    monkeypatch.setenv("PRESET", "openllama-3b")
    wanted = (
        r'preset = openllama-3b has no rows yet. To measure: make reproduce PRESET=openllama-3b SEEDS="0" TARGET="core"'
    )
    with pytest.raises(available.NoRows, match=re.escape(wanted)) as found:
        available.frames()
    assert found.value._render_traceback_() == [f"error: {found.value}"]


def test_only_seeds_that_have_everything_are_compared(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sentences, "show", print)
    rows = made_rows.write(tmp_path, (0, 1, 2), ("core",))
    made_rows.write(tmp_path, (1, 2), ("ratios",))
    made_rows.write(tmp_path, (2, 3), ("mitigations",))
    frames = {"rsf": after(read_preset(rows).query("seed < 3"), "rsf")}
    found = available.find(frames, {("rsf", "core"): ["ma"], ("rsf", "ratios"): ["ama-8", "pattern-rest-less"]})
    assert {name: paths.seeds(path) for name, path in found["rsf"].items()} == {
        "ma": [1, 2],
        "ama-8": [1, 2],
        "pattern-rest-less": [1, 2],
    }
    few = {"rsf": frames["rsf"][~((frames["rsf"]["family"] == "adamerging") & (frames["rsf"]["seed"] == 2))]}
    needs = {("rsf", "ratios"): ["adamerging"], ("rsf", "mitigations"): ["l1"]}
    assert available.find(few, needs) is None
    assert "No seed has the rows of all of `mitigations` and `ratios`" in capsys.readouterr().out
    assert available.find(few, {("rsf", "kl-penalty"): ["kl"]}) is None
    assert (
        'nothing is drawn here: `kl-penalty` (RSF: kl). To measure: make reproduce PRESET=microcosm SEEDS="0 1 2" TARGET="kl-penalty"'
        in capsys.readouterr().out
    )


def test_where_runs_end_at_different_iterations_their_last_models_stand_together():
    def path(**runs):
        rows = [
            {"step": step, "seed": int(seed[1:]), "metric": "qa", "value": value, "stderr": 0.1}
            for seed, values in runs.items()
            for step, value in enumerate(values)
        ]
        return panels.points(pd.DataFrame(rows), "qa")

    found = path(s0=[1.0, 0.8, 0.6, 0.5], s1=[1.0, 0.6, 0.2], s2=[0.7, 0.7, 0.7, 0.8])
    assert found.index.tolist() == [0, 1, 3]  # the second seed's last model, 2, stands at 3, and nothing at 2
    assert found["mean"].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found["seeds"].tolist() == [3, 3, 3]
    assert path(s0=[1.0, 0.8], s1=[0.0, 0.6])["mean"].tolist() == pytest.approx([0.5, 0.7])


def test_pale_marks_are_the_models_that_another_one_beats_in_both(tmp_path):
    style.use()
    extra = rows_of(0, "ma", {"alpha": 0.5}, model(0.3, 0.5))  # between .4 and .6 on the path, and beaten by .4
    rows = paths.load(write(tmp_path, core(0) + extra))
    fig, ax = plt.subplots()
    fronts.draw_front(ax, paths.path(rows, "ma"), "reward", "bleu", style.look("ma"))
    marks = {line.get_marker(): line.get_alpha() for line in ax.lines if line.get_marker() not in ("None", "", None)}
    assert {marker for marker, alpha in marks.items() if alpha} == {style.marker(0.5)}
    plt.close(fig)


@pytest.mark.parametrize(("family", "ratios"), [("ma", True), ("early-stopping", False)])
def test_a_model_without_a_ratio_has_no_mark_of_one(family, ratios, tmp_path):
    fig, ax = plt.subplots()
    fronts.draw_front(ax, paths.path(paths.load(write(tmp_path, core(0))), family), "reward", "bleu", style.look("ma"))
    marks = {line.get_marker() for line in ax.lines} - {"None", "", None}
    assert (marks == {style.NO_RATIO}) != ratios
    plt.close(fig)


def test_rings_names_and_lambdas_stand_in_the_figure(tmp_path):
    style.use()
    extra = [rows_of(0, "regmean", {"strength": strength}, model(1 / strength, 0.5)) for strength in (3.0, 10.0)]
    rows = after(read_preset(write(tmp_path, core(0) + sum(extra, []))), "rsf")
    found = {name: paths.path(rows, name) for name in ("ma", "regmean")}
    fewer = found | {"regmean": found["regmean"].query("strength != 10")}
    lines = [fronts.Line("reward", one, rows) for one in (found, fewer)]
    fig = fronts.figure(
        lines, "microcosm", ["bleu"], across=2, ringed="ring: here", names={"ma": "one ratio"}, note="a note"
    )
    assert {"ring: here", "one ratio"} <= {text.get_text() for text in fig.legends[0].get_texts()}
    (foot,) = (text.get_text() for text in fig.texts)
    assert foot.startswith("a note\nRegMean, from $\\theta_0$ to $\\theta$: $\\lambda$ = (10), 3 (in brackets:")
    assert "no ratio" in [text.get_text() for text in fig.legends[1].get_texts()]
    fits(fig, "rings")
    plt.close(fig)


def test_single_seeds_are_drawn_where_there_are_two_and_few_paths(tmp_path):
    def line(seeds, count):
        rows = pd.DataFrame({"seed": list(seeds)})
        return fronts.Line("reward", {str(place): rows for place in range(count)}, rows)

    assert line((0, 1), fronts.FEW).singles
    assert not line((0, 1), fronts.FEW + 1).singles
    assert not line((0, 1, 2), 1).singles


def contest(family, values, ability="qa", mark="", levels=(0.5, 0.9)):
    found = None if values is None else Gain(t_interval(values), levels)
    return Contest(family, "ma", mark, {("reward", ability): found})


def test_a_verdict_tells_sides_by_semicolons_and_seeds_and_of_two_the_size():
    found = [
        contest("ama-6", (0.1, 0.1, 0.11), mark=" after DPO"),
        contest("lines-alpha", (0.2, 0.2, 0.21), IN_TAXES),
        contest("er", (-0.1, 0.1, 0.0)),
        contest("l1", None),
    ]
    assert sentences.verdict(found, "Some") == (
        "Some (3 seeds). At equal learned reward: above MA: AMA, K = 6 after DPO (question answering); LiNeS (all abilities together). "
        "Not clear of 0: 1 of 4 differences. Too few rewards in common: 1 of 4."
    )
    assert sentences.verdict([contest("er", (-0.02, -0.0201), "reading_f1")], "Two") == (
        "Two (2 seeds). Intervals of two seeds may be narrow by luck. At equal learned reward: above MA: nothing. "
        "Below MA: ER (reading comprehension, -0.020 [-0.021, -0.019] F1)."
    )


def test_a_reward_that_nothing_is_compared_by_has_no_mark_in_the_legend_and_a_reason():
    style.use()
    gold = {("gold_reward", "qa"): Gain(t_interval((0.1, 0.1, 0.11)), (0.5, 0.9))}
    fig = gains.figure([Contest("er", "ma", "", {("reward", "qa"): None, **gold})], "microcosm")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["at equal gold reward"]
    assert [text.get_text() for text in fig.axes[-1].texts] == ["learned: too few"]
    assert "too few: the two have too few rewards in common" in " ".join(text.get_text() for text in fig.texts)
    plt.close(fig)


def test_a_row_that_cannot_be_compared_over_all_rewards_says_so():
    style.use()
    found = [contest("er", (0.1, 0.1, 0.11), levels=None), contest("l1", None)]
    fig = gains.figure(found, "microcosm")
    assert [[text.get_text() for text in ax.texts] for ax in fig.axes] == [["learned: too few"]]
    assert "too few rewards in common" in " ".join(text.get_text() for text in fig.texts)
    plt.close(fig)


def test_the_legend_tells_of_pale_marks_where_there_are_some_and_of_marks_without_ratios(tmp_path):
    style.use()
    extra = rows_of(0, "ma", {"alpha": 0.5}, model(0.3, 0.5))  # beaten by .4
    rows = after(read_preset(write(tmp_path, core(0) + extra)), "rsf")

    def told(family, kept=None):
        path = paths.path(rows, family)
        fig = fronts.figure(
            [fronts.Line("reward", {family: path if kept is None else path[kept(path)]}, rows)], "microcosm", ["bleu"]
        )
        plt.close(fig)
        return {text.get_text() for text in fig.legends[0].get_texts()}

    assert "pale: beaten in both" in told("ma")
    assert "pale: beaten in both" not in told("ma", lambda path: path["step"] != 0.5)
    assert "an iteration" in told("early-stopping") and "an iteration" not in told("ma")


def test_a_claim_is_judged_by_the_parts_that_decide(tmp_path):
    book = make_book(read_preset(write(tmp_path, sum(map(core, (0, 1, 2)), []))))
    said = sentences.judged(book, "C8b")
    assert said.startswith("C8b (One ratio, 0.2, as a share of theta_0): ")
    assert "MA: at least 95% of the reward's rise kept, by learned reward: " in said and ", 3 seeds (" in said
    assert sentences.judged(book, "C12c") == ""


def test_where_nothing_can_be_compared_verdict_and_figure_say_so_and_count_no_seeds():
    style.use()
    assert sentences.verdict([contest("er", None)], "Replay") == "Replay: too few rewards in common to be compared."
    fig = gains.figure([contest("er", None)], "microcosm")
    told = " ".join(text.get_text() for text in fig.texts)
    assert "too few rewards in common" in told and "compared on 0 seeds" in told and "items" not in told
    assert [text.get_text() for text in fig.axes[-1].texts] == ["learned: too few"]
    plt.close(fig)


def test_tiny_models_are_tested_on_other_prompts_than_they_are_tuned_on(tmp_path):
    tiny_models.make_items(tmp_path)
    tested, tuned = ({*(tmp_path / f"{name}.jsonl").open()} for name in ("prompts", "train-prompts"))
    assert tested and tuned and not tested & tuned


def test_tiny_models_have_room_for_replies_as_long_as_the_commands_take_them():
    longest = max(
        len(make(np.random.default_rng(0))[0].split()) for make in (tiny_models.translation, tiny_models.colour)
    )
    asked = longest + len(["<s>", "<user>", "<bot>", "</s>"])
    assert tiny_models.SIZES["max_position_embeddings"] >= asked + FrontSettings(tasks=()).tokens


@pytest.mark.parametrize(
    ("range_", "said", "limits"),
    [
        ((0.3, 0.9), "chance", (0.3, 0.9)),
        ((0.5, 0.9), "chance", (0.4 - 0.04 * 0.4, 0.9)),
        ((0.8, 0.9), "chance 0.40, below", (0.8, 0.9)),
        ((0.0, 0.1), "chance 0.40, above", (0.0, 0.1)),
        ((0.0, 0.3), "chance", (0.0, 0.4 + 0.04 * 0.3)),
    ],
)
def test_the_floor_is_a_line_where_it_is_near_and_a_text_where_it_is_far(range_, said, limits, tmp_path):
    rows = paths.load(write(tmp_path, core(0)))  # chance is .4 in reading comprehension
    fig, ax = plt.subplots()
    ax.set_ylim(*range_)
    panels.floor(ax, rows, "reading_f1")
    (text,) = ax.texts
    assert text.get_text() == said
    beside = text.get_window_extent().x0 > ax.get_window_extent().x1  # not on the data
    assert beside == (said != "chance") and text.get_bbox_patch() is None
    assert ax.get_ylim() == pytest.approx(limits)
    assert len(ax.lines) == (said == "chance")
    plt.close(fig)


@pytest.mark.parametrize(("seeds", "wide"), [((1.0, 2.0), False), ((1.0, 2.0, 1.5), True)])
def test_an_interval_of_two_seeds_does_not_stretch_its_panel(seeds, wide):
    found = t_interval(seeds)
    fig, (upright, lying) = plt.subplots(1, 2)
    panels.interval_mark(upright, 0.0, found, "k", "_")
    gains.draw(lying, 0.0, Gain(found), "k", True)
    for low, high in (upright.get_ylim(), lying.get_xlim()):
        assert (low < found.low and high > found.high) == wide
        assert low < min(seeds) < max(seeds) < high
    for ax, axis in ((upright, 1), (lying, 0)):  # the bar is there, if only a part of it is in the panel
        drawn = [line.get_xydata() for line in ax.lines] + [s for c in ax.collections for s in c.get_segments()]
        assert any(np.allclose(points[:, axis], [found.low, found.high]) for points in drawn if len(points) == 2)
    assert panels.half_widths([found]) == pytest.approx([found.high - found.mean if wide else 0.0])
    plt.close(fig)


def test_parts_of_a_claim_that_need_the_same_share_a_line():
    lines = [Line(name, missing="sweep ratios", deciding=name != "c") for name in "abc"]
    lines.insert(1, Line("d", "qa", estimate=0.1))
    table = sentences.parts(Entry(CLAIMS[0], "microcosm", tuple(lines))).splitlines()[2:]
    assert [line.split(" | ")[:4] for line in table] == [
        ["| \\*", "d", "", "+0.100 accuracy"],
        ["| \\*", "2 parts", "not measured", "needs sweep ratios"],
        ["| ", "1 part", "not measured", "needs sweep ratios"],
    ]


@pytest.mark.parametrize(
    ("metric", "across", "title"),
    [
        ("qa", panels.NARROW, "question\nanswering\n(accuracy)"),
        ("qa", panels.NARROW - 1, "question answering\n(accuracy)"),
        (IN_TAXES, panels.NARROW, "abilities\n(of the tax)"),
        ("reward", panels.NARROW, "learned\nreward"),
    ],
)
def test_titles_of_narrow_panels_break_between_words(metric, across, title):
    assert panels.title(metric, across) == title
