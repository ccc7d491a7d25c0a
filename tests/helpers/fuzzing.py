"""Damaged inputs for the commands: every one is accepted rightly, or refused in one sentence within seconds.

`python tests/helpers/fuzzing.py --seed 0 --count 1000` runs all fuzzers (`make fuzz`); tests/fuzz/ runs them as tests. A fuzzer
is a function in a file tests/helpers/fuzz_*.py with the mark `@fuzzer`.
"""

import argparse
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tqdm import tqdm

import forked

SECONDS = 5  # of the processor, for one input


@dataclass(frozen=True)
class Outcome:
    """How a command ended. code: its exit code, negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def kind(self) -> str:
        """accepted, refused (one sentence), hang, or traceback (anything else)."""
        if self.code in (-signal.SIGXCPU, -signal.SIGKILL):
            return "hang"
        sentences = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if self.code == 2 and len(sentences) == 1 and self.err.endswith(f"{sentences[0]}\n"):
            return "refused"
        return "accepted" if self.code == 0 else "traceback"


@dataclass(frozen=True)
class Case:
    """One input, which lies there.

    accepted: what is wrong with it, if it is accepted; "" for nothing. mark: what a refusal says that is not about the input, so
    that this was accepted. refused: likewise, if it is refused.
    """

    name: str
    arguments: tuple
    accepted: Callable[[], str] = lambda: ""
    mark: str = ""
    refused: Callable[[], str] = lambda: ""

    def judge(self, outcome: Outcome) -> tuple[str, str]:
        """(how it ended, what is wrong with that)."""
        marked = outcome.kind == "refused" and self.mark and self.mark in outcome.err
        kind = "accepted" if marked else outcome.kind
        try:
            return kind, {"accepted": self.accepted, "refused": self.refused}.get(kind, lambda: kind)()
        except Exception as error:
            return kind, f"{kind}, but looking at it ended in {error!r:.100}"


Fuzzer = Callable[[Path, random.Random], Iterator[Case]]  # without end; files go into the folder
FUZZERS: dict[str, Fuzzer] = {}


def fuzzer(function: Fuzzer) -> Fuzzer:
    FUZZERS[function.__name__] = function
    return function


USED = """commands.adapt commands.average commands.benchmarks commands.front commands.plan commands.results plan.report
averaging.ama.run evaluation.front.run evaluation.benchmarks.alpaca evaluation.benchmarks.pairrm evidence.claims.ledger
evidence.claims.render evidence.coverage evidence.summary stages.backend"""  # by the commands


def load_all() -> dict[str, Fuzzer]:
    for file in sorted(Path(__file__).parent.glob("fuzz_*.py")):
        import_module(file.stem)
    return FUZZERS


def preload() -> None:
    """Import what the commands use, once: they run in copies of this process."""
    for module in USED.split():
        import_module(f"llm.{module}")


def run(*arguments, folder: Path, limit: Callable[[], None] = lambda: None) -> Outcome:
    """`alignment-tax ARGUMENTS` in a copy of this process, which has imported everything already; it works in `folder`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = start(*arguments, folder=folder, limit=limit, outputs=(out.fileno(), err.fileno()))
        deadline = time.monotonic() + 30 * SECONDS  # one that sleeps uses no processor
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        texts = [file.seek(0) or file.read() for file in (out, err)]
    return Outcome(os.waitstatus_to_exitcode(ended[1]), *texts)


def start(*arguments, folder: Path, outputs: tuple[int, int], limit: Callable[[], None] = lambda: None) -> int:
    """The process that `run` waits for."""

    def command() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.set_lock(threading.RLock())  # its own is shared by copies: one that is killed would keep it
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        limit()
        sys.argv = ["alignment-tax", *map(str, arguments)]
        from llm import cli

        cli.main()

    return forked.start(command, folder, outputs)


def findings(name: str, folder: Path, seed: int, count: int) -> tuple[Counter, list[str]]:
    """(how many inputs of a fuzzer ended how, what is wrong with any, the input kept in `folder` by its number)."""
    preload()
    kinds, found = Counter(), []
    cases = load_all()[name](folder, random.Random(f"{name} {seed}"))
    for number in range(count):
        case = next(cases)
        outcome = run(*case.arguments, folder=folder)
        kind, wrong = case.judge(outcome)
        kinds[kind] += 1
        left = [path.name for path in folder.rglob(".*partial-*")]
        if wrong or left:
            last = (outcome.err.splitlines() or [""])[-1]
            found.append(f"{name} {number}, {case.name}: {wrong}{f', left {left}' if left else ''}; {last:.200}")
    return kinds, found


