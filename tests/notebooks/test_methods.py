"""The notebook `methods`: drawn from whatever rows there are, and what its panels say."""

import runpy
from dataclasses import replace
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pytest

import made_rows
from drawing import plane, sentences, style
from figure_checks import fits, told_apart
from llm.evidence.intervals import Interval
from llm.evidence.reference import GRID, Association, Front, Leader, Line
from llm.evidence.rows import write_rows
from llm.methods import METHODS
from rsf_rows import core

NOTEBOOK = Path(style.__file__).parents[1] / "methods.py"
NEW = ("merging", "regmean", "training-time", "mitigations-on-policy")
FURTHER = {"forward_kl": lambda reward: 0.1 * reward**2, "weight_displacement": lambda reward: 0.02 * reward}


def write(folder, seeds, sweeps, further=False):
    """Made-up results; `further`: with rows of what the tax is held against."""
    for name in sweeps:
        for seed in seeds:
            rows = made_rows.sweep_rows(name, seed)
            of_models = [row for row in rows if row["metric"] == "reward"] if further else []
            more = [
                row | {"metric": key, "value": make(row["value"])} for row in of_models for key, make in FURTHER.items()
            ]
            write_rows(folder / made_rows.PRESET.name / f"{name}-seed{seed}.jsonl", rows + more)
    return folder


@pytest.fixture
def drawn(monkeypatch, capsys, tmp_path):
    """A function that runs the notebook on made-up results: name -> figure, and what was printed."""

    def run(*made):
        monkeypatch.setenv("RESULTS", str(write(tmp_path, *made)))
        monkeypatch.setenv("PRESET", made_rows.PRESET.name)
        figures = {}
        monkeypatch.setattr(style, "save", lambda fig, name: figures.__setitem__(name, fig))
        monkeypatch.setattr(IPython.display, "display", lambda *every: [print(one.data) for one in every])
        runpy.run_path(str(NOTEBOOK))
        return figures, capsys.readouterr().out

    yield run
    plt.close("all")


def bars(ax):
    """The upright lines."""
    return [line for line in ax.lines if len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) == 0]


def test_all_sweeps_give_a_panel_a_group_and_nothing_sticks_out_or_is_too_small(drawn):
    figures, said = drawn((0, 1, 2), ("core", "mitigations", *NEW), True)
    assert set(figures) == {"fig_methods", "fig_methods_groups", "fig_methods_why"}
    titles = [ax.get_title() for ax in figures["fig_methods_groups"].axes if ax.axison]
    assert sorted(titles) == sorted(plane.GROUPS.values())
    for name, fig in figures.items():
        fits(fig, name)
        told_apart(fig, name)
        assert any("3 seeds" in text.get_text() for text in fig.texts), name
    (ax,) = figures["fig_methods"].axes
    fronts = len(ax.get_legend_handles_labels()[0]) - 1  # beside the corner without a tax
    assert fronts > 2 and len(bars(ax)) == fronts  # no seed is spent on the choice
    for words in ("RegMean", "DeRa", "2 models", "WARP", "all models"):
        assert words in said
    assert "nan" not in said


def test_a_leader_with_too_few_seeds_is_left_out_where_some_have_enough():
    many, few = (
        Leader(Front(name, name, seeds, np.zeros((len(seeds), len(GRID))), np.ones(len(seeds))), {name: len(seeds)})
        for name, seeds in (("regmean", (0, 1, 2)), ("dera", (0, 1)))
    )
    assert plane.settled({"a": many, "b": few}) == [many]
    assert plane.settled({"a": few, "b": few}) == [few, few]
    assert plane.names(replace(few, taken={"dera": 1, "slerp": 1})) == "DeRa (1 seed), SLERP (1 seed)"
    assert [plane.mostly(one) for one in (many, replace(few, taken={"dera": 1, "slerp": 1}))] == [
        "RegMean (3 seeds)",
        "DeRa (1 of 2 seeds)",
    ]


def test_with_the_core_of_one_seed_fronts_are_drawn_without_bars_and_the_rest_is_named(drawn):
    figures, said = drawn((4,), ("core",))
    assert set(figures) == {"fig_methods", "fig_methods_groups"}
    (ax,) = figures["fig_methods"].axes
    assert not bars(ax)
    assert "1 seed" in " ".join(text.get_text() for text in figures["fig_methods"].texts)
    for sweep in NEW:
        assert f"`{sweep}` (" in said
    assert 'TARGET="' in said
    assert "Not measured yet: forward KL from theta_0 and weight displacement of each model" in said
    assert "nan" not in said


