"""The style of figures: fixed, distinguishable looks and reproducible files."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from drawing import style
from llm.methods import looks

# Linear RGB as seen without green, or without red, receptors (Machado, Oliveira, Fernandes 2009, severity 1).
VISION = {
    "full": np.eye(3),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
}
TOGETHER = [
    ("theta_0", "theta", "early-stopping", "ma", "ama", "ama-own-embeddings"),
    ("theta_0", "theta", "part-input", "part-middle", "part-output", "part-embeddings"),
    ("early-stopping", "ma", "l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma"),
    ("ma", "ama", "adamerging"),
    ("ma", "ama", "ama-6"),
    ("ma", "ama", "ama-own-embeddings", "ama-own-embeddings-head"),
    ("ma", "ama", "oracle-reward", "oracle-gold_reward"),
    ("ma", "pattern-output-less", "pattern-rest-less", "pattern-output-more", "pattern-rest-more"),
    ("ma", "part-input", "part-middle", "part-output", "ama", "ama-own-embeddings"),
    ("rsf", "dpo", "ppo"),
    ("ma", "er"),
    ("ma", "early-stopping", "kl"),
    ("ma", "trim-0.1", "trim-0.2", "trim-0.3", "trim-0.6"),
    ("ma", "dare-0.5", "dare-0.7", "dare-0.9"),
    ("ma", "fapm-0.1", "fapm-0.3", "fapm-0.6"),
    ("ma", "breadcrumbs-0.3", "breadcrumbs-0.6", "breadcrumbs-0.9"),
    ("ma", "ties-0.1", "ties-0.2", "ties-0.6", "dots-0.5", "dots-1", "dots-2"),
    (
        "ma",
        "ama",
        "lines-alpha",
        "lines-theta",
        "reverse-lines-alpha",
        "reverse-lines-theta",
        "ma-matrices",
        "ama-published",
    ),
    ("ma", "extrapolate", *(f"extrapolate-early-{iteration}" for iteration in (2, 3, 4, 5))),
    ("ma", "tail-2", "tail-4", "tail-8", "soup-2", "soup-3", "model-stock-tensor", "model-stock-model", "dera"),
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
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, vision):
    """CIELAB (D65) of a colour as someone sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    fx, fy, fz = (np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("methods", TOGETHER, ids="+".join)
def test_methods_drawn_together_are_told_apart_whatever_the_colour_vision(methods, vision):
    for first, second in combinations(methods, 2):
        apart = np.linalg.norm(lab(style.look(first).colour, vision) - lab(style.look(second).colour, vision))
        assert apart > 15, f"{first} and {second} differ by {apart:.1f}"


def test_every_method_has_a_colour_of_its_own_and_every_tenth_a_marker():
    assert len({shown.colour for shown in looks().values()}) == len(looks())
    assert len({style.marker(tenth / 10) for tenth in range(11)}) == 11
    assert style.marker(0.1 + 0.2) == style.marker(0.3)
    assert style.marker(0.25) not in {style.marker(tenth / 10) for tenth in range(11)}


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
        style.path(ax, points, points, style.look("ma"), alphas=[0.0, 1.0])
        style.chance_line(ax, 0.25)
        style.stamp(fig, "microcosm", 3)
        style.save(fig, "fig")
        assert any("microcosm, 3 seeds" in text.get_text() for text in fig.texts)
        plt.close(fig)
    for file in ("fig.pdf", "fig.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert b"CreationDate" not in (tmp_path / "a" / file).read_bytes()
