"""The claims of the paper, of the literature and of this project, in our words, each with the comparisons that test its parts.

A part expects one number on one side of a bound (0 where none is given). How it is estimated stands in the kinds' own files.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..metrics import BOUNDED, IN_TAXES, RANKS, SIGNS
from . import theory
from .association import PredictsBetter
from .change import Change, Model, best_of_its_own, extreme
from .comparisons import (
    AMA,
    BY_LAYER,
    DPO,
    DPO_MA,
    FINER,
    HOLDING_BACK,
    IMITATING,
    IN_EVERY_ITERATION,
    INCREASING,
    MA,
    MERGED,
    NAMES,
    ON_TWO_CORES,
    OWN,
    PENALTY,
    PERFECT,
    PERFECT_MA,
    PPO_MA,
    REAL,
    REGMEAN,
    REPLAY,
    SEVEN_BILLION,
    STOPPING,
    TEXT,
    THETA,
    THETA_0,
    TRAINED,
    UNTIED,
    Elsewhere,
    above_both_ends,
    adaptive,
    as_published,
    better_averages,
    calibration,
    changed_training,
    exploratory,
    held_back,
    middle_part,
    one_part,
    other_averages,
    patterns,
    real_averages,
    recommended,
    seven_billion,
    trade_off,
)
from .existence import Comparison, Some
from .front import Ahead, AheadOf


@dataclass(frozen=True)
class Claim:
    """id: C of the paper, L of the literature, P of this project; a letter tells two readings of one claim, or two networks,
    apart. paper: its figure, table or source. where: notebooks of this project, with their figures, by name.
    preset: on whose rows it is judged; "" for those of the ledger. local: it says where in the network something is, so that
    its verdict names the preset.
    """

    id: str
    name: str
    statement: str
    paper: str
    where: Mapping[str, tuple[str, ...]]
    parts: tuple[Comparison, ...]
    preset: str = ""
    local: bool = False


# A table: the formatter would give each argument a line of its own.
# fmt: off
CLAIMS: tuple[Claim, ...] = (
    Claim("C1", "The tax",
        "RLHF raises the reward and takes from reading comprehension and translation; question answering first gets "
        "better, then worse.", "fig. 12", {"training": ("fig12", "fig_tax")},
        (
            Change("learned reward: theta above theta_0", THETA, THETA_0, "reward"),
            Change("reading comprehension: theta below theta_0", THETA, THETA_0, "reading_f1", "below"),
            Change("translation: theta below theta_0", THETA, THETA_0, "bleu", "below"),
            Change("question answering: theta below theta_0", THETA, THETA_0, "qa", "below", deciding=False),
            Change("question answering: RSF's best iteration above theta_0", Model(STOPPING, choose=extreme("qa")),
                Model(STOPPING, 0.0), "qa", from_start=True),
            Change("question answering: theta below RSF's best iteration", Model(STOPPING),
                Model(STOPPING, choose=extreme("qa")), "qa", "below"),
        )),
    Claim("C2a", "The trade-off",
        "Every way to lower the tax pays for it in reward: stopping RLHF early, penalties on the weights, distillation, "
        "LoRA, moving averages.", "fig. 3", {"mitigations": ("fig03",)},
        (
            *trade_off("early stopping", Model(STOPPING), Model(STOPPING, 1.0)),
            *(line for name, route in TRAINED.items() for line in trade_off(name, Model(route), Model(route, 1.0))),
        )),
    Claim("C2b", "Averaging against other remedies",
        "At equal reward averaging the weights (MA) keeps more ability than stopping RLHF early, penalties on the weights, "
        "distillation, LoRA or moving averages.", "fig. 3",
        {"averaging": ("fig_fronts", "fig_advantage"), "mitigations": ("fig03",)},
        (
            Ahead("MA above early stopping", MA, STOPPING, needs="sweep learning-rates"),
            *(Ahead(f"MA above {name}", MA, route) for name, route in TRAINED.items()),
        )),
    Claim("C3", "Averaging against replay",
        "At equal reward averaging keeps more question answering and translation than mixing old training data into "
        "RLHF (experience replay), even four times as much of it; not more reading comprehension.", "fig. 7",
        {"mitigations": ("fig07",)},
        (
            Ahead("question answering: MA above replay", MA, REPLAY, "qa"),
            Ahead("translation: MA above replay", MA, REPLAY, "bleu"),
            AheadOf("question answering: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "qa"),
            AheadOf("translation: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "bleu"),
            Ahead("reading: MA below replay", MA, REPLAY, "reading_f1", "below", deciding=False),
            Ahead("MA above replay", MA, REPLAY, deciding=False),
        )),
    Claim("C4", "Averaging against the KL penalty",
        "At equal reward averaging after PPO keeps more ability than PPO with a stronger penalty on leaving theta_0.",
        "fig. 8", {"mitigations": ("fig08",)}, (Ahead("MA after PPO above PPO's KL penalties", PPO_MA, PENALTY),)),
    Claim("C5a", "One part alone",
        "Averaging the input layers alone can raise reward and abilities at once; the middle and the output layers only "
        "trade one for the other.", "fig. 4, 13", {"averaging": ("fig04-right", "fig_parts"), "algorithms": ("fig13",)},
        tuple(line for rlhf in NAMES for line in one_part(rlhf)), local=True),
    Claim("C5b", "One part alone, in a real model",
        "The same of a model that learned from natural text, by its log-likelihood of text.", "fig. 4",
        {"real_model": ()}, one_part("rsf", TEXT), preset=REAL, local=True),
    Claim("C6a", "Unequal ratios, as shares of theta",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta.", "fig. 9", {"ratios": ("fig09",)}, patterns("theta"), local=True),
    Claim("C6b", "Unequal ratios, as shares of theta_0",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta_0, as in its authors' code.", "fig. 9", {"ratios": ("fig09",)}, patterns("theta_0"),
        local=True),
    Claim("C6c", "Unequal ratios, as shares of theta, in a real model",
        "Some unequal ratios beat equal ones in a model that learned from natural text, by its log-likelihood of text; the "
        "paper's ratios read as shares of theta.", "fig. 9", {"real_model": ()}, patterns("theta", [TEXT]), preset=REAL,
        local=True),
    Claim("C6d", "Unequal ratios, as shares of theta_0, in a real model",
        "Some unequal ratios beat equal ones in a model that learned from natural text, by its log-likelihood of text; the "
        "paper's ratios read as shares of theta_0.", "fig. 9", {"real_model": ()}, patterns("theta_0", [TEXT]),
        preset=REAL, local=True),
    Claim("C7a", "Adaptive averaging",
        "Ratios chosen for each of three parts (AMA) keep more ability at equal reward than one ratio for all (MA), after "
        "RSF, DPO and PPO; more parts are slightly worse than three and still better than MA.", "fig. 5, 16",
        {"ratios": ("fig05-left", "fig05-right"), "algorithms": ("fig16",)},
        (
            *(adaptive(rlhf) for rlhf in NAMES),
            Ahead("RSF: AMA with a ratio a layer above MA", FINER, MA),
            Ahead("RSF: AMA with K = 3 above a ratio a layer", AMA, FINER),
            Ahead("RSF: AMA with K = 3 and the embeddings apart above MA", OWN, MA, deciding=False),
            *as_published(),
        ), local=True),
    Claim("C7b", "Adaptive averaging, in a real model",
        "Ratios chosen for each of three parts (AMA) keep more of a real model's log-likelihood of text at equal reward than "
        "one ratio for all (MA), after RSF.", "fig. 5", {"real_model": ()}, (adaptive("rsf", TEXT),), preset=REAL,
        local=True),
    Claim("C8a", "One ratio, 0.2, as a share of theta",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta.", "fig. 10, 11",
        {"ratios": ("fig10", "fig11", "fig_recommended")}, recommended(0.2)),
    Claim("C8b", "One ratio, 0.2, as a share of theta_0",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta_0, that is 0.8 of theta, "
        "as in the authors' code.", "fig. 10, 11", {"ratios": ("fig10", "fig11", "fig_recommended")}, recommended(0.8)),
    Claim("C9", "RSF against DPO", "RSF keeps more ability than DPO at equal reward; DPO's own tax is smaller.",
        "fig. 14", {"algorithms": ("fig14",)},
        (
            Ahead("RSF's iterations above DPO's", STOPPING, DPO),
            Change("abilities: DPO's theta above RSF's", Model(DPO), Model(STOPPING), IN_TAXES),
            Ahead("MA after RSF above MA after DPO", MA, DPO_MA, deciding=False),
        )),
    Claim("C10", "Ratios tuned on one ability",
        "Ratios tuned on labelled items of one ability (AdaMerging, on reading comprehension) do not keep the others: "
        "at equal reward they fall below plain averaging.", "fig. 15", {"ratios": ("fig15",)},
        (
            Ahead("question answering: AdaMerging below MA", MERGED, MA, "qa", "below"),
            Ahead("translation: AdaMerging below MA", MERGED, MA, "bleu", "below"),
            Ahead("reading: AdaMerging above MA", MERGED, MA, "reading_f1", deciding=False),
        )),
    Claim("C11", "Seven billion parameters",
        "AMA is above MA for models of seven billion parameters aligned by DPO, too.", "fig. 6, table 1",
        {"zephyr": ("fig06",)}, tuple(seven_billion(preset) for preset in SEVEN_BILLION)),
    Claim("C12a", "Theory: the conclusion",
        "In theory, with many features of which a fixed part is shared, averaging the weights of two models helps tasks with the same "
        "classes at least as much as tasks with none in common (Proposition 5.1's conclusion; its weight-space term is in arXiv "
        "2309.17230). With few features it can be the other way round, and at any number of them it is for two classes, by a "
        "little, where all but two or three are shared.", "section 5", {"theory": ("theory-proposition",)},
        (
            theory.Computed("20 features or more, at most three quarters of them shared: the smallest difference of the two gains",
                "finite", theory.smallest_of_many, "above", -theory.EXACT),
            theory.Computed("any features: the smallest difference", "finite", theory.smallest_difference, "below",
                deciding=False),
            theory.Computed("two classes, all but two or three features shared: sign of the largest difference", "finite",
                theory.largest_reversed, "below", deciding=False),
        )),
    Claim("C12b", "Theory: the formula",
        "The proposition's formula is that of averaged weights: tasks with the same classes always gain, tasks with "
        "none in common never do.", "section 5", {"theory": ("theory-proposition", "theory-effective")},
        (
            theory.Computed("the largest error of the printed terms", "proposition", theory.printed_error, "below",
                theory.EXACT),
            theory.Computed("the smallest gain with the same classes, unless all features are shared", "proposition",
                theory.smallest_gain, "above"),
            theory.Computed("the largest gain with no class in common", "proposition", theory.largest_unrelated_gain,
                "below", theory.EXACT),
        )),
    Claim("C12c", "Theory: overlap in a network",
        "What averaging a layer alone adds follows the gain that its graded overlap predicts, from the directions that the "
        "abilities and the alignment task use there: in the layers' order, and in sign (the paper explains by shared features why "
        "averaging helps, and tests it on no network).", "section 5", {"theory": ("theory-layers-measured",)},
        (
            theory.OfLayers("rank correlation over layers: predicted and measured gain of averaging a layer alone",
                theory.by_prediction),
            theory.OfLayers("layers whose measured gain has the predicted sign, less the others", theory.by_sign, SIGNS),
            theory.OfLayers("measured gain, mean over layers (half in taxes, half in rises of the reward)", theory.mean_gain,
                IN_TAXES, deciding=False),
            theory.OfLayers("rank correlation over layers: predicted above depth as a predictor of the measured gain",
                theory.beyond_depth, deciding=False),
            theory.OfLayers("rank correlation over layers: predicted loss, as if the tasks had no class in common, and measured gain",
                theory.by_apart, deciding=False),
            theory.OfLayers("rank correlation over layers: depth and measured gain", theory.by_depth, deciding=False),
            theory.OfLayers("rank correlation over layers: share of directions in common and measured gain", theory.by_share,
                deciding=False),
            theory.OfLayers("rank correlation over layers: predicted at equal ranks, and measured gain", theory.by_prediction_at_equal_ranks,
                deciding=False),
            *(Elsewhere(ON_TWO_CORES, theory.OfLayers(f"{words}, by log-likelihood of text", number, unit), deciding=False)
                for words, number, unit in (
                    ("rank correlation over layers: predicted and measured gain", theory.by_prediction, RANKS),
                    ("layers whose measured gain has the predicted sign, less the others", theory.by_sign, SIGNS),
                    ("rank correlation over layers: depth and measured gain", theory.by_depth, RANKS),
                    ("rank correlation over layers: share of directions in common and measured gain", theory.by_share, RANKS),
                    ("measured gain, mean over layers", theory.mean_gain, IN_TAXES))),
        )),
    Claim("L1", "What predicts the tax",
        "How far a model's replies are from those of theta_0 (forward KL per token on alignment prompts) predicts its tax "
        "better than how far its weights are.", "arXiv 2509.04259", {"methods": ("fig_methods_why",)},
        (
            PredictsBetter("forward KL ranks models by their tax better than weight displacement", "forward_kl",
                "weight_displacement"),
        )),
    Claim("L2", "Calibration",
        "Alignment costs calibration, and averaging gives some of it back while it keeps 95 % of the reward's rise.", "arXiv 2510.17426", {"averaging": ()},
        (
            *calibration("qa_ece", "expected calibration error"),
            *calibration("qa_brier", "Brier score"),
        )),
    Claim("L3", "Better than both ends", "Some average is better than theta_0 and theta in some ability.",
        "arXiv 2203.05482", {"averaging": ("fig_fronts",)},
        (
            Some("MA at its best ratio above both ends", {metric: above_both_ends(metric) for metric in BOUNDED},
                ("MA at its best ratio above theta_0 in some ability", "MA at its best ratio above theta in some ability")),
        )),
    Claim("L4", "Ratios that rise with the layer",
        "Ratios that rise from the first layer to the last (LiNeS) keep more ability at equal reward than equal ones.",
        "arXiv 2410.17146", {"methods": ("fig_methods",), "algorithms": ("fig_better_averages",)},
        (Ahead("LiNeS above MA", INCREASING, MA), *real_averages({"LiNeS": INCREASING}, MA, "MA")),
        local=True),
    Claim("P1", "The share saved",
        "At equal reward and at the same learning rate averaging saves a part of the tax that early stopping pays, in a synthetic "
        "world and in a real model.", "",
        {"averaging": ("fig_fronts",), "real_model": ("fig_real_fronts",)},
        (
            Ahead("MA above early stopping", MA, STOPPING, own_rate=True),
            Elsewhere(ON_TWO_CORES, Ahead("MA above early stopping, log-likelihood of text", MA, STOPPING, TEXT)),
            exploratory(UNTIED, Ahead("MA above early stopping", MA, STOPPING, own_rate=True)),
            exploratory(REAL, Ahead("MA above early stopping, log-likelihood of text", MA, STOPPING, TEXT, own_rate=True)),
            Ahead("MA above early stopping, each at its best rates", MA, STOPPING, deciding=False,
                needs="sweep learning-rates"),
        )),
    Claim("P2", "The middle part, in a real model",
        "Putting only the middle layers of a model that learned from natural text back to theta_0 keeps more of its "
        "log-likelihood of text than averaging all layers to the same reward.", "", {"real_model": ("fig_real_parts",)},
        middle_part(), preset=ON_TWO_CORES, local=True),
    Claim("P3", "Regression averaging",
        "At equal reward regression averaging on the two models' own samples keeps more ability than one ratio for all weights (MA) "
        "and than ratios that rise with the layer (LiNeS).", "", {"methods": ("fig_methods",)},
        (
            Ahead("regression averaging above MA", REGMEAN, MA),
            Ahead("regression averaging above LiNeS", REGMEAN, INCREASING),
            *real_averages({"regression averaging": REGMEAN, "regression averaging by layer": BY_LAYER}, MA, "MA"),
            *real_averages({"regression averaging": REGMEAN, "regression averaging by layer": BY_LAYER}, INCREASING, "LiNeS"),
        )),
    Claim("P4", "A perfect reward model",
        "The tax is not a matter of over-optimisation alone: RSF on the gold reward itself, a perfect reward model, pays one too, and "
        "averaging saves a part of it.", "", {"methods": ()},
        (
            Change("abilities: theta of RSF on gold below theta_0", Model(PERFECT), Model(PERFECT, 0.0), IN_TAXES, "below"),
            Ahead("RSF on gold: MA above early stopping", PERFECT_MA, PERFECT, by="gold_reward"),
        )),
    Claim("P5", "Averaging and over-optimisation",
        "Where RSF's learned reward goes on to rise while the gold reward falls, averaging repairs it: at some ratio the gold "
        "reward is above theta's, and above that of every iteration of RSF.", "", {"averaging": ("fig_fronts",)},
        tuple(
            Change(f"gold reward: MA at its best ratio above {name}", Model(MA, choose=extreme("gold_reward")), model, "gold_reward")
            for name, model in (
                ("theta", Model(STOPPING)), ("RSF's best iteration", Model(STOPPING, choose=best_of_its_own("gold_reward"))),
            )
        )),
    Claim("P6", "Regression averaging by layer",
        "With a lambda that falls from layer to layer, so that deep layers follow theta as in LiNeS, regression averaging keeps more "
        "ability at equal reward than with one lambda, than LiNeS and than MA.", "", {"methods": ("fig_methods",)},
        (
            Ahead("regression averaging by layer above MA", BY_LAYER, MA),
            Ahead("regression averaging by layer above LiNeS", BY_LAYER, INCREASING),
            Ahead("regression averaging by layer above regression averaging", BY_LAYER, REGMEAN),
        )),
    Claim("P7", "After DPO and PPO, too",
        "After DPO and PPO, too, ratios that rise with the layer (LiNeS) and regression averaging, with one lambda or by layer, keep more "
        "ability at equal reward than one ratio for all weights (MA).", "", {"algorithms": ("fig_better_averages",)},
        tuple(line for rlhf in ("dpo", "ppo") for line in better_averages(rlhf, "merging-others", NAMES[rlhf]))),
    Claim("P8", "Against remedies in every iteration",
        "Averaging after RSF (MA) keeps more ability at equal reward than the remedies of C2b and C3 where they act in every iteration "
        "of RSF, so that it samples from the models that they make.", "", {"mitigations": ("fig_on_policy",)},
        tuple(Ahead(f"MA above {name}, in every iteration", MA, route) for name, route in IN_EVERY_ITERATION.items())),
    Claim("P9", "Regression averaging against remedies",
        "Regression averaging after RSF, with one lambda, keeps more ability at equal reward than the remedies of C2b and C3, whether "
        "they imitate RSF's samples or act in every iteration of it.", "",
        {"mitigations": ("fig03", "fig_on_policy"), "methods": ("fig_methods",)},
        tuple(Ahead(f"regression averaging above {name}", REGMEAN, route) for name, route in IMITATING.items())
        + tuple(Ahead(f"regression averaging above {name}, in every iteration", REGMEAN, route)
                for name, route in IN_EVERY_ITERATION.items())),
    Claim("P10", "With a perfect reward model, too",
        "After RSF on the gold reward itself, too, ratios that rise with the layer (LiNeS) and regression averaging, with one lambda or by "
        "layer, keep more ability at equal gold reward than one ratio for all weights (MA).", "", {"algorithms": ("fig_perfect_reward",)},
        better_averages("rsf-gold", "merging-gold", "RSF on gold", "gold_reward")),
    Claim("P11", "Regression averaging against changed training",
        "Regression averaging after RSF, with one lambda, keeps more ability at equal reward than methods of the literature that change "
        "RSF's training: a KL penalty to theta_0 or to a moving average, moving averages of the weights (EMA, BEMA), WARP, online "
        "merging (OnDARE, OnTIES), projected gradients (OGPSA, NSPO). Seed 10 suggested this, and does not count.", "", {"methods": ("fig_methods_groups",)},
        changed_training()),
    Claim("P12", "Held back in training",
        "A method that holds RSF back while it trains (a KL penalty to theta_0 or to a moving average, WARP, OnTIES) reaches more gold "
        "reward at its best strength than RSF at its best iteration and MA at its best ratio: it prevents over-optimisation, which "
        "averaging could at most undo. Seed 10 suggested this, and does not count.", "", {"methods": ("fig_methods_groups",)},
        tuple(line for name, route in HOLDING_BACK.items() for line in held_back(name, route))),
    Claim("P13", "Regression averaging against other averages",
        "Regression averaging after RSF, with one lambda, keeps more ability at equal reward than each other way to average, merge or "
        "mix models after training that was measured on twelve seeds, at the best of its settings (MA and LiNeS: P3). Planned before any of "
        "these rows; written down as a claim when a table had shown them.", "", {"methods": ("fig_methods_groups",)},
        other_averages()),
    Claim("P14", "LiNeS against adaptive averaging",
        "Ratios that rise from the first layer to the last (LiNeS) keep more ability at equal reward than those that AMA finds for three "
        "parts. Planned and written down as P13.", "", {"methods": ("fig_methods_groups",)},
        (Ahead("LiNeS above AMA with K = 3", INCREASING, AMA),), local=True),
)
# fmt: on
