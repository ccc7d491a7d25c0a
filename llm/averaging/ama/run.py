"""`adapt` on files: two model folders and samples in, ratios.json and a picture of the way to them out.

What was done so far lies in a state file beside the output; a killed run that is started again with the same
arguments goes on from there, and ends with the same bytes.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ... import version
from ...data.formats import read_prompts
from ...errors import UserError
from ...files import described_file, read_made, write_text, written
from ...grouping import labels
from ...models.batches import Tokens, pad_replies
from ...models.chat import context_of, ids_of_prompts, pad_id, require_longest
from ...models.loading import device_of, warn
from ..pair import Pair, load_pair
from .gradient import Engine, engine_for
from .optimise import AmaResult, AmaState, descend
from .parameterise import placement
from .picture import draw_path
from .samples import batches, draw_samples, partial_of, selected, tokenise
from .settings import AdaptSettings, Sources

Progress = Callable[[str, int, int, AmaState | None], None]


def samples_file(out: Path) -> Path:
    """Where D_theta's candidates are kept, of a run that draws them itself."""
    return out.with_suffix(".samples.jsonl")


@dataclass(frozen=True)
class RunState:
    """The state file of a run that was stopped: whose run it is, and how far that has come."""

    path: Path
    run: dict
    reached: AmaState | None

    @classmethod
    def open(cls, out: Path, run: dict, anew: bool = False) -> "RunState":
        """The state that a run with these very arguments has left, or the beginning of one. anew: whether one with others makes way."""
        path = out.with_name(f".{out.name}.state")
        run = json.loads(json.dumps(run))
        if path.exists():
            theirs, reached = read_made(path, _state)
            if theirs == run:
                return cls(path, run, reached)
            if not anew:
                raise UserError(
                    f"out is {str(out)!r}, for which {path.name} holds a run with other arguments; "
                    "finish that one, or remove the file."
                )
        samples = samples_file(out)
        if samples.exists() and "prompts" in run["sources"]:
            raise UserError(f"{samples} exists; give it as --data, or remove it.")
        partial_of(samples).unlink(missing_ok=True)  # of a run whose state is gone
        state = cls(path, run, None)
        state.save(None)
        return state

    def save(self, reached: AmaState | None) -> None:
        content = {"run": self.run, "reached": asdict(reached) if reached else None}
        write_text(self.path, json.dumps(content))


def _state(content: dict) -> tuple[dict, AmaState | None]:
    """What `RunState.save` wrote; ValueError and its like for anything else."""
    if content["reached"] is None:
        return content["run"], None
    reached = AmaState(**content["reached"])
    numbers = [*zip(reached.s, reached.first, reached.second, strict=True)]
    groups = {tuple(step["alphas"]) for step in reached.path}
    if len(groups) != 1 or len(*groups) != len(numbers):
        raise ValueError("its steps have other groups")
    numbers += [(step["step"], step["loss"], *step["alphas"].values()) for step in reached.path]
    if not all(abs(number) < 1e100 for group in numbers for number in group):
        raise ValueError("a number is not finite")
    return content["run"], reached


def adapt_files(
    sources: Sources,
    out: Path,
    settings: AdaptSettings,
    *,
    device: str = "auto",
    anew: bool = False,
    progress: Progress = lambda phase, done, total, state: None,
) -> dict:
    """Find the ratios and write them to `out`, with pictures beside it (.path.png, .path.pdf); returns its content.

    sources: with `data`, or with `prompts` and `reward_model` or `reward_command`. anew: whether what a run with other arguments has
    left makes way, instead of being refused. progress: called with "samples" or "steps", how many are done, of how many, and the state
    in the second case.
    Raises UserError, with nothing written, for input that is missing, damaged or does not fit.
    """
    given = [source is not None for source in (sources.data, sources.prompts, sources.scored_by)]
    if given not in ([True, False, False], [False, True, True]):
        raise UserError(
            "The samples must be given by --data, or made from --prompts with --reward-model or --reward-command."
        )
    _check_out(out)
    place = device_of(device)
    pair = load_pair(sources.theta_0, sources.theta, settings.dtype, place, settings.match)
    pair.assignment(settings.grouping)  # raises before any work if the layers cannot be grouped
    known = _tokens(pair, sources.data, settings) if sources.data is not None else None
    if sources.prompts is not None:
        ids_of_prompts(pair.tokenizer, read_prompts(sources.prompts))
    asked = {"alpha": settings.alpha, "settings": settings.described(), "grouping": asdict(settings.grouping)}
    state = RunState.open(out, {"sources": sources.described} | asked, anew)
    try:
        data = sources.data or _sampled(pair, sources, out, settings, place, progress)
        tokens, left_out = known or _tokens(pair, data, settings)
        notes = pair.notes + settings.too_slow(len(tokens))
        for note in notes:
            warn(note)
        result, comparison = _optimised(pair, tokens, settings, place, state, progress)
    except UserError:
        if not partial_of(samples_file(out)).exists():  # nothing to go on with
            state.path.unlink(missing_ok=True)
        raise
    used = described_file(data) | {"used": len(tokens), "left_out": left_out}
    content = _content(result, comparison, used, sources.shown, settings) | {"notes": notes}
    draw_path(result, settings.alpha, out.with_suffix(".path"))
    with written(out) as aside:
        aside.write_text(_json(content), "utf-8")
        state.path.unlink(missing_ok=True)  # before `out` is there: a kill in between leaves neither
    return content


