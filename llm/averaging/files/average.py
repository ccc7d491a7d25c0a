"""Averaging two model folders into a third, tensor by tensor, without ever holding a model in memory.

Memory: a few blocks of some megabytes each, whatever the size of the model or of its largest tensor.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, one_sentence
from ...methods import METHODS
from ...models.folder import ModelFolder, notes_on_base, read_folder
from ...models.safetensors import Source
from ..merge import Merge
from ..merge.linear import LINEAR
from ..ratios import Recipe
from ..schedule import applied, checked
from ..soup import Soup, repeated
from .card import Origin, write_card
from .chunks import Chunk
from .compatible import check_config, check_tokenizers, note_on_templates
from .copies import check_links, files_beside, has_tokenizer, write_beside
from .hashes import FollowingHash
from .layout import layout, write_index
from .output import Output
from .plan import Inputs, Plan
from .report import Report
from .write import NoPlace, atomic_folder, check_new, write_weights

if TYPE_CHECKING:
    from .regression import Regression


def average_files(
    theta_0: Path,
    theta: Path,
    out: Path,
    recipe: Recipe,
    *,
    union: bool = False,
    full: bool = False,
    method: str = "ma",
    options: Mapping[str, Any] | None = None,
    theta_pre: Path | None = None,
    soup: Soup = Soup(),
    ignore_config: Collection[str] = (),
    strict: bool = False,
    code: bool = False,
    regression: "Regression | None" = None,
    output: Output | None = None,
    origin: Origin = Origin(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the average of two model folders, tensor by tensor, as the new folder `out`, atomically.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `full` is set.
    union: allow different vocabulary sizes (shared rows are averaged, theta's own are kept) and renamed added tokens.
    method: "ma", (1 - ratio) theta_0 + ratio theta, or another merge or rule of the table of methods (with an adapter, whatever is
    not linear only if `full` is set); options: values of its options. theta_pre: a third model folder, of methods that take it.
    soup: other runs, of which and of theta the weighted mean takes theta's place: all models of theta's shape, or all adapters
    on theta_0, and then `full` has to be set.
    ignore_config: keys of config.json that may differ. strict: refuse an adapter of another base, and tokenizers that differ
    or cannot be compared, which are else noted. code: copy theta's Python files. regression: with method "regmean", what of the network
    texts come to is merged by regression (`regression`), and the other tensors at the ratios of `recipe`; theta must be a model, or
    `full` be set.
    output: type and rounding of what is written; theta's, to nearest, by default. origin: what the card says of the command.
    progress: called with bytes written so far and in all.
    Raises UserError, with nothing written, for anything that is missing, damaged, does not fit, or changes meanwhile.
    """
    output = Output() if output is None else output
    try:
        recipe, merge = (recipe, LINEAR) if regression else applied(method, options or {}, recipe)
        _check_third(theta_pre, method, merge)
        inputs = _inputs(theta_0, theta, theta_pre, soup, union, full)
        if inputs.theta.is_adapter and not full and not merge.is_linear:
            raise UserError(
                f"method = {method!r} is not allowed with an adapter without --full: the result has no low rank."
            )
        notes, doubts = _differences(inputs, ignore_config)
        plan = inputs.plan(recipe, output, merge)
        if strict and doubts:
            raise UserError(f"strict is set, but: {doubts[0]}")
        if regression:
            plan = _by_regression(plan, inputs, recipe, output, out, regression)
            method, given = "regmean", dict[str, Any]()
        else:
            given = METHODS[method].defaults | checked(METHODS[method], options or {})
        beside, last = files_beside([inputs.theta, inputs.base] if full else [inputs.theta], inputs.base, code)
        plan = replace(plan, notes=[*notes, *doubts, *plan.notes, *last])
        try:
            report = _write(plan, inputs.named, out, method, given, beside, output, origin, progress)
        except UserError as error:
            if regression and not isinstance(error, NoPlace):
                regression.discard(out)
            raise
        if regression:
            regression.finish(out)
        return report
    except OSError as error:
        left = "what is done is kept, and the same command goes on" if regression else "nothing was written"
        raise UserError(f"average was stopped by {one_sentence(error)}; {left}.") from None


def _inputs(theta_0: Path, theta: Path, theta_pre: Path | None, soup: Soup, union: bool, full: bool) -> Inputs:
    """The folders, read; UserError for those that are missing, damaged, or of a kind that is not allowed in their place."""
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    third = None if theta_pre is None else read_folder(theta_pre, "theta-pre")
    more = tuple(read_folder(path, name) for path, name in zip(soup.others, soup.names, strict=True))
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if third is not None and third.is_adapter:
        raise UserError(f"theta-pre is {str(theta_pre)!r}, which is an adapter; allowed is a full model.")
    if full and not other.is_adapter:
        raise UserError(f"full is set, but theta is {str(theta)!r}, which is no adapter.")
    inputs = Inputs(base, other, third, soup, more, union, full)
    for folder in inputs.named.values():
        check_links(folder)
    return inputs


def _check_third(theta_pre: Path | None, method: str, merge: Merge) -> None:
    """UserError unless theta_pre is given exactly where the method takes it."""
    if (theta_pre is not None) != merge.third:
        wanted = "needs theta-pre, the model that theta-0 was tuned from" if merge.third else "takes no theta-pre"
        raise UserError(f"theta-pre is {str(theta_pre) if theta_pre else None!r}, but method {method!r} {wanted}.")


