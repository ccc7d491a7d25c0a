"""The style of figures: fixed, distinguishable looks and reproducible files."""

import re
import struct
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import CSS4_COLORS

from drawing import style
from figure_checks import VISION, apart, lab
from llm.methods import looks

SAME = 0.5  # in CIELAB: colours nearer than this are one to some eyes, even in different figures
TOGETHER = [
    ("theta_0", "theta", "early-stopping", "ma", "ama", "ama-own-embeddings"),
    ("theta_0", "theta", "part-input", "part-middle", "part-output", "part-embeddings", "part-input-embeddings-first"),
    ("early-stopping", "ma", "l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma"),
    ("early-stopping", "ma", *(f"{name}-on-policy" for name in "l1 l2 kd lora-mlp lora-mlp-attention sma er".split())),
    ("ma", "ama", "adamerging"),
    ("ma", "ama", "ama-6"),
    ("ma", "ama", "ama-own-embeddings", "ama-own-embeddings-head"),
    ("ma", "ama", "oracle-reward", "oracle-gold_reward"),
    ("ma", "pattern-output-less", "pattern-rest-less", "pattern-output-more", "pattern-rest-more"),
    ("ma", "part-input", "part-middle", "part-output", "ama", "ama-own-embeddings"),
    ("rsf", "dpo", "ppo", "part-input", "part-middle", "part-output"),
    ("rsf", "dpo", "ppo", "rsf-gold"),
    ("ma", "er"),
    ("ma", "early-stopping", "kl"),
    ("ma", "trim-0.1", "trim-0.2", "trim-0.3", "trim-0.6"),
    ("ma", "dare-0.5", "dare-0.7", "dare-0.9"),
    ("ma", "fapm-0.1", "fapm-0.3", "fapm-0.6"),
    ("ma", "breadcrumbs-0.3", "breadcrumbs-0.6", "breadcrumbs-0.9"),
    ("ma", "early-stopping", "regmean", "regmean-layers-increasing", "aim-0.2", "aim-0.4", "aim-0.6", "aim-0.8"),
    ("ma", "ties-0.1", "ties-0.2", "ties-0.6", "dots-0.5", "dots-1", "dots-2"),
    (
        "ma",
        *(f"ties-{k}" for k in ("0.2-scale-1", "0.2-scale-1.5", "0.2-scale-2", "0.6-scale-1")),
        *(f"dots-{s}-keep-0.3" for s in ("0.5", 1, 2)),
    ),
    ("ma", *(f"breadcrumbs-{d}-gamma-0.006" for d in (0.1, 0.15, 0.2)), "dare-0.5-mask-0", "dare-0.9-mask-0"),
    (
        "ma",
        "ama",
        "lines-alpha",
        "lines-theta",
        "reverse-lines-alpha",
        "reverse-lines-theta",
        "ma-matrices",
        "ama-published",
        "ama-published-eps-0.2-regulariser-0.0001",
    ),
    ("ma", "extrapolate", *(f"extrapolate-early-{iteration}" for iteration in (2, 3, 4, 5))),
    ("ma", "tail-2", "tail-3", "tail-4", "soup-2", "soup-3", "model-stock-tensor", "model-stock-model", "dera"),
    (
        "ma",
        "ama",
        "early-stopping",
        "lines-alpha",
        "trim-0.2",
        "dare-0.5",
        "fapm-0.1",
        "breadcrumbs-0.9",
        "tail-4",
        "soup-3",
        "dera",
    ),
]


@pytest.mark.parametrize("methods", TOGETHER, ids="+".join)
def test_methods_drawn_together_are_told_apart_whatever_the_colour_vision(methods):
    for first, second in combinations(methods, 2):
        distance = apart(style.look(first).colour, style.look(second).colour)
        assert distance > style.DISTANCE, f"{first} and {second} differ by {distance:.1f}"


def test_verdicts_are_told_apart_and_none_has_the_colour_of_a_method():
    assert all(apart(*pair) > style.DISTANCE for pair in combinations(style.VERDICTS.values(), 2))
    methods = {shown.colour for shown in looks().values()}
    assert not methods & {*style.VERDICTS.values(), style.BEFORE, style.AFTER, style.INK, style.GREY}


FIGURES = [path for path in Path(style.__file__).parent.glob("*.py") if path.name not in ("style.py", "tiny_models.py")]
FIGURES += [path for path in Path(style.__file__).parents[1].glob("*.py") if path.name != "run.py"]
COLOUR = re.compile(rf"""["'](#[0-9a-fA-F]{{3,8}}|C[0-9]|tab:\w+|{"|".join(CSS4_COLORS)})["']""")


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_no_figure_names_a_colour_of_its_own(path):
    assert [found[0] for found in COLOUR.finditer(path.read_text())] == []
    assert COLOUR.search('color="black"') and COLOUR.search("color='#12ab34'") and COLOUR.search('"C0"')


