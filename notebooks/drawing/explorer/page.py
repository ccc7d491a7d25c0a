"""The page: rows, chart, looks and Vega in one HTML file, which opens from a folder without a server.

Vega draws: the bundle of a package, 0.9 MB, where plotly's is 4.7 MB; it draws SVG, whose points a test and a screen reader find.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jinja2

from llm import version
from llm.errors import told_in_a_sentence
from llm.files import write_text

from .rows import everything

HERE = Path(__file__).parent
RESULTS = HERE.parents[2] / "results"


def page(results: Path, home: str = "") -> str:
    """The HTML text. home: where its link to the site leads; none is shown where that is empty."""
    import vl_convert

    parts = {name: (HERE / name).read_text() for name in ("page.css", "page.js", "chart.json", "page.html")}
    return jinja2.Template(parts["page.html"]).render(
        style=parts["page.css"],
        script=parts["page.js"],
        spec=within_html(json.loads(parts["chart.json"])),
        data=within_html(everything(results)),
        vega=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"),
        rows=sum(len(file.read_text().splitlines()) for file in results.rglob("*.jsonl")),
        version=version(),
        home=home,
    )


def within_html(value: Any) -> str:
    """Short JSON that ends no script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


@told_in_a_sentence
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m drawing.explorer.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with a folder of rows for each preset")
    parser.add_argument("--to", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--home", default="", help="where its link to the site leads")
    asked = parser.parse_args()
    write_text(asked.to, page(asked.results, asked.home))
    print(f"The front explorer: {asked.to}")


if __name__ == "__main__":
    main()
