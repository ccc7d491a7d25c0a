"""Sections of presets that our own training loop runs: one of a stage each, with what it costs (`llm.plan`)."""

from math import comb
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .base import Count, Items, Lengths, Positive, Rate, Settings, Share, Work, refused

ROUNDING = 1e-9  # how far from what was meant a sum of shares may be


def _shares(shares: dict[float, float]) -> dict[float, float]:
    if sum(shares.values()) > 1 + ROUNDING:
        raise refused(f"the shares sum to {sum(shares.values()):g}; allowed is at most 1")
    return shares


class Optimiser(Settings):
    """AdamW, with linear warm-up and then a constant rate or a cosine to `final_share` of it."""

    lr: Rate
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    final_share: Share

    def at(self, lr: float | None) -> "Optimiser":
        """The same at another rate; None: at its own."""
        return self if lr is None else self.model_copy(update={"lr": lr})


OWN_SAMPLES = 256  # texts by which a model shows what its inputs are like; fewer did as well (docs/log.md)
OWN_LENGTH = 64  # new tokens of those that are no replies


class Trained(Settings):
    """A stage that trains, and what its memory and disk are planned by."""

    trained_at_once: ClassVar[int] = 1  # models
    frozen_beside: ClassVar[int] = 0  # models that only read while others learn
    sequences: ClassVar[int] = 1  # in an example: a pair has two
    kept_optimisers: ClassVar[int] = 0  # states left behind by each iteration, from which a killed run goes on


class Preferences(Settings):
    """Where compared replies come from, and how noisy the labels are."""

    pairs: Count
    test_pairs: Count
    # temperature -> share of the replies that theta_0 writes at it; the rest is by the source's own writers
    temperatures: Annotated[dict[Positive, Share], Field(min_length=1), AfterValidator(_shares)]
    noise_scale: Annotated[float, Field(gt=0)]  # P(label agrees) = sigmoid(noise_scale * |gold difference|)

    def work(self, lengths: Lengths) -> Work:
        """Two replies a pair, by theta_0 at most."""
        return Work(read=lengths.prompt, written=lengths.reply) * (2 * (self.pairs + self.test_pairs))

    @property
    def written_share(self) -> float:
        """The share of the replies that the source's own writers write."""
        rest = 1 - sum(self.temperatures.values())
        return rest if rest > ROUNDING else 0.0


class Reward(Trained):
    """The head of one output begins with what a body of normal activations is spread by (`drawn`), or silent (`zero`): a drawn
    one gives replies of a large body rewards that differ by as much as what is learned (docs/log.md). Or it is `fitted` to the
    pairs before the body is trained, if it is at all: few pairs say too little for a body (docs/log.md).
    """

    head: Literal["drawn", "zero", "fitted"]
    penalty: Positive | None  # of a fitted head, on its squared size (`llm.stages.reward`)
    layers: Count | None  # theta_0's first ones that the reward model is made of; null: all
    pooling: Literal["last", "mean"]  # whether the head reads the last token, or the mean over the reply's
    batch: Count
    epochs: Annotated[int, Field(ge=0)]  # over the pairs, with all weights; 0: the head alone is fitted
    optimiser: Optimiser

    sequences: ClassVar[int] = 2

    def work(self, lengths: Lengths) -> Work:
        """The fit to all pairs; its body may be a part of the policy's."""
        once = Work(read=lengths.whole * (self.head == "fitted"), trained=lengths.whole * self.epochs)
        return once * (2 * lengths.pairs * lengths.depth)

    @model_validator(mode="after")
    def _something_is_fitted(self) -> Self:
        if (self.head == "fitted") != (self.penalty is not None):
            raise refused(
                f"penalty = {self.penalty} is not allowed with head {self.head}; a fitted head needs one, others have none"
            )
        if self.epochs == 0 and self.head != "fitted":
            raise refused(
                f"epochs = 0 is not allowed with head {self.head}; allowed are integers >= 1, and 0 with a fitted head"
            )
        return self


class Renewal(Settings):
    """Pairs drawn anew from what RSF makes of theta_0 by the reward model so far, which then learns from all pairs anew."""

    rounds: Count
    pairs: Count  # that a round adds
    iterations: Count  # of RSF in each round: more than the preset's own show where its reward would be over-optimised

    def work(self, lengths: Lengths) -> Work:
        """Of a round's pairs: two replies each."""
        return Work(read=lengths.prompt, written=lengths.reply) * (2 * self.pairs)


class BestOfN(Trained):
    """Best of n, iterated: the numbers of RSF that both backends have."""

    iterations: Count
    prompts: Count  # an iteration
    samples: Count  # n, a prompt

    frozen_beside: ClassVar[int] = 1  # the reward model

    def _work(self, lengths: Lengths, epochs: int) -> Work:
        """Every sample is scored, and the best of each prompt learned from."""
        learned = Work(trained=self.prompts * epochs * lengths.whole)
        return (lengths.sampled * (self.prompts * self.samples) + learned) * self.iterations


class Rsf(BestOfN):
    temperature: Annotated[float, Field(gt=0)]
    epochs: Count
    batch: Count
    optimiser: Optimiser

    def work(self, lengths: Lengths) -> Work:
        return self._work(lengths, self.epochs)


