"""The built front explorer in a real browser: its points, found by their places between the ticks, against the rows themselves."""

import json
import re
import statistics
from functools import cache
from pathlib import Path

import pytest

import browser

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "out" / "site" / "explorer.html"
POINTS = "#chart g.models path"
MEAN = "mean"
pytestmark = pytest.mark.site
TRANSLATED = """nodes => nodes.map(node => {
  const [x, y] = node.getAttribute("transform").match(/-?[\\d.]+(?:e-?\\d+)?/g).map(Number);
  return [node.textContent, x, y || 0, node.getAttribute("aria-label")];
})"""


@pytest.fixture(scope="module")
def chromium():
    with browser.launched(PAGE) as opened:
        yield opened


@pytest.fixture
def page(chromium):
    """The page as it opens on a desktop, from its file; nothing is asked of a network and nothing goes wrong in it."""
    yield from opened(chromium, viewport={"width": 1280, "height": 800})


@pytest.fixture
def phone(chromium):
    yield from opened(chromium, viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)


def opened(chromium, **settings):
    context = chromium.new_context(**settings)
    shown, wrong, asked = context.new_page(), [], []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("console", lambda message: wrong.append(message.text))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(PAGE.as_uri())
    shown.wait_for_selector(POINTS)
    yield shown
    context.close()
    assert not wrong
    assert asked == [PAGE.as_uri()]


@cache
def rows(preset):
    return [json.loads(line) for file in (ROOT / "results" / preset).glob("*.jsonl") for line in file.open()]


def value(preset, rlhf, method, setting, seed, metric):
    """(value, standard error) of one row; for `mean`, over seeds."""
    found = {
        row["seed"]: (row["value"], row["stderr"])
        for row in rows(preset)
        if (row["rlhf"], row["method"], row["metric"]) == (rlhf, method, metric)
        and (row["setting"] == setting if isinstance(setting, dict) else setting(row["setting"]))
    }
    if seed != MEAN:
        return found[seed]
    values = [one for one, _ in found.values()]
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def path(preset, rlhf, method, key, seed, metrics):
    """Two metrics of the models of a method at the preset's own rate, from theta_0 on; for "alpha" up to theta."""
    steps = sorted(
        {
            row["setting"][key]
            for row in rows(preset)
            if row["rlhf"] == rlhf
            and row["method"] == method
            and set(row["setting"]) == {key}
            and seed in (MEAN, row["seed"])
        }
    )
    models = [(rlhf, method, {key: step}) for step in steps if key != "alpha" or 0 < step < 1]
    models = [("none", "theta_0", {}), *models, *([(rlhf, "theta", {})] if key == "alpha" else [])]
    return [tuple(value(preset, *model, seed, metric)[0] for metric in metrics) for model in models]


def choose(page, **selects):
    for name, wanted in selects.items():
        page.locator(f"#{name}").select_option(wanted)


def tick(page, group, values):
    """Tick exactly these boxes of a group of chips."""
    for box in page.locator(f"#{group} input").all():
        box.set_checked(box.get_attribute("value") in values, force=True)


def scale(page, axis):
    """pixel -> value along an axis, from the first and the last of its ticks; and the size of a pixel."""
    place = 1 if axis == "X" else 2
    root = page.locator(f'#chart g.role-axis[aria-label^="{axis}-axis"]')
    texts, ticks = (
        root.locator(part).evaluate_all(TRANSLATED) for part in (".role-axis-label text", ".role-axis-tick line")
    )
    values = sorted(float(text.replace("\N{MINUS SIGN}", "-")) for text, *_ in texts)
    pixels = sorted((tick[place] for tick in ticks), reverse=axis == "Y")  # upwards
    assert len(values) == len(pixels) > 2
    size = (values[-1] - values[0]) / (pixels[-1] - pixels[0])
    return (lambda pixel: values[0] + (pixel - pixels[0]) * size), abs(size)


def drawn(page):
    """[(x, y) in the units of the axes], sorted, and how far off a pixel is."""
    (of_x, wide), (of_y, high) = scale(page, "X"), scale(page, "Y")
    points = page.locator(POINTS).evaluate_all(TRANSLATED)
    return sorted((of_x(x), of_y(y)) for _, x, y, _ in points), (wide, high)


def check(page, wanted):
    points, (wide, high) = drawn(page)
    assert len(points) == len(wanted)
    left = list(points)
    for x, y in wanted:  # each has a point of its own within a pixel and a half: ticks stand on whole pixels
        near = [one for one in left if abs(one[0] - x) < 1.5 * wide and abs(one[1] - y) < 1.5 * high]
        assert near, (x, y)
        left.remove(near[0])
    assert str(len(wanted)) in page.locator("#note").inner_text().split()


CHOICES = [
    ("microcosm", "rsf", "bleu", "reward", "3"),
    ("microcosm", "ppo", "reading_f1", "gold_reward", "0"),
    ("microcosm-1-untied", "dpo", "qa", "reward", MEAN),
    ("smollm2-135m-gpu", "rsf", "log_likelihood", "gold_reward", "1"),
    ("smollm2-135m-gpu", "rsf", "win_rate", "reward", MEAN),
]


@pytest.mark.parametrize(("preset", "rlhf", "ability", "reward", "seed"), CHOICES)
def test_the_points_of_what_is_chosen_are_the_rows(page, preset, rlhf, ability, reward, seed):
    choose(page, preset=preset, algorithm=rlhf, ability=ability, reward=reward)
    tick(page, "seeds", {seed})
    number = seed if seed == MEAN else int(seed)
    tick(page, "methods", {"ma"})
    averaged = path(preset, rlhf, "ma", "alpha", number, (reward, ability))
    assert len(averaged) > 5
    check(page, averaged)
    tick(page, "methods", {"ma", "early-stopping"})
    check(page, averaged + path(preset, rlhf, "early-stopping", "iteration", number, (reward, ability)))