def test_where_no_tax_is_paid_nothing_is_drawn_and_a_sentence_says_so(monkeypatch, capsys, tmp_path):
    write_rows(tmp_path / made_rows.PRESET.name / "rows.jsonl", core(0, cost=0.0))
    monkeypatch.setenv("RESULTS", str(tmp_path))
    monkeypatch.setenv("PRESET", made_rows.PRESET.name)
    monkeypatch.setattr(style, "save", lambda fig, name: pytest.fail(f"{name} was drawn"))
    monkeypatch.setattr(sentences, "show", print)
    runpy.run_path(str(NOTEBOOK))
    said = capsys.readouterr().out
    assert "microcosm, RSF: no ability that has a highest value" in said
    assert "or no reward is gained, so nothing is drawn here." in said


def test_families_without_a_line_are_named_and_not_in_the_legend():
    def front(family, share, least=0.0):
        tax = np.where(least <= GRID, share * GRID, np.nan)
        return Front(family, METHODS[family].name, (0, 1), np.stack([tax, tax]), np.ones(2))

    found = {
        "ma": front("ma", 0.8),
        "slerp": front("slerp", 0.5),
        "dera": front("dera", 30.0),
        "regmean": front("regmean", 1, 2.0),
    }
    assert plane.seen(found) == ["ma", "slerp"]
    said = plane.unseen(found)
    assert "DeRa; RegMean." in said and "SLERP" not in said
    fig = plane.groups(found, "microcosm")
    legends = [text.get_text() for ax in fig.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert legends == ["SLERP"] and [text.get_text() for text in fig.legends[0].get_texts()] == ["MA"]
    assert plane.cheaper(found).startswith(
        "At 90% of the rise 1 of 2 families pay a smaller share of theta's tax than MA, 0.72"
    )
    plt.close(fig)


def test_families_of_the_same_models_are_named_and_the_figure_says_that_one_hides_the_other():
    def front(family, share):
        return Front(family, METHODS[family].name, (0,), share * GRID[None], np.ones(1))

    found = {"ma": front("ma", 0.8), "slerp": front("slerp", 0.5), "dera": front("dera", 0.5)}
    assert plane.twins(found) == ["SLERP and DeRa (1 seed)"]
    fig = plane.groups(found, "microcosm")
    assert "one line hides the other" in " ".join(text.get_text() for text in fig.texts)
    assert not plane.twins(found | {"dera": front("dera", 0.6)})
    plt.close(fig)


def test_each_method_has_one_line_with_its_source():
    lines = [Line(name, METHODS["part"].name, 2, 5, ()) for name in ("part-input", "part-middle")]
    assert plane.sources(lines).splitlines()[2:] == [f"| input part; middle part | {METHODS['part'].reference} |"]


def test_a_rank_correlation_names_its_seeds_and_is_bold_from_three_on():
    found = [
        Association(group, "forward_kl", 20.0, Interval(0.9, 0.8, 0.95, np.array(seeds)))
        for group, seeds in (("", [0.9, 0.88, 0.92]), ("ratio", [0.88, 0.92]))
    ]
    assert plane.ranked(found).splitlines()[4:] == [
        "| all models | 3 | 20 | **+0.90 [+0.80, +0.95]** |",
        "| one ratio, or ratios by a rule | 2 | 20 | +0.90 [+0.80, +0.95] |",
    ]


def test_where_everything_is_measured_nothing_is_said_to_be_missing():
    assert plane.missing({}, [0]) == "None: every method and setting has rows."


def test_where_early_stopping_pays_no_clear_tax_the_tax_that_each_method_pays_stands_in_the_table():
    fronts = {"ma": Front("ma", "ma", (0, 1), np.stack([GRID, GRID]), np.ones(2))}
    lines = [Line("ma", "ma", 2, 5, (None, None, None))]
    said = plane.shares(lines, fronts)
    assert "No share is told at any of these levels" in said
    assert "| MA | 2 | 5 | 0.80 | 0.90 | 0.95 | none | none | 1 model |" in said
    assert plane.verdict(lines).startswith("At 90% of the rise no method's share of early stopping's tax is told")


def test_a_correlation_is_told_within_the_numbers_that_it_can_be():
    assert plane.told(plane.possible(Interval(0.9, 0.3, 1.5, np.array([0.8, 1.0])))) == "**+0.90 [+0.30, +1.00]**"
    assert np.isnan(plane.possible(Interval(0.9, np.nan, np.nan, np.array([0.9]))).low)