class Dpo(Trained):
    """Direct preference optimisation; the optimiser's cosine spans the whole run."""

    beta: Positive  # how strongly the policy is held to theta_0 (the paper's KL coefficient)
    iterations: Count  # checkpoints, equally spaced over the epochs
    epochs: Count
    batch: Count  # pairs a step
    optimiser: Optimiser

    frozen_beside: ClassVar[int] = 1  # theta_0
    sequences: ClassVar[int] = 2
    kept_optimisers: ClassVar[int] = 1

    def work(self, lengths: Lengths) -> Work:
        """theta_0 reads every pair once, before training."""
        tokens = 2 * lengths.pairs * lengths.whole
        return Work(trained=tokens * self.epochs, read=tokens)


class Collapse(Settings):
    """When PPO counts as collapsed: an iteration against the mean of the `window` before it; and what is done then."""

    window: Count
    reward_drop: Positive  # a mean reward lower by more than this
    shortest: Share  # replies shorter than this share of the usual length
    cut_off: Share  # a share of unfinished replies higher by more than this
    critic_loss: Annotated[float, Field(gt=1)]  # a critic's loss higher by more than this factor
    back: Count  # iterations that a restart goes back
    restarts: Annotated[int, Field(ge=0)]  # at most


class Proximal(Trained):
    """Proximal policy optimisation: the numbers of PPO that both backends have."""

    iterations: Count
    prompts: Count  # replies collected an iteration, one a prompt
    epochs: Count  # over the replies of an iteration
    batch: Count
    eta: Annotated[float, Field(ge=0)]  # KL penalty in the reward
    gamma: Share
    gae_lambda: Share
    clip: Positive  # of the ratio of policies
    value_clip: Positive  # of the critic's change, in the unit of the reward
    collapse: Collapse

    trained_at_once: ClassVar[int] = 2  # policy and critic
    frozen_beside: ClassVar[int] = 2  # theta_0 and the reward model
    kept_optimisers: ClassVar[int] = 2

    def work(self, lengths: Lengths) -> Work:
        """theta_0 and the critic read every reply before policy and critic learn from it."""
        learned = Work(trained=2 * self.epochs * lengths.whole, read=2 * lengths.whole)
        return (lengths.sampled + learned) * (self.prompts * self.iterations)

    def name_of(self, eta: float) -> str:
        """What folders and the graph call a penalty: `own` for the preset's, so that it is not trained twice."""
        return "own" if eta == self.eta else f"{eta:g}"


class Ppo(Proximal):
    """The optimisers' cosines span all iterations."""

    baseline: float | Literal["theta_0"]  # taken from every reward; theta_0: the mean reward of its replies
    optimiser: Optimiser
    critic_optimiser: Optimiser


class Until(Settings):
    """When alignment stops (`llm.stages.stopping`): at theta_0's learned reward and `share` of RSF's rise, on validation prompts."""

    share: Rate
    prompts: Items

    def work(self, lengths: Lengths, models: int) -> Work:
        """One reply a prompt, of theta_0 and of every iteration."""
        return lengths.sampled * (self.prompts * (1 + models))


class Distil(Settings):
    """Fine-tuning of theta_0 on all samples that RSF chose, with or without a mitigation."""

    epochs: Count
    batch: Count
    optimiser: Optimiser

    def work(self, samples: int, lengths: Lengths) -> Work:
        """One model's; what a mitigation adds to it is not counted."""
        return Work(trained=samples * self.epochs * lengths.whole)


class Ama(Settings):
    """How ratios are optimised. AdaMerging takes `draw` labelled items instead of samples, and the rest as it is."""

    prompts: Count
    samples: Count
    keep: Count
    draw: Count
    steps: Count
    batch: Count
    lr: Rate

    def work(self, lengths: Lengths, alphas: tuple[float, ...], variants: int) -> Work:
        """The samples, once, and the ratios of each mean ratio and variant of an entry."""
        learned = Work(trained=self.steps * self.batch * lengths.whole)
        return lengths.sampled * (self.prompts * self.samples) + learned * (len(alphas) * variants)

    def labelled_work(self, lengths: Lengths, alphas: tuple[float, ...], variants: int) -> Work:
        """AdaMerging's: from passages and their answers, which nothing generates."""
        return Work(trained=self.steps * self.batch * lengths.passage) * (len(alphas) * variants)


class Oracle(Settings):
    """Search of Omega on a lattice: every point on `screen` prompts, the best `finalists` of them on `prompts`."""

    step: Rate  # between neighbouring ratios
    screen: Items
    finalists: Count
    prompts: Items

    def points(self, alpha: float, groups: int = 3) -> int:
        """How many points `llm.averaging.ama.oracle.lattice` has: sums of `groups` numbers in 0..top, by inclusion and exclusion."""
        top, total = round(1 / self.step), round(groups * alpha / self.step)
        sums = [(k, total - k * (top + 1)) for k in range(groups + 1)]
        return sum((-1) ** k * comb(groups, k) * comb(rest + groups - 1, groups - 1) for k, rest in sums if rest >= 0)

    def work(self, lengths: Lengths, alphas: tuple[float, ...], variants: int) -> Work:
        """Replies to all points' screening prompts and the finalists' prompts; each variant is a reward that chooses."""
        screened = sum(self.points(alpha) for alpha in alphas) * self.screen
        return lengths.sampled * (screened + len(alphas) * variants * self.finalists * self.prompts)

    @model_validator(mode="after")
    def _screen_is_part_of_the_prompts(self) -> Self:
        if self.screen > self.prompts:
            raise refused(
                f"screen = {self.screen} is not allowed with prompts = {self.prompts}; allowed is at most as many"
            )
        return self