def test_two_seeds_and_their_mean_are_drawn_together(page):
    tick(page, "methods", {"ma"})
    choose(page, ability="qa")
    tick(page, "seeds", {"1", "4", MEAN})
    check(
        page,
        [point for seed in (1, 4, MEAN) for point in path("microcosm", "rsf", "ma", "alpha", seed, ("reward", "qa"))],
    )


def test_another_learning_rate_shows_the_models_made_with_it(page):
    choose(page, preset="microcosm-1")
    tick(page, "methods", {"theta"})
    tick(page, "seeds", {"2"})
    choose(page, ability="bleu", rate="0.001")
    check(
        page, [tuple(value("microcosm-1", "rsf", "theta", {"lr": 1e-3}, 2, metric)[0] for metric in ("reward", "bleu"))]
    )


def test_a_family_that_is_chosen_stays_so_in_another_preset(page):
    tick(page, "methods", {"part-input"})
    choose(page, preset="smollm2-135m-gpu", ability="log_likelihood")
    assert page.locator("#methods input:checked").evaluate_all("boxes => boxes.map(box => box.value)") == ["part-input"]
    assert "smollm2-135m-gpu" in page.locator("#note").inner_text()


def test_hovering_tells_the_model_with_its_values_and_standard_errors(page):
    choose(page, ability="bleu")
    tick(page, "methods", {"ma"})
    tick(page, "seeds", {"3"})
    place = 7  # 0 is theta_0
    page.locator(POINTS).nth(place).hover(force=True)
    told = page.locator("#tip").inner_text().splitlines()
    assert told[:3] == ["model averaging (MA)", "alpha 0.7", "seed 3"]
    for line, metric, decimals, name in zip(
        told[3:], ("reward", "bleu"), (2, 1), ("learned reward", "translation (BLEU)"), strict=True
    ):
        number, error = value("microcosm", "rsf", "ma", {"alpha": 0.7}, 3, metric)
        assert line.startswith(f"{name}: ")
        found = [float(text) for text in re.findall(r"-?\d+\.\d+", line)]
        assert found == pytest.approx([number, error], abs=0.6 * 10**-decimals)
    page.mouse.move(1, 1)
    page.wait_for_selector("#tip", state="hidden")


def test_what_is_hovered_of_a_mean_is_the_error_over_seeds(page):
    choose(page, ability="qa")
    tick(page, "methods", {"early-stopping"})
    page.locator(POINTS).nth(4).hover(force=True)
    told = page.locator("#tip").inner_text().splitlines()
    seeds = len({row["seed"] for row in rows("microcosm")})
    assert told[:3] == ["early stopping", "iteration 4", f"mean over {seeds} seeds"]
    wanted = value("microcosm", "rsf", "early-stopping", {"iteration": 4}, MEAN, "qa")
    assert [float(text) for text in re.findall(r"\d+\.\d+", told[4])] == pytest.approx(wanted, abs=0.0006)
    assert told[4].endswith("over seeds")


def test_the_slider_shows_the_recorded_replies_of_its_ratio_and_rings_its_models(page):
    recorded = json.loads((ROOT / "results" / "microcosm" / "replies-seed0.json").read_text())
    tick(page, "methods", {"ma", "early-stopping"})
    slider = page.locator("#alpha")
    slider.focus()
    for place, alpha in enumerate(recorded["alphas"]):
        assert page.locator("#ratio").inner_text() == f"{alpha:.1f}"
        shown = page.locator(".reply .said").all_inner_texts()
        assert shown == [one["replies"][place]["reply"] for one in recorded["asked"]]
        assert page.locator("#chart g.rings path").count() == 1
        slider.press("ArrowRight")
    assert recorded["asked"][0]["replies"][0] != recorded["asked"][0]["replies"][-1]
    first = page.locator(".reply").first.inner_text()
    assert f"learned reward {recorded['asked'][0]['replies'][-1]['reward']:.2f}" in first
    source = page.locator("#source").inner_text()
    assert "seed 0" in source and recorded["made_by"] in source


def test_standard_errors_can_be_hidden(page):
    bars = page.locator(
        "#chart g.mark-rule:not(.role-axis-grid):not(.role-axis-tick):not(.role-axis-domain):not(.floor) line"
    )
    opacity = "lines => lines.map(line => Number(line.getAttribute('opacity') ?? 1))"
    assert max(bars.evaluate_all(opacity)) > 0
    page.locator("#bars").uncheck()
    assert max(bars.evaluate_all(opacity)) == 0


def test_nothing_chosen_is_said_in_a_sentence(page):
    tick(page, "methods", set())
    assert page.locator(POINTS).count() == 0
    assert page.locator("#note").inner_text() == "No model of these methods and seeds has both numbers; choose others."


def test_a_phone_shows_everything_in_its_width_and_a_tap_tells_the_model(phone):
    for preset in phone.locator("#preset option").evaluate_all("options => options.map(option => option.value)"):
        choose(phone, preset=preset)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 400
        assert phone.locator(POINTS).count() > 5
    phone.locator(POINTS).nth(3).tap(force=True)
    tip = phone.locator("#tip")
    assert "learned reward" in tip.inner_text()
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 400
    assert phone.locator("#chart").bounding_box()["width"] > 350


def test_the_site_leads_to_the_page_and_back(chromium, page):
    other = page.context.new_page()
    other.goto((PAGE.parent / "index.html").as_uri())
    assert other.locator('a[href="explorer.html"]').count() > 0
    assert other.locator('a[href="report.pdf"]').count() > 0
    other.close()
    assert page.locator("header a").get_attribute("href") == "index.html"