@pytest.mark.parametrize("path", sorted((style.ROOT / "figures").glob("*.png")), ids=lambda path: path.stem)
def test_committed_pictures_are_as_wide_as_a_column_or_two_and_no_higher_than_a_page(path):
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert width / 200 == pytest.approx(3.3) or width / 200 == pytest.approx(6.8)
    assert height / 200 <= 8


def test_every_method_has_a_colour_of_its_own_and_every_tenth_a_marker():
    seen = np.array([[lab(shown.colour, vision) for vision in VISION] for shown in looks().values()])
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1).min(axis=-1) + 100 * np.eye(len(seen))
    closest = np.unravel_index(distances.argmin(), distances.shape)
    assert distances[closest] > SAME, [list(looks())[place] for place in closest]
    assert len({style.marker(tenth / 10) for tenth in range(11)}) == 11
    assert style.marker(0.1 + 0.2) == style.marker(0.3)
    assert style.NO_RATIO not in {style.marker(alpha / 20) for alpha in (*range(0, 21, 2), 5, 15, 17, 19)}
    assert len({style.marker(alpha / 20) for alpha in (*range(0, 21, 2), 5, 15, 17, 19)}) == 15


def test_parts_and_groupings_have_looks_of_their_own_and_unknown_methods_are_refused():
    assert style.look("part-input") is looks()["part-input"]
    assert style.look("ama-own-embeddings").short == "AMA, emb. apart"
    assert style.look("early-stopping").short == "early stopping"
    assert (style.look("ama-12").label, style.look("ama-12").colour) == ("AMA, K = 12", style.look("ama-6").colour)
    with pytest.raises(KeyError, match="'magic' has no look; allowed are theta_0"):
        style.look("magic")


def test_error_bars_are_over_seeds_and_over_items_where_there_is_one_seed():
    frame = pd.DataFrame(
        {"alpha": [0, 0, 0, 1], "seed": [0, 1, 2, 0], "value": [1.0, 2.0, 6.0, 5.0], "stderr": [0.1, 0.1, 0.1, 0.7]}
    )
    means = style.over_seeds(frame, "alpha")
    assert means["mean"].tolist() == [3.0, 5.0]
    assert means["error"].tolist() == pytest.approx([np.std([1, 2, 6], ddof=1) / np.sqrt(3), 0.7])


def test_the_same_figure_gives_the_same_bytes_and_says_what_it_shows(tmp_path, monkeypatch):
    style.use()
    for folder in ("a", "b"):
        monkeypatch.setenv("FIGURES", str(tmp_path / folder))
        fig, ax = plt.subplots()
        points = pd.DataFrame({"mean": [0.0, 1.0], "error": [0.1, 0.2]})
        style.path(ax, points, points, style.look("ma"))
        style.chance_line(ax, 0.25)
        style.stamp(fig, "microcosm", 3)
        style.save(fig, "fig")
        assert any("microcosm, 3 seeds" in text.get_text() for text in fig.texts)
        plt.close(fig)
    for file in ("fig.pdf", "fig.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert b"CreationDate" not in (tmp_path / "a" / file).read_bytes()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_last_digits_of_a_mean_change_no_byte(tmp_path, monkeypatch, scale):
    style.use()
    noise = np.random.default_rng(0)
    for folder in ("a", "b"):
        monkeypatch.setenv("FIGURES", str(tmp_path / folder))
        x, y = (np.geomspace(0.1, 3, 9) * (1 + (folder == "b") * 4e-16 * noise.normal(size=9)) for _ in range(2))
        fig, ax = plt.subplots()
        ax.errorbar(x, y, yerr=y / 7, marker="o")
        ax.fill_between(x, y / 2, y / 3)
        ax.scatter(x, y, c=y)
        ax.barh(y, x, height=0.1)
        ax.set_xscale(scale)
        style.save(fig, "fig")
        plt.close(fig)
    assert (tmp_path / "a" / "fig.pdf").read_bytes() == (tmp_path / "b" / "fig.pdf").read_bytes()


def test_two_seeds_give_no_error_bar_and_say_so():
    frame = pd.DataFrame({"alpha": [0, 0], "seed": [0, 1], "value": [1.0, 2.0], "stderr": [0.1, 0.1]})
    assert style.over_seeds(frame, "alpha")["error"].isna().all()
    assert style.bars(2) == "two seeds, so no error bars"