def _differences(inputs: Inputs, ignore_config: Collection[str]) -> tuple[list[str], list[str]]:
    """(notes on settings that differ and on the folders, what is doubtful about tokenizers and an adapter's base), of all folders."""
    notes: list[str] = []
    doubts: list[str] = []
    for folder in (one for key, one in inputs.named.items() if key != "theta_0"):
        notes += [] if folder.is_adapter else check_config(inputs.base, folder, ignore_config)
        notes += note_on_templates(inputs.base, folder)
        doubts += check_tokenizers(inputs.base.path, folder.path, inputs.union)
        doubts += notes_on_base(inputs.base, folder) if folder.is_adapter else []
    notes += repeated(inputs.theta.path, inputs.soup)
    notes += [note for folder in inputs.named.values() for note in folder.notes]
    return notes, doubts


def _by_regression(
    plan: Plan, inputs: Inputs, recipe: Recipe, output: Output, out: Path, regression: "Regression"
) -> Plan:
    """The plan with what is merged by regression, which is done here."""
    from .regression import regress_files, size_made

    if plan.kind == "adapter":
        raise UserError("method = 'regmean' is not allowed with an adapter without --full: the result has no low rank.")
    if inputs.union:
        raise UserError("vocab = 'union' is not allowed with method regmean; allowed is same.")
    if inputs.others:
        raise UserError("with is not allowed with method regmean; allowed is one theta.")
    base, other = inputs.base, inputs.theta
    ends = [inputs.plan(replace(recipe, alphas=end, rule=None), Output()).chunks for end in (0.0, 1.0)]
    check_new(out, 2 * output.size(plan.tensors) - size_made(out))
    tokenizer = other.path if has_tokenizer(other.path) else base.path
    sources = [base, other]
    made = regress_files(regression, plan.like, tokenizer, plan.tensors, plan.settings, ends, out, sources, output)
    told = {part: f"layer{int(part) + 1}" if part.isdigit() else part for part in made.parts}  # layers count from 1
    labels = {name: f"regression, {told[part]}" for name, part in made.part_of.items()}
    shares = {name: made.parts[part].share for name, part in made.part_of.items()}
    groups = plan.resolved.groups | {labels[name]: share for name, share in shares.items()}
    resolved = replace(
        plan.resolved, groups=groups, assignment=plan.resolved.assignment | labels, ratios=plan.resolved.ratios | shares
    )
    chunks_ = lambda name: made.chunks(name) if name in made.tensors else plan.chunks(name)
    notes = plan.notes + made.notes(plan.tensors)
    details: dict[str, Any] = made.details | regression.described()
    return replace(plan, resolved=resolved, chunks=chunks_, notes=notes, formula=made.formula, details=details)


def _write(
    plan: Plan,
    models: dict[str, ModelFolder],
    out: Path,
    method: str,
    options: dict[str, Any],
    beside: dict[str, Source],
    output: Output,
    origin: Origin,
    progress: Callable[[int, int], None],
) -> Report:
    """Write the weights while hashing the sources, and what lies beside them, once all is sure to be of one moment."""
    files = layout(plan.like.files, (replace(t, dtype=output.type_of(t.dtype)) for t in plan.tensors.values()))
    done, total = 0, sum(file.size for file in files)
    sources = {key: [file.source for file in model.files] for key, model in models.items()}
    hashes = {key: FollowingHash(found) for key, found in sources.items()}

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    def followed(name: str) -> Iterator[Chunk]:
        for chunk in plan.chunks(name):
            yield chunk
            for key, span in (("theta_0", chunk.theta_0), ("theta", chunk.theta)):
                if span is not None:
                    hashes[key].follow(span.tensor.source, span.end)

    with atomic_folder(out, total) as folder, ExitStack() as threads:
        for hash_ in hashes.values():
            threads.enter_context(hash_)
        write_weights(files, folder, followed, count)
        write_index(plan.like, files, folder)
        typed = {} if plan.kind == "adapter" else output.settings(plan.like.config)
        write_beside(beside, plan.settings | typed | {"quantization_config": None}, folder)
        for hash_ in hashes.values():
            hash_.finish()
        digests = {key: hash_.hexdigests() for key, hash_ in hashes.items()}
        report = _report(plan, method, options, digests, output)
        write_card(folder, report, models, origin)
        for source in [*chain.from_iterable(sources.values()), *beside.values()]:
            source.check()
    return report


def _report(
    plan: Plan, method: str, options: dict[str, Any], hashes: dict[str, dict[str, str]], output: Output
) -> Report:
    resolved, kinds = plan.resolved, output.stored_as(plan.tensors)
    covered = {n: (resolved.assignment[n], resolved.ratios[n], t.shape) for n, t in plan.tensors.items()}
    return Report(
        plan.kind,
        method,
        options,
        resolved.groups,
        resolved.grouping,
        covered,
        [*plan.notes, *filter(None, [output.effect.warning(kinds)])],
        hashes,
        plan.formula,
        plan.details,
        output.effect.described(),
        kinds,
        output.rounding,
    )