TEXTS = [
    "",
    "x",
    " ",
    "0",
    "nan",
    "1e999",
    "a\nb",
    "a b",
    "../x",
    "$(touch X)",
    "<b>",
    "\u2028",
    "\x1b[2J",
    "é" * 300,
    "x" * 5000,
]
NUMBERS = [0, 1, -1, 2, 0.5, -0.5, 1.5, 1e308, -1e308, 5e-324, 2**31, 2**63, 10**17, 10**400, math.nan, math.inf]
OTHERS = [None, True, False, [], {}, [1], {"a": 1}, [[]], [None], {"": None}]
VALUES = [*TEXTS, *NUMBERS, *OTHERS]
BYTES = [
    b"\xff",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\r",
    b"\n\n",
    b"\t",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"- ",
]
BYTES += [
    b"NaN",
    b"Infinity",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 1500,
    b"\\ud800",
    b"null",
    b"true",
    b"#",
    b"&a ",
]
BYTES += [
    b"*a",
    b"!!python/name:os.system ",
    b"!!binary ",
    b"0x" + b"f" * 5000,
    b"<<: ",
    b"? ",
    b"|\n",
    b"...\n",
    b"---\n",
    b"1:30",
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to five random changes of bytes: runs that go, are doubled, or are replaced by what parsers stumble over."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        start = rng.randrange(len(data) + 1)
        end = start + rng.choice([0, 1, 1, 2, 8, 40])
        data = data[:start] + rng.choice([b"", data[start:end] * 2, rng.choice(BYTES), rng.choice(BYTES)]) + data[end:]
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data) + 1)]
    return data


def changed(content, rng: random.Random):
    """(a copy of JSON content in which one value, anywhere, is another, is gone, or has a new one beside it; where and what)."""
    content = json.loads(json.dumps(content))
    places = list(_places(content))
    path = rng.choice(places)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    way, value = rng.choice(["set", "set", "set", "remove", "add"]), rng.choice(VALUES)
    if way == "set":
        inner[path[-1]] = value
    elif way == "remove":
        del inner[path[-1]]
    elif isinstance(inner, dict):
        inner[rng.choice(["new", "", "seed", "name", "alpha"])] = value
    else:
        inner.insert(path[-1], value)
    return content, f"{way} {'.'.join(map(str, path))}{'' if way == 'remove' else f' {value!r:.40}'}"


def _places(content, path=()):
    for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*path, key))


def difference(given, read, where: str = "") -> str:
    """Where settings or rows were not read as they stand there: a value became another, or one of another kind; "" for nowhere."""
    if isinstance(given, dict) and isinstance(read, dict) and given.keys() <= read.keys():
        inner = [(value, read[key], f"{where}.{key}") for key, value in given.items()]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        inner = [(*pair, f"{where}.{place}") for place, pair in enumerate(zip(given, read, strict=True))]
    elif (
        isinstance(read, int | float) and isinstance(given, str) and float(given) == read
    ):  # YAML 1.1 reads 1e-3 as text
        return ""
    else:
        paths = isinstance(given, str) and isinstance(read, str) and Path(given) == Path(read)  # "" is "."
        alike = paths or (given == read and isinstance(given, bool) == isinstance(read, bool))
        return "" if alike else f"{where}: {given!r:.40} was read as {read!r:.40}"
    return next(filter(None, (difference(*one) for one in inner)), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="inputs of all fuzzers together")
    parser.add_argument("--only", nargs="*", help="names of fuzzers")
    given = parser.parse_args()
    names = given.only or list(load_all())
    wrong = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            kinds, found = findings(name, Path(folder), given.seed, -(-given.count // len(names)))
        print(f"{name}: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}; {len(found)} wrong")
        print("".join(f"  {line}\n" for line in found), end="", flush=True)
        wrong += len(found)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import fuzzing  # the same module that the fuzzers import

    sys.exit(fuzzing.main())