def _tokens(pair: Pair, data: Path, settings: AdaptSettings) -> tuple[list[Tokens], int]:
    """(those of D_theta, drawn from the file of samples; how many samples were left out)."""
    samples = selected(data, settings.keep, settings.draw, settings.seed)
    return tokenise(samples, pair.tokenizer, settings.max_length)


def _content(result: AmaResult, comparison: dict, samples: dict, sources: dict, settings: AdaptSettings) -> dict:
    """What is written: the ratios, how they compare with equal ones, what they were made from, the way to them."""
    found = {"groups": result.alphas, "grouping": asdict(settings.grouping), "alpha": settings.alpha}
    made = {"settings": settings.described(), "version": version(), "path": result.path}
    return found | {"loss": comparison, "samples": samples, "sources": sources} | made


def _optimised(
    pair: Pair, tokens: list[Tokens], settings: AdaptSettings, device: torch.device, state: RunState, progress: Progress
) -> tuple[AmaResult, dict]:
    """(the ratios and the path, how they compare with equal ones)."""
    assignment, padding = pair.assignment(settings.grouping), pad_id(pair.tokenizer)
    groups = labels(assignment)
    if not groups:
        raise UserError("The grouping leaves no group with a ratio of its own; allow at least one.")
    shortest = min(tokens, key=lambda one: len(one.context) + len(one.reply))
    engine = engine_for(pair.model, pair.theta, assignment, pad_replies([shortest], padding).to(device).labelled())
    steps = settings.steps(len(tokens))

    def report(reached: AmaState) -> None:
        done = len(reached.path)
        if done % settings.save_every == 0 or done == steps:
            state.save(reached)
        progress("steps", done, steps, reached)

    done = len(state.reached.path) if state.reached else 0
    rng = np.random.default_rng([settings.seed, 1])
    order = batches(tokens, settings.batch, steps, rng, padding, device, first=done)
    result = descend(
        engine.gradient,
        groups,
        order,
        placement(settings.parameterisation, settings.eps, settings.alpha),
        steps=steps,
        lr=lambda step: settings.rate(step, steps),
        regulariser=settings.penalty(assignment, pair.theta, settings.alpha),
        state=state.reached,
        progress=report,
    )
    return result, _compared(engine, result, tokens[: settings.check], settings, padding, device)


def _compared(
    engine: Engine, result: AmaResult, tokens: list[Tokens], settings: AdaptSettings, padding: int, device: torch.device
) -> dict:
    """Mean over samples of a reply's -log-likelihood a token, in nats: equal ratios, found ratios, gain and its error over prompts."""
    chunks = [tokens[start : start + settings.batch] for start in range(0, len(tokens), settings.batch)]
    batches = [pad_replies(chunk, padding) for chunk in chunks]
    equal, found = (
        torch.cat([engine.losses(alphas, batch.to(device).labelled()).cpu() for batch in batches])
        for alphas in (dict.fromkeys(result.alphas, settings.alpha), result.alphas)
    )
    gain = equal - found
    of_prompts: dict[tuple, float] = {}  # replies to one prompt are no independent ones
    for one, above in zip(tokens, (gain - gain.mean()).tolist(), strict=True):
        of_prompts[tuple(one.context)] = of_prompts.get(tuple(one.context), 0.0) + above
    several = len(of_prompts)
    squares = sum(total**2 for total in of_prompts.values())
    error = (squares * several / (several - 1)) ** 0.5 / len(tokens) if several > 1 else None
    means = {"equal": equal.mean().item(), "found": found.mean().item(), "gain": gain.mean().item()}
    return {"n": len(tokens), **means, "gain_stderr": error}


def _sampled(
    pair: Pair, sources: Sources, out: Path, settings: AdaptSettings, device: torch.device, progress: Progress
) -> Path:
    """The file of D_theta's candidates, made now unless an earlier run has."""
    data = samples_file(out)
    if data.exists():
        return data
    prompts = read_prompts(sources.prompts)
    scorer = sources.scorer(device, settings.dtype, settings.batch * settings.samples)
    scorer.check(prompts, settings.tokens)  # raises before any work
    lengths = [len(ids) + settings.tokens for ids in ids_of_prompts(pair.tokenizer, prompts)]
    require_longest(lengths, context_of(pair.model.config), "prompt", "with its longest reply")
    pair.exchange()
    how = {name: getattr(settings, name) for name in ("samples", "tokens", "temperature", "seed")}
    how |= {"batch": settings.batch * settings.samples}
    show = lambda done, total: progress("samples", done, total, None)
    draw_samples(pair.model, pair.tokenizer, scorer, prompts, data, **how, progress=show)
    pair.exchange()
    return data


def _check_out(out: Path) -> None:
    if out.suffix != ".json":
        raise UserError(f"out = {str(out)!r} is not allowed; allowed are file names that end in .json.")
    if out.exists():
        raise UserError(f"out is {str(out)!r}, which exists; give a new file.")
    if not out.resolve().parent.is_dir():
        raise UserError(f"out is {str(out)!r}, whose folder does not exist.")


def _json(content: dict) -> str:
    """Readable: one line a key, one line a step of the path."""
    head = {key: value for key, value in content.items() if key != "path"}
    steps = ",\n".join(f"  {json.dumps(step)}" for step in content["path"])
    return json.dumps(head, indent=1)[:-2] + f',\n "path": [\n{steps}\n ]\n}}\n'
