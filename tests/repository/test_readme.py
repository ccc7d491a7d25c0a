"""README and docs: every number in README is the ledger's, every command, option, call and link exists."""

import ast
import json
import re
import shlex
from collections import Counter
from functools import cache
from inspect import signature
from operator import itemgetter
from pathlib import Path
from unittest.mock import create_autospec
from urllib.parse import unquote

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import theory
from llm.averaging import Grouping, assign, average, optimise_ratios
from llm.cli import app
from number_words import NUMBERS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WORLD, FIRST = "microcosm", "microcosm-1"
LEDGERS = {
    preset: json.loads((ROOT / "results" / file).read_text())["claims"]
    for preset, file in ((WORLD, "claims.json"), (FIRST, "claims-microcosm-1.json"))
}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("llm/*/README.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
CLAIMS = re.compile(r"<!-- (claims|savings) -->.*?<!-- end of \1 -->", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
WORDS = 900
AFTER = {"holds": "hold", "fails": "fail", "mixed": "are mixed", "equivalent": "are equivalent"}


def lines_of(claim: str, preset: str = WORLD) -> list[dict]:
    return next(entry["lines"] for entry in LEDGERS[preset] if entry["id"] == claim)


def estimate(claim: str, part: str, verdict: str, percent: bool, scale: float = 1, preset: str = WORLD) -> list[str]:
    """An estimate by learned reward and its interval as README has them, once the verdict is the one that README tells."""
    (line,) = (each for each in lines_of(claim, preset) if each["part"] == part and each["by"] in ("", "reward"))
    assert line["verdict"] == verdict, f"{claim}, {part}: {line['verdict']}; README tells that it {verdict}"
    assert line["metric"] == "saved" or not percent, f"{claim}, {part}: no share of a tax"
    ends = sorted((scale * line["low"], scale * line["high"]))
    digits = 0 if percent or line["metric"] == "bleu" else 3
    return [f"{value * (100 if percent else 1):.{digits}f}" for value in (scale * line["estimate"], *ends)]


def seeds(claim: str, part: str) -> str:
    return str(next(len(line["per_seed"]) for line in lines_of(claim) if line["part"] == part))


EARLY = "MA above early stopping"
BY_LAYER = "regression averaging by layer above"
PERFECT = "abilities: theta of RSF on gold below theta_0"
IMITATING = (
    "L1 penalty",
    "L2 penalty",
    "knowledge distillation",
    "LoRA in MLPs",
    "LoRA in MLPs and attention",
    "stochastic moving averaging",
)


def found() -> list[list[str]]:
    """The numbers of each point of "In short", in their order."""
    return [
        [
            *estimate("C1", "translation: theta below theta_0", "holds", False, -1),
            *estimate("C1", "question answering: theta below theta_0", "holds", False, -1),
            *estimate("C1", "reading comprehension: theta below theta_0", "holds", False, -1),
            seeds("C1", "translation: theta below theta_0"),
            *estimate("P4", f"{PERFECT}: translation", "holds", False, -1),
            seeds("P4", f"{PERFECT}: translation"),
        ],
        [*estimate("C2b", EARLY, "holds", True), seeds("C2b", EARLY)],
        ["3"],
        [],
    ]


def points() -> list[str]:
    """The points of "In short", without the names that hold digits."""
    part = README[README.index("**In short**") : README.index("[I have two models]")]
    return [
        re.sub(r"\([CLP]\d+\w?\)|SmolLM2-135M|microcosm-1", "", text)
        for text in re.findall(r"^\* (.*)$", part, re.MULTILINE)
    ]


def test_the_numbers_in_short_are_the_ledgers_in_this_order_and_no_others_stand_there():
    assert [NUMBER.findall(text) for text in points()] == found()


def test_the_words_in_short_are_the_ledgers_verdicts():
    (holds,) = (entry["verdict"] for entry in LEDGERS[WORLD] if entry["id"] == "P1")
    assert holds == "holds"
    assert [entry["verdict"] for entry in LEDGERS[WORLD] if entry["id"] == "P4"] == ["holds"]
    in_the_first = [
        line["verdict"] for line in lines_of("C7a", FIRST) if line["part"] == "RSF: AMA with K = 3 above MA"
    ]
    assert in_the_first[0] == "fails"
    ama = {
        (entry["id"], line["part"].split(":")[0]): line["verdict"]
        for entry in LEDGERS[FIRST]
        for line in entry["lines"]
        if line["part"].endswith("AMA with K = 3 above MA") and line["by"] == "reward" and line["deciding"]
    }
    others = {("C7a", "DPO"): "undecided", ("C7a", "PPO"): "undecided", ("C7b", "RSF"): "undecided"}
    assert others.items() <= ama.items()
    for claim, part in (("L4", "LiNeS above MA"), ("P3", "regression averaging above MA"), ("P6", f"{BY_LAYER} MA")):
        assert {line["verdict"] for line in lines_of(claim) if line["part"] == part} == {"holds"}, part
    real = next(
        line for line in lines_of("P3") if line["part"].startswith("smollm2-135m: regression averaging above MA")
    )
    assert real["verdict"] == "holds" and real["estimate"] > 0.5  # "most of it"
    after = {
        line["part"][:3]: line["verdict"]
        for line in lines_of("C7a")
        if line["part"].endswith("K = 3 above MA") and line["by"] == "reward"
    }
    assert after == {"RSF": "fails", "DPO": "fails", "PPO": "fails"}  # "after DPO and PPO it loses, too"


def test_the_words_about_remedies_are_the_ledgers():
    def found(claim, average, names, beside=""):
        parts = {f"{average} above {name}{beside}" for name in names}
        told = [
            line for line in lines_of(claim) if line["part"] in parts and line["by"] == "reward" and line["deciding"]
        ]
        assert len(told) == len(parts)
        (verdict,), (seeds,) = (
            {of(line) for line in told} for of in (itemgetter("verdict"), lambda one: len(one["per_seed"]))
        )
        return verdict, NUMBERS[seeds]

    verdict, seeds = found("P9", "regression averaging", IMITATING)
    assert verdict == "holds" and f"keeps more ability, over {seeds} seeds (P9)" in README
    assert found("C2b", "MA", ("knowledge distillation",)) == ("holds", seeds)
    assert found("C2b", "MA", set(IMITATING) - {"knowledge distillation"}) == ("undecided", seeds)
    below = {"L1 penalty", "L2 penalty", "LoRA in MLPs and attention"}  # "penalties and one kind of LoRA"
    others = {*IMITATING, "experience replay"} - below
    verdict, seeds = found("P9", "regression averaging", below, ", in every iteration")
    assert verdict == "holds" and f"Inside each iteration of RSF, on {seeds} seeds, it is above" in README
    assert found("P9", "regression averaging", others, ", in every iteration") == ("undecided", seeds)
    changed = Counter(line["verdict"] for line in lines_of("P11") if line["deciding"])
    (on,) = {len(line["per_seed"]) for line in lines_of("P11") if line["per_seed"]}
    told = f"on {NUMBERS[on]} above {NUMBERS[changed['holds']]} of {NUMBERS[changed.total()]} other changes of training, below none (P11)"
    assert told in README and not changed["fails"]
    averages = Counter(line["verdict"] for line in lines_of("P13") if line["deciding"])
    told = f"above {NUMBERS[averages['holds']]} of {NUMBERS[averages.total()]} other averages, below none (P13)"
    assert told in README and not averages["fails"]


def test_the_counts_of_verdicts_are_the_ledgers():
    sentence = re.search(r"Of (\d+) claims (.*?) in the microcosm.*?; (.*?) in the first, `microcosm-1`\.", README)
    assert sentence
    for preset, told in ((WORLD, sentence[2]), (FIRST, sentence[3])):
        counts = Counter(entry["verdict"] for entry in LEDGERS[preset])
        assert int(sentence[1]) == sum(counts.values())
        numbers = re.findall(r"(\d+) ([a-z ]+?)(?:, and|,|$)", told)
        assert sorted(numbers) == sorted((str(n), AFTER.get(word, word)) for word, n in counts.items())


def test_no_other_number_stands_in_readmes_prose():
    prose = FENCE.sub("", CLAIMS.sub("", README))
    prose = re.sub(
        r"^\* .*$|<(?:img|source) .*?>|\]\([^)]*\)|Of \d+ claims .*? in the first, `microcosm-1`\.|SmolLM2-135M",
        "",
        prose,
        flags=re.MULTILINE,
    )
    prose = prose.replace("arXiv 2309.06256", "").replace("95 % interval", "").replace("`theta_0`", "")
    prose = prose.replace("microcosm-1", "")
    python = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text())[1]
    assert NUMBER.findall(prose) == [python]


def test_readme_is_short_and_has_no_formula_that_package_indexes_do_not_draw():
    assert len(FENCE.sub("", CLAIMS.sub("", README)).split()) <= WORDS
    assert "$" not in README
    assert README.index("**In short**") < README.index("## ")


@cache
def blocks() -> list[tuple[str, str, str]]:
    """(page, language, text) of each fenced block of README and docs."""
    return [(page.name, *found) for page in PAGES for found in FENCE.findall(page.read_text())]


def shell_lines() -> list[tuple[str, list[str]]]:
    """(page, words) of each line of a block that calls the command."""
    joined = [(page, text.replace("\\\n", " ")) for page, _, text in blocks()]
    split = [(page, line) for page, text in joined for line in text.splitlines()]
    called = [
        (page, re.sub(r"^(?:\.venv/bin/)?python -m llm ", "alignment-tax ", line.strip())) for page, line in split
    ]
    words = [(page, shlex.split(line, comments=True)) for page, line in called if line.startswith("alignment-tax ")]
    return [(page, line[1:]) for page, line in words]


LINES = [pytest.param(line, id=f"{page}: {' '.join(line)[:60]}") for page, line in shell_lines()]


def command_of(line: list[str]):
    """The command that a line calls, with its name's words, and the arguments that are left."""
    command, names, rest = get_command(app), [], list(line)
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        names.append(rest.pop(0))
        command = command.commands[names[-1]]
    return command, names, rest


def test_there_are_lines_of_both_pages():
    assert {page for page, _ in shell_lines()} >= {"README.md", "your-models.md", "reproduce.md"}
    assert len(LINES) > 15


@cache
def helped(*names):
    return CliRunner().invoke(app, [*names, "--help"])


@pytest.mark.parametrize("line", LINES)
def test_a_command_in_readme_or_docs_has_help_and_every_option_that_it_is_given(line):
    command, names, rest = command_of(line)
    assert names, f"there is no command {line[0]}"
    done = helped(*names)
    assert done.exit_code == 0, done.output
    options = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)}
    assert given <= options | {"--help"}, f"no such option: {given - options}"


