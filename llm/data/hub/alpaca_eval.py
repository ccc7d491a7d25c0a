"""AlpacaEval 2.0: 805 instructions and the answers of GPT-4 Turbo, with which replies are compared.

Rows {"instruction", "output", "generator", "dataset"} (github.com/tatsu-lab/alpaca_eval; CC BY-NC 4.0). The file on the
hub that holds the baseline's answers is read, as in the paper's authors' code.
"""

from ..records import ComparisonItem
from .parsed import Malformed, Parsed, parse, text_of
from .place import DataSet, Place, rows

DATA = DataSet("alpaca-eval", "tatsu-lab/alpaca_eval", ("instruction", "output", "dataset"))
FILE = "alpaca_eval_gpt4_baseline.json"


def items(place: Place) -> Parsed[ComparisonItem]:
    """All instructions in their order, which is that of the official annotations."""
    return parse(DATA.folder, rows(DATA, [FILE], place), item)


def item(row: dict) -> ComparisonItem:
    """Raises Malformed. The instruction stays letter for letter, as AlpacaEval finds a reply's item by it."""
    instruction, output, part = (text_of(row, column) for column in DATA.columns)
    if not instruction.strip():
        raise Malformed("empty instruction")
    if not output.strip():
        raise Malformed("empty reply")
    return ComparisonItem(instruction, output, part)
