"""Cards for jobs that run side by side on one machine: `CARDS=2 python -m llm.plan.cards --of 8 -- COMMAND` waits until two of eight are
free and becomes the command, which sees no others (`CUDA_VISIBLE_DEVICES`).

A card is a file that a job locks for as long as it lives, however it ends. The cards are the first of those that this process may see, by
`CUDA_VISIBLE_DEVICES` where it is set. Jobs of one user and machine, or of one job of SLURM, share a folder of such files.

A job that has cards also has threads: in each of its processes as many as there are processors for each of all cards.
"""

import argparse
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from ..errors import UserError, one_sentence

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # torch heeds both; Snakemake sets them to a rule's threads
PAUSE = 0.2  # seconds between two looks for a card


def cards(count: int) -> list[str]:
    """The names of the first `count` cards that this process may see; UserError where there are fewer."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return [str(card) for card in range(count)]
    found = [name for name in map(str.strip, given.split(",")) if name]
    if len(found) < count:
        raise UserError(f"gpus = {count} is not allowed with {VISIBLE} = {given!r}; allowed are at most {len(found)}")
    return found[:count]


def locks() -> Path:
    """The folder of the cards' files. Within a job of SLURM the same number may be another card, so each has its own."""
    job = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir()) / f"alignment-tax-cards-{os.getuid()}{f'-{job}' if job else ''}"


def take(names: list[str], count: int, folder: Path) -> dict[str, int]:
    """Card -> descriptor of its locked file, `count` of the named ones; waits for them.

    One job waits for cards at a time, so two that want several never wait for each other; the others wait for that one, in any order.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "next").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        held: dict[str, int] = {}
        while True:
            for name in names:
                if len(held) < count and name not in held and (card := _locked(folder, name)) is not None:
                    held[name] = card
            if len(held) == count:
                return held
            time.sleep(PAUSE)


def _locked(folder: Path, name: str) -> int | None:
    """A descriptor that the command inherits; None where another job has the card."""
    card = os.open(folder / f"card-{name.replace('/', '_')}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(card)
        return None
    os.set_inheritable(card, True)
    return card


def _count(text: str, most: int) -> int:
    """Cards that the command needs, 0 for one that is to see none."""
    if not text.isdecimal() or int(text) > most:
        raise UserError(f"CARDS = {text!r} is not allowed; allowed are 0 to {most}")
    return int(text)


def main(arguments: list[str]) -> int:
    """Become the command; the exit code where that is not possible."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.cards", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--of", type=int, required=True, help="cards of this machine that all jobs share")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    try:
        count = _count(os.environ.get("CARDS", "1"), given.of)
        told = {VISIBLE: ",".join(take(cards(given.of), count, locks())) if count else ""}
        if count:
            told |= dict.fromkeys(THREADS, str(max(1, len(os.sched_getaffinity(0)) // given.of)))
        os.execvpe(given.command[0], given.command, os.environ | told)
    except KeyboardInterrupt:
        return 130
    except (UserError, OSError) as error:
        print(f"error: {one_sentence(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