@pytest.mark.parametrize("line", LINES)
def test_a_command_in_readme_or_docs_is_read_as_it_stands(line):
    """Names of options, values of choices and numbers, and whether all that is required is there; files need not exist."""
    command, names, rest = command_of(line)
    if "--help" not in rest and "..." not in rest:
        command.make_context(names[-1], rest)


def test_options_that_pages_name_in_their_text_exist():
    known = set()
    queue = [get_command(app)]
    while queue:
        command = queue.pop()
        queue += getattr(command, "commands", {}).values()
        known |= {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    for page in ("README.md", "docs/your-models.md", "docs/results.md", "docs/reproduce.md"):
        text = FENCE.sub("", (ROOT / page).read_text())
        named = set(re.findall(r"`(?:[\w-]+ )*(--[a-z][\w-]*)", text)) - {"--help", "--version"}
        assert named <= known, f"{page} names {named - known}"


TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_targets_of_make_that_pages_name_exist():
    named = set(
        re.findall(r"(?:^|`)make ([a-z][a-z-]*)\b", "\n".join(page.read_text() for page in PAGES), re.MULTILINE)
    )
    assert "site" in named
    assert named <= TARGETS, named - TARGETS


PYTHON = [pytest.param(text, id=page) for page, language, text in blocks() if language == "python"]


def called(text: str) -> list[tuple[str, ast.Call]]:
    """(name, call) of each call of something within a module."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [(node.func.attr, node) for node in calls if isinstance(node.func, ast.Attribute)]


def test_calls_of_averaging_on_the_page_fit_the_functions():
    functions = {f.__name__: f for f in (Grouping, assign, average, optimise_ratios)}
    text = next(text for page, language, text in blocks() if (page, language) == ("your-models.md", "python"))
    calls = [(name, node) for name, node in called(text) if name in functions]
    assert {name for name, _ in calls} == set(functions)
    for name, node in calls:
        signature(functions[name]).bind(*node.args, **{each.arg: each.value for each in node.keywords})


def test_the_function_that_scores_on_the_page_is_handed_over(monkeypatch):
    from llm.evaluation.front import run

    _, text = (text for page, language, text in blocks() if (page, language) == ("your-models.md", "python"))
    given = create_autospec(run.front_files)
    monkeypatch.setattr(run, "front_files", given)
    exec(text.replace("alignment_tax.llm", "llm"), {})
    assert given.call_args.kwargs["scorer"]([("a prompt", "two words", True)]) == [-48]


def test_the_theory_on_the_page_runs():
    text = next(text for page, language, text in blocks() if (page, language) == ("reproduce.md", "python"))
    values = {}
    exec(text.replace("from alignment_tax import theory", ""), values | {"theory": theory})
    calls = {name for name, _ in called(text)}
    assert calls == {"effective_features", "exact_accuracy", "proposition_5_1"}
    assert theory.effective_features(counts=[12, 14], weights=[1, 4]) > 0


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)}


def texts(path: Path) -> str:
    """A page's text without code, or that of a notebook's Markdown cells."""
    if path.suffix != ".ipynb":
        return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path):
    for link in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", texts(path)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name}: {link}"
        assert target.resolve().is_relative_to(ROOT), f"{path.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path.name}: {link}"


def in_the_site(path: Path) -> bool:
    """Whether `make site` takes a file or folder; what else a page links to is a dead end there."""
    (parts,) = re.findall(r"^SITE_PARTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return any(path.resolve().is_relative_to(ROOT / part) for part in parts.split())


@pytest.mark.parametrize(
    "path", [*filter(in_the_site, [*PAGES, *NOTEBOOKS])], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_page_of_the_site_links_to_files_that_the_site_has(path):
    links = re.findall(r"(?:\]\(|src=\")([^)\s\"#]+)", texts(path))
    assert not [link for link in links if not re.match(r"\w+:", link) and not in_the_site(path.parent / unquote(link))]


def test_the_sites_pages_exist_and_every_page_of_docs_and_every_notebook_is_among_them():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def leaves(node):
        if isinstance(node, str):
            yield node
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from leaves(each)

    named = list(leaves(settings["nav"]))
    assert len(set(named)) == len(named)
    made = {"explorer.html", "report.pdf"}  # by `make site` itself, beside what the repository has
    assert all(f"$(SITE_FROM)/{name}" in (ROOT / "Makefile").read_text() for name in made)
    assert all((ROOT / name).is_file() for name in set(named) - made)
    assert made <= set(named)
    wanted = [*ROOT.glob("docs/*.md"), *NOTEBOOKS, ROOT / "README.md"]
    assert {path.relative_to(ROOT).as_posix() for path in wanted} <= set(named)
    assert settings["strict"] is True
