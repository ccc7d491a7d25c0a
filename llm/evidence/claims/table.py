"""The claims of the paper, in our words, each with the comparisons that test its parts (`llm.evidence.claims.parts`)."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..metrics import IN_TAXES
from . import theory
from .change import Change, Model, highest
from .front import Ahead, AheadAtBestRates, AheadOf
from .parts import (
    AMA,
    DPO,
    DPO_MA,
    ELSEWHERE,
    FINER,
    MA,
    MERGED,
    NAMES,
    OWN,
    PENALTY,
    PPO_MA,
    REPLAY,
    STOPPING,
    THETA,
    THETA_0,
    TRAINED,
    Comparison,
    adaptive,
    elsewhere,
    one_part,
    patterns,
    recommended,
    trade_off,
)


@dataclass(frozen=True)
class Claim:
    """id: a letter tells two readings of one claim apart. paper: its figure or table. where: notebooks of this project, with
    their figures, by name.
    """

    id: str
    name: str
    statement: str
    paper: str
    where: Mapping[str, tuple[str, ...]]
    parts: tuple[Comparison, ...]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "C1",
        "The tax",
        "RLHF raises the reward and takes from reading comprehension and translation; question answering first gets "
        "better, then worse.",
        "fig. 12",
        {"training": ("fig12", "fig_tax")},
        (
            Change("learned reward: theta above theta_0", THETA, THETA_0, "reward"),
            Change("reading comprehension: theta below theta_0", THETA, THETA_0, "reading_f1", "below"),
            Change("translation: theta below theta_0", THETA, THETA_0, "bleu", "below"),
            Change(
                "question answering: RSF's best iteration above theta_0",
                Model(STOPPING, choose=highest("qa")),
                Model(STOPPING, 0.0),
                "qa",
            ),
            Change(
                "question answering: theta below RSF's best iteration",
                Model(STOPPING),
                Model(STOPPING, choose=highest("qa")),
                "qa",
                "below",
            ),
        ),
    ),
    Claim(
        "C2",
        "Averaging against other remedies",
        "Every way to lower the tax pays for it in reward, and at equal reward averaging the weights (MA) keeps more "
        "ability than stopping RLHF early, penalties on the weights, distillation, LoRA or moving averages.",
        "fig. 3",
        {"averaging": ("fig_fronts", "fig_advantage"), "mitigations": ("fig03",)},
        (
            AheadAtBestRates("MA above early stopping", MA, STOPPING, needs="sweep learning-rates"),
            *(AheadAtBestRates(f"MA above {name}", MA, route) for name, route in TRAINED.items()),
            *trade_off("early stopping", Model(STOPPING), Model(STOPPING, 1.0)),
            *(line for name, route in TRAINED.items() for line in trade_off(name, Model(route), Model(route, 1.0))),
        ),
    ),
    Claim(
        "C3",
        "Averaging against replay",
        "At equal reward averaging keeps more question answering and translation than mixing old training data into "
        "RLHF (experience replay), even four times as much of it; not more reading comprehension.",
        "fig. 7",
        {"mitigations": ("fig07",)},
        (
            AheadAtBestRates("question answering: MA above replay", MA, REPLAY, "qa"),
            AheadAtBestRates("translation: MA above replay", MA, REPLAY, "bleu"),
            AheadOf("question answering: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "qa"),
            AheadOf("translation: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "bleu"),
            AheadAtBestRates("reading: MA below replay", MA, REPLAY, "reading_f1", "below", deciding=False),
            AheadAtBestRates("MA above replay", MA, REPLAY, deciding=False),
        ),
    ),
    Claim(
        "C4",
        "Averaging against the KL penalty",
        "At equal reward averaging after PPO keeps more ability than PPO with a stronger penalty on leaving theta_0.",
        "fig. 8",
        {"mitigations": ("fig08",)},
        (Ahead("MA after PPO above PPO's KL penalties", PPO_MA, PENALTY),),
    ),
    Claim(
        "C5",
        "One part alone",
        "Averaging the input layers alone can raise reward and abilities at once; the middle and the output layers only "
        "trade one for the other.",
        "fig. 4, 13",
        {"averaging": ("fig04-right", "fig_parts"), "algorithms": ("fig13",)},
        tuple(line for rlhf in NAMES for line in one_part(rlhf)),
    ),
    Claim(
        "C6a",
        "Unequal ratios, as shares of theta",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta.",
        "fig. 9",
        {"ratios": ("fig09",)},
        patterns("theta"),
    ),
    Claim(
        "C6b",
        "Unequal ratios, as shares of theta_0",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta_0, as in its authors' code.",
        "fig. 9",
        {"ratios": ("fig09",)},
        patterns("theta_0"),
    ),
    Claim(
        "C7",
        "Adaptive averaging",
        "Ratios chosen for each of three parts (AMA) keep more ability at equal reward than one ratio for all (MA), after "
        "RSF, DPO and PPO; more parts are slightly worse than three and still better than MA.",
        "fig. 5, 16",
        {"ratios": ("fig05-left", "fig05-right"), "algorithms": ("fig16",)},
        (
            *(adaptive(rlhf) for rlhf in NAMES),
            Ahead("RSF: AMA with K = 6 above MA", FINER, MA, same_steps=True),
            Ahead("RSF: AMA with K = 3 above K = 6", AMA, FINER, same_steps=True),
            Ahead("RSF: AMA with K = 3 and the embeddings apart above MA", OWN, MA, same_steps=True, deciding=False),
        ),
    ),
    Claim(
        "C8a",
        "One ratio, 0.2, as a share of theta",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta.",
        "fig. 10, 11",
        {"ratios": ("fig10", "fig11", "fig_recommended")},
        recommended(0.2),
    ),
    Claim(
        "C8b",
        "One ratio, 0.2, as a share of theta_0",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta_0, that is 0.8 of theta, "
        "as in the authors' code.",
        "fig. 10, 11",
        {"ratios": ("fig10", "fig11", "fig_recommended")},
        recommended(0.8),
    ),
    Claim(
        "C9",
        "RSF against DPO",
        "RSF keeps more ability than DPO at equal reward; DPO's own tax is smaller.",
        "fig. 14",
        {"algorithms": ("fig14",)},
        (
            Ahead("RSF's iterations above DPO's", STOPPING, DPO),
            Change("abilities: DPO's theta above RSF's", Model(DPO), Model(STOPPING), IN_TAXES),
            Ahead("MA after RSF above MA after DPO", MA, DPO_MA, deciding=False),
        ),
    ),
    Claim(
        "C10",
        "Ratios tuned on one ability",
        "Ratios tuned on labelled items of one ability (AdaMerging, on reading comprehension) do not keep the others: "
        "at equal reward they fall below plain averaging.",
        "fig. 15",
        {"ratios": ("fig15",)},
        (
            Ahead("question answering: AdaMerging below MA", MERGED, MA, "qa", "below", same_steps=True),
            Ahead("translation: AdaMerging below MA", MERGED, MA, "bleu", "below", same_steps=True),
            Ahead("reading: AdaMerging above MA", MERGED, MA, "reading_f1", same_steps=True, deciding=False),
        ),
    ),
    Claim(
        "C11",
        "Seven billion parameters",
        "AMA is above MA for models of seven billion parameters aligned by DPO, too.",
        "fig. 6, table 1",
        {"zephyr": ("fig06",)},
        tuple(elsewhere(preset) for preset in ELSEWHERE),
    ),
    Claim(
        "C12a",
        "Theory: the conclusion",
        "In theory, averaging two models helps tasks with the same classes more than tasks with none in common "
        "(Proposition 5.1's conclusion).",
        "section 5",
        {"theory": ("theory-proposition",)},
        (
            theory.Computed(
                "the smallest difference of the two gains, unless all features are shared",
                "proposition",
                theory.smallest_difference,
                "above",
            ),
        ),
    ),
    Claim(
        "C12b",
        "Theory: the formula",
        "The proposition's formula is that of averaged weights: tasks with the same classes always gain, tasks with "
        "none in common never do.",
        "section 5",
        {"theory": ("theory-proposition", "theory-effective")},
        (
            theory.Computed(
                "the largest error of the printed terms", "proposition", theory.printed_error, "below", theory.EXACT
            ),
            theory.Computed(
                "the smallest gain with the same classes, unless all features are shared",
                "proposition",
                theory.smallest_gain,
                "above",
            ),
            theory.Computed(
                "the largest gain with no class in common",
                "proposition",
                theory.largest_unrelated_gain,
                "below",
                theory.EXACT,
            ),
        ),
    ),
)
