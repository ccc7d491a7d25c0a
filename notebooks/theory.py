# %% [markdown]
# # When does averaging two models help?
#
# Two neural networks, averaged weight by weight, often do better than either. Sometimes they do worse. This
# notebook explains both with a model simple enough to be solved: classifiers that add up the votes of many
# unreliable features. It is the model of "Mitigating the Alignment Tax of RLHF" (section 5 and appendix F; it
# goes back to Lin et al., "Spurious feature diversification improves out-of-distribution generalization"),
# worked out anew from its definitions. The conclusion that the paper draws survives; two of the terms in its
# Proposition 5.1 do not, and what replaces them says something new: with many weak features **averaging helps exactly when it raises
# the *effective number* of features**, and averaging the weights of two models that share most of their
# features lowers it.
#
# The vote weights of two averaged models of one task, 1 and 4, stand in that earlier paper already (arXiv 2309.17230,
# as $n_s + n_{s^*} + 14\,n_{so}$). New here are tasks without a common class, every ratio, the threshold at half of the
# features, exact accuracies at finite $n$ and for many classes, error exponents, overlap by degrees, and a ratio per feature.
#
# Everything that is drawn here was computed by the package `theory` and is read from `results/theory`; `make
# theory` computes and draws it again. Numbers in sentences are put in from the tables.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm

from drawing import sentences, style
from drawing.panels import seed_count
from llm.evidence.claims.theory import MANY
from theory.fronts import crossings

style.use()
LOOKS, INK, GREY = style.THEORY_LOOKS, style.INK, style.GREY
CASES = {"identical": "case 1: the same classes", "disjoint": "case 2: no class in common"}


def read(name: str) -> pd.DataFrame:
    """One table of results/theory."""
    return pd.read_csv(style.results("theory") / f"{name}.csv")


def sizes(frame: pd.DataFrame) -> str:
    """The sizes that are the same in all of a table, for the foot of a figure."""
    names = {"n": "n = {} features", "n_o": "{} shared", "n_classes": "K = {} classes", "p": "p = {}"}
    one = [
        text.format(frame[key].iloc[0])
        for key, text in names.items()
        if frame.get(key, pd.Series(dtype=float)).nunique() == 1
    ]
    return ", ".join(one)


def numbers_of(statement: str) -> dict[str, float]:
    """The numbers of one statement in results/theory/statements.csv."""
    table = read("statements")
    return table[table["statement"] == statement].set_index("number")["value"].to_dict()


# %% [markdown]
# ## 1. A model made of weak features
#
# **The data.** A label $y$ is drawn evenly from $M$ classes, written as unit vectors $e_1, \dots, e_M$. What
# a network sees are $N$ features,
#
# $$x_i \mid y \ \sim\ \mathcal N(\mu_i Q_i\, y,\ \sigma^2 I), \qquad i = 1, \dots, N,$$
#
# where the vectors $\mu_i(1), \dots, \mu_i(M)$, the columns of $\mu_i$, are orthonormal over all features and
# classes. The random matrix $Q_i$ makes the feature *weak*: each of its columns is right ($Q_i e_m = e_m$)
# with probability $1 - p$, and with probability $p$ it is a class drawn at random. With little noise, feature
# $i$ therefore simply *votes* for one class,
#
# $$q_i = Q_i\, y, \qquad P(q_i = y) = 1 - p + \frac pK, \qquad
# P(q_i = j) = \frac pK \ \text{ for each wrong class } j,$$
#
# when failed votes fall on the $K$ classes of the task. (The paper's text draws them from all $M$ labels, its
# covariance matrix from the $K$ of the task. The covariance is what its results rest on, so we follow it; the
# package offers both.)
#
# **A model.** A network is $f = (w, \Phi)$: $\Phi \in \{0, 1\}^N$ says which features its body computes, $w$
# is its head. The score of class $k$ is $w(k)^\top \sum_i \Phi_i x_i$. Training on a task with classes
# $\mathcal Y$ (least cross-entropy with a little weight decay) gives every used feature the same say,
#
# $$w(k) \propto \sum_{i:\, \Phi_i = 1} \mu_i(k) \quad (k \in \mathcal Y), \qquad
# w(k) = 0 \quad (k \notin \mathcal Y),$$
#
# up to a term common to all classes, which changes no decision. **Why the same say:** as the weight decay tends to 0, the
# cross-entropy tends to its least value over all $w$, which the true posterior has. Votes are independent given the label,
# so the posterior is naive Bayes: $\log P(k \mid q) = \text{const} + \sum_i \beta\,[q_i = k]$ with
# $\beta = \log P(\text{right}) - \log P(\text{one wrong class}) = \log\left(1 + K(1-p)/p\right)$. It is linear in $x$, hence reached,
# and $\beta$ is the same for all features of one $p$, however many there are. Since the $\mu_i(k)$ are orthonormal, the
# score of class $k$ is a count of votes, $\sum_i \Phi_i\,[q_i = k]$. One feature is hardly better than a
# guess; $n$ of them together are a good classifier, because errors are spread over many classes while the
# right votes pile up on one.
#
# **Two tasks.** Tasks $a$ and $b$ have $K$ classes each and are learned by two models with $n$ features each,
# $n_o$ of them the same. Think of $a$ as what $\theta_0$ can do and of $b$ as what RLHF teaches. In **case
# 1** the two tasks have the same classes, $\mathcal Y_a = \mathcal Y_b$; in **case 2** they have none in
# common. The paper compares the two to argue that averaging helps where tasks are related: more in the lower
# layers of a network than in the upper ones.
#
# ## 2. What averaging does to the votes
#
# Averaging weights averages *both* factors, $w = (1-\alpha) w_a + \alpha w_b$ and $\Phi = (1-\alpha)\Phi_a +
# \alpha\Phi_b$. Write $a_i, b_i \in \{0, 1\}$ for "feature $i$ belongs to model $a$ ($b$)". By orthonormality
# the score of class $k$ is $\sum_i v_i(k)\,[q_i = k]$ with the **vote weight**
#
# $$v_i(k) =
# \underbrace{\big((1-\alpha)\,a_i\,[k \in \mathcal Y_a] +
# \alpha\, b_i\,[k \in \mathcal Y_b]\big)}_{\text{head}}
# \ \underbrace{\big((1-\alpha)\,a_i + \alpha\, b_i\big)}_{\text{body}} .$$
#
# Averaging the *outputs* of the two models instead averages the products, not the factors:
#
# $$v_i(k) = (1-\alpha)\,a_i\,[k \in \mathcal Y_a] + \alpha\, b_i\,[k \in \mathcal Y_b] .$$
#
# At $\alpha = \tfrac12$, up to a factor that changes no decision:
#
# | | features of $a$ only | of $b$ only | shared |
# |---|---|---|---|
# | how many | $n - n_o$ | $n - n_o$ | $n_o$ |
# | one model ($a$) | 1 | 0 | 1 |
# | case 1, weights | 1 | 1 | **4** |
# | case 1, outputs | 1 | 1 | 2 |
# | case 2, weights, tested on $a$ | 1 | 0 | **2** |
# | case 2, outputs, tested on $a$ | 1 | 0 | 1 |
#
# A shared feature counts four times in case 1: the two heads add up to 2, the two bodies to 2, and the score
# multiplies them. In case 2 the head of $b$ has nothing to say about the classes of $a$, but the bodies still
# add up, so that a shared feature counts twice. (For any ratio: in case 1 $a$'s own features carry
# $(1-\alpha)^2$, $b$'s own $\alpha^2$, shared ones 1; in case 2, tested on $a$, its own carry $1-\alpha$ and
# the shared ones 1.)
#
# ## 3. From votes to accuracy: the effective number of features
#
# The *margin* of one feature between the right class and the wrong class $j$ is $z_j = [q = y] - [q = j]$. It
# is $1$ with probability $1 - p + p/K$, $-1$ with probability $p/K$, and else $0$. So
#
# $$\mathbb E z_j = 1 - p, \qquad
# \operatorname{Var} z_j = 1 - p + \tfrac{2p}K - (1-p)^2 = \frac{p\,(K + 2 - pK)}K ,$$
# $$\operatorname{Cov}(z_i, z_j) = P(q = y) - (1-p)^2 = \frac{p\,(K + 1 - pK)}K \qquad (i \ne j),$$
#
# which is the paper's $\Sigma$. Features are independent, so with vote weights $v_i$ the $K - 1$ margins of
# the classifier have mean $(1-p)\sum_i v_i$ and covariance $\Sigma \sum_i v_i^2$. With many features they are
# Gaussian, and the classifier is right when all of them are positive:
#
# $$\boxed{\ \text{accuracy} \ \to\ F_p\big((1-p)\sqrt{n_{\text{eff}}}\,\big), \qquad
# n_{\text{eff}} = \frac{\left(\sum_i v_i\right)^2}{\sum_i v_i^2}\ }$$
#
# with $F_p(x) = P(x + \eta_1 > 0, \dots, x + \eta_{K-1} > 0)$, $\eta \sim \mathcal N(0, \Sigma)$. For one
# model all weights are 1 and $n_{\text{eff}} = n$. In general $n_{\text{eff}}$ is Kish's *effective sample
# size*: how many equally weighted features would be as good. It cannot exceed the number of features that
# vote, and it is lowered by unequal weights.
#
# $F_p$ needs no $(K-1)$-dimensional integral. $\Sigma$ has one value on its diagonal and another off it, so
# $\Sigma = c\, 11^\top + \frac pK I$ with $c = p(K+1-pK)/K > 0$: the margins share one Gaussian $\sqrt c\, z$
# and are independent given it. Hence
#
# $$F_p(x) = \mathbb E_{z \sim \mathcal N(0, 1)}\left[
# \Phi_{\mathcal N}\!\left(\frac{x + \sqrt c\, z}{\sqrt{p/K}}\right)^{K-1}\right],$$
#
# with $\Phi_{\mathcal N}$ the normal distribution function. For $0 < p < 1$ the right side rises strictly
# with $x$. This gives the statement at the top: in this limit, in which features become many and weak together ($n \to \infty$
# while $(1-p)\sqrt n$ stays where it is), *whether averaging helps is decided by $n_{\text{eff}}$ alone*. At a fixed $p$ every
# accuracy goes to 1 as $n$ grows, and how fast its error falls decides instead (end of section 5).
#
# ## 4. Where averaging helps, and where it hurts
#
# Let $r = n_o / n$ be the shared part. Inserting the vote weights of section 2:
#
# **Case 1, weights.** $2(n - n_o)$ features of weight 1 and $n_o$ of weight 4:
#
# $$\frac{n_{\text{eff}}}n = \frac{(2(1-r) + 4r)^2}{2(1-r) + 16 r} = \frac{2(1+r)^2}{1 + 7r}, \qquad
# \frac{n_{\text{eff}}}n - 1 = \frac{(2r - 1)(r - 1)}{1 + 7r} .$$
#
# The difference is positive for $r < \tfrac12$, zero at $r = \tfrac12$ and $r = 1$, and **negative for
# $\tfrac12 < r < 1$: averaging the weights of two models of the same task then hurts**, because the shared
# features, counted four times, drown the others. The derivative of the ratio has the sign of $7r - 5$: the
# worst case is $r = \tfrac57$, where $n_{\text{eff}} = \tfrac{48}{49} n$. The best is $r = 0$, with twice as
# many features as before. So with few classes and many features there is much to gain and little to lose; with many
# classes or few features there is more to lose (section 7).
#
# **Case 1, outputs.** $2(n - n_o)$ features of weight 1 and $n_o$ of weight 2:
#
# $$\frac{n_{\text{eff}}}n = \frac{(2(1-r) + 2r)^2}{2(1-r) + 4r} = \frac{2}{1 + r} \ \ge\ 1 .$$
#
# Averaging outputs of models of the same task never hurts.
#
# **Case 2, weights.** On task $a$, $n - n_o$ features of weight 1 and $n_o$ of weight 2:
#
# $$\frac{n_{\text{eff}}}n = \frac{(1 + r)^2}{1 + 3r}, \qquad
# \frac{n_{\text{eff}}}n - 1 = \frac{r(r - 1)}{1 + 3r} \ \le\ 0 .$$
#
# It hurts unless nothing ($r = 0$) or everything ($r = 1$) is shared, worst at $r = \tfrac13$, where
# $n_{\text{eff}} = \tfrac89 n$.
#
# **Case 2, outputs.** The scores of $a$'s classes are those of $a$'s model: nothing changes.

# %%
accuracy = read("accuracy")
exact = accuracy[accuracy["method"] == "exact"]
fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, style.PANEL), sharey=True)
for ax, (labels, title) in zip(axes, CASES.items(), strict=True):
    for model, shown in LOOKS.items():
        rows = exact[(exact["labels"] == labels) & (exact["model"] == model)]
        line = {"linestyle": "--", "zorder": 3} if model == "single" else {"marker": ".", "markersize": 3}
        shared, effective = rows["n_o"] / rows["n"], rows["effective_features"] / rows["n"]
        ax.plot(shared, effective, color=shown.colour, label=shown.label, **line)
    ax.set(title=title, xlabel=r"shared part of the features, $n_o / n$", ylim=(0.8, 2.05))
axes[0].set_ylabel(r"effective features, $n_\mathrm{eff} / n$")
axes[0].legend()
style.foot(fig, "two models averaged half and half; above 1 averaging helps")
style.save(fig, "theory-effective")

# %% [markdown]
# ## 5. Proposition 5.1, as printed and corrected
#
# Let $\xi$ be what averaging adds to accuracy, $\xi_1$ in case 1 and $\xi_2$ in case 2 (the mean over the two
# tasks). The paper states
#
# $$\xi_1 - \xi_2 = F_p\!\left(\frac{\sqrt2\,(1-p)\, n}{\sqrt{n + n_o}}\right) -
# F_p\big((1-p)\sqrt n\big) \ \ge\ 0,
# \qquad \text{with equality iff } n_o = n .$$
#
# Its first term is $F_p((1-p)\sqrt{n_{\text{eff}}})$ with $n_{\text{eff}} = 2n^2/(n + n_o)$, which is the
# *output* average of case 1; its second takes $\xi_2 = 0$, also true of outputs. For averaged *weights*, as
# the paper's Definition F.2 has them, the terms are those of section 4:
#
# | $n_{\text{eff}} / n$ of | printed | outputs | weights |
# |---|---|---|---|
# | case 1 | $2/(1+r)$ | $2/(1+r)$ | $2(1+r)^2/(1+7r)$ |
# | case 2 | $1$ | $1$ | $(1+r)^2/(1+3r)$ |
#
# **Corrected proposition.** *Averaged weights as well as averaged outputs satisfy $\xi_1 - \xi_2 \ge 0$, with equality if and only if
# $n_o = n$, (a) for $0 < p < 1$ in the limit of many weak features, and (b) at any fixed $0 < p < 1$, $K$ and shared part
# $r < 1$ for all $n$ that are large enough. (c) With two classes, $K = 2$, and $0 < p < 1$, averaged weights satisfy it at no
# $n \ge 3$ for every $n_o$.*
#
# **Proof of (a).** The accuracy of the single model cancels in $\xi_1 - \xi_2$, and both tasks give the same by
# symmetry, so
#
# $$\xi_1 - \xi_2 = F_p\big((1-p)\sqrt{n_{\text{eff},1}}\big) - F_p\big((1-p)\sqrt{n_{\text{eff},2}}\big),$$
#
# and since $F_p$ rises strictly, the sign is that of $n_{\text{eff},1} - n_{\text{eff},2}$. *Weights:*
# dividing by $n(1+r)^2 > 0$,
#
# $$\frac2{1 + 7r} \ge \frac1{1 + 3r} \iff 2 + 6r \ge 1 + 7r \iff r \le 1 ,$$
#
# with equality iff $r = 1$. *Outputs:* $2/(1+r) \ge 1 \iff r \le 1$, likewise. $\qquad\blacksquare$
#
# (At $p = 0$ every accuracy is 1 and at $p = 1$ every accuracy is a guess: both sides are then equal for all
# $n_o$.)
#
# **Proof of (b).** Let $z$ be one feature's margin and $L(t) = \log \mathbb E\, e^{-tz}$, which is strictly convex with $L(0) = 0$, so that
# $2L(s/2) < L(s)$ for $s \ne 0$. By Cramér's theorem the chance that the margin over a wrong class is not positive falls as
# $\exp\big(n \min_t \sum_g \tfrac{c_g}n L(v_g t)\big)$ for groups of $c_g$ features of vote weight $v_g$; the $K - 1$ wrong
# classes are alike, so an error is at most $K - 1$ times as likely. With $t = s/2$ in case 1,
#
# $$\underbrace{2(1-r)\,L(s/2) + r\,L(2s)}_{\text{case 1, weights}} \;<
# \underbrace{(1-r)\,L(s) + r\,L(2s)}_{\text{case 2, weights}}, \qquad
# \underbrace{2(1-r)\,L(s/2) + r\,L(s)}_{\text{case 1, outputs}} \;<\; \underbrace{L(s)}_{\text{case 2, outputs}}$$
#
# for every $s > 0$, hence for the minima: case 1 errs exponentially less often than case 2. $\qquad\blacksquare$
#
# **Proof of (c).** Two classes, $a = 1 - \tfrac p2$ the chance of a right vote and $b = \tfrac p2$, all but two ($n$ odd) or three ($n$
# even) features shared. The shared votes, an odd number, decide unless they add up to $\pm1$; there the own votes can tie with them
# or outvote them. With $m = \lfloor (n_o - 1)/2 \rfloor$, adding up those cases gives exactly
#
# $$\xi_1 - \xi_2 = -\tfrac12 \binom{n_o}{m} (ab)^{m+2} (a - b) \quad (n_o = n - 2), \qquad
# \xi_1 - \xi_2 = -2 \binom{n_o}{m} (ab)^{m+3} (a - b) \quad (n_o = n - 3). \qquad\blacksquare$$
#
# So with *many features of which a fixed part is shared* related tasks gain at least as much from averaging as unrelated ones, as the
# paper says. But for weights "more" can mean "lose less": for $\tfrac12 < r < 1$ *both* terms are negative in the limit.
#
# **At every ratio.** With $u = \alpha(1-\alpha)$, case 1 has
# $n_{\text{eff}}/n - 1 = 2(1-r)(1-2r)\,u^2 / \big(1 - (1-r)(4u - 2u^2)\big)$. Since $4u - 2u^2 < 1$, the denominator is positive
# and the sign is that of $1 - 2r$, whatever the ratio.
#
# **If all labels compete.** All this is about the classes of the task that is tested. If in case 2 the classes of both tasks
# compete, $b$'s features vote for $b$'s classes while $a$ is tested, and averaged outputs hurt as well (section 8).

# %%
proposition = read("proposition")
versions = {"printed": ("as printed", INK, ":"), "outputs": ("outputs", LOOKS["outputs"].colour, "-")}
versions["weights"] = ("weights", LOOKS["weights"].colour, "-")
titles = {
    "xi_1": r"$\xi_1$ (the same classes)",
    "xi_2": r"$\xi_2$ (no class in common)",
    "difference": r"$\xi_1 - \xi_2$",
}
fig, axes = plt.subplots(1, 3, figsize=(style.WIDTH, style.PANEL), sharey=True)
for ax, (term, title) in zip(axes, titles.items(), strict=True):
    ax.axhline(0, color=INK, linewidth=0.7)
    for version, (name, colour, line) in versions.items():
        rows = proposition[proposition["version"] == version]
        limit, finite = (rows[rows["method"] == method] for method in ("closed-form", "exact"))
        wide = 2.6 if version == "printed" else 1.3
        ax.plot(limit["n_o"], limit[term], color=colour, linestyle=line, linewidth=wide, label=name)
        ax.plot(finite["n_o"], finite[term], color=colour, linestyle="none", marker="o", markersize=2.8)
    ax.set(title=title, xlabel=r"shared features, $n_o$", xticks=range(0, 21, 5))
axes[0].set_ylabel("change in accuracy")
axes[0].plot([], [], color=INK, linestyle="none", marker="o", markersize=2.8, label="exact at finite n")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
style.foot(fig, f"{sizes(proposition)}; lines: limit of many features")
style.save(fig, "theory-proposition")

# %% [markdown]
# The dotted grey line of the printed proposition lies on the output average.
#
# Where the conclusion fails, over a grid of $n$, $n_o < n$, $p$ and $K$: the share of the grid's cells in which unrelated tasks
# gain more, exactly, and the worst of them; with few features by much, and from 20 on only cells of (c) are left, by a little. In the
# limit of many weak features there is none.

# %%
finite = read("finite")
failing = finite[finite["difference_exact"] < -1e-9]  # less is rounding
worst = 100 * finite.groupby("n")["difference_exact"].min()
share = 100 * failing.groupby("n").size() / finite.groupby("n").size()
pd.DataFrame({"cells that fail (%)": share.fillna(0), "smallest difference (points)": worst}).round(2)

# %% [markdown]
# **At a fixed $p$**, as $n$ grows, three of the limit's statements stay, by the same convexity: averaged outputs always help in case 1, averaged
# weights always hurt in case 2 ($0 < r < 1$), and related tasks gain more. One moves: averaging weights begins to hurt in case 1 where
# $\min_t\,[2(1-r)L(t) + rL(4t)] = \min_t L(t)$, which tends to $r = \tfrac12$ as $p \to 1$; elsewhere it lies below it for few classes, and for many above it over a range of
# $p$. That shared part, in percent:

# %%
thresholds = read("exponents").pivot(index="n_classes", columns="p", values="threshold")
(100 * thresholds).round(0).astype(int).rename_axis(index="classes", columns="p")

# %%
FIXED = """
Two classes, p = {p:g}, {shared:.0%} of the features shared: averaging raises the effective number of features to {raised:.3f} n, and yet it makes
{errors_1:.2f} times the errors of one model at n = {n_1:g} and {errors_2:.2f} times at n = {n_2:g}, exactly.
"""
sentences.show(FIXED.format(**numbers_of("fixed p")))

# %% [markdown]
# ## 6. Four routes to one number
#
# The limit of many features is an approximation. The accuracy at finite $n$ can be had exactly: votes are
# multinomial, so the probability that the right class wins (ties split evenly) is a coefficient of a
# generating function,
#
# $$\text{accuracy} = \prod_g n_g!\ [t^{n}]
# \sum_s f^{\text{right}}_s(t) \int_0^1 \big(B_s(t) + u\, f_s(t)\big)^{K-1} du, \qquad
# f_s(t) = \sum_{c:\, v \cdot c = s}\ \prod_g \frac{(\pi\, t_g)^{c_g}}{c_g!},$$
#
# where $g$ runs over groups of features with equal weight, $B_s = \sum_{s' < s} f_{s'}$ is a wrong class
# below score $s$, $\pi$ is the probability of one vote for the class, and the integral splits ties. It is
# compared below with the closed form, with a simulation of the votes, and with classifiers that were *really
# trained* on sampled features and then averaged, which know nothing of vote weights.


# %%
def points(ax, x, rows, error="stderr", **kind) -> None:
    """Sampled accuracies at x, with error bars and no line."""
    ax.errorbar(x, rows["accuracy"], yerr=rows[error], **{"linestyle": "none", "zorder": 5, **kind})


def legend_of(ax, entries: dict[str, dict], **place) -> None:
    """A legend of lines and markers in grey, for what is not told by colour."""
    handles = [plt.Line2D([], [], **{"color": GREY, **kind}) for kind in entries.values()]
    ax.add_artist(ax.legend(handles, list(entries), **place))


fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.2), sharey=True)
for ax, (labels, title) in zip(axes, CASES.items(), strict=True):
    for model, shown in LOOKS.items():
        rows = accuracy[(accuracy["labels"] == labels) & (accuracy["model"] == model)]
        by = {method: rows[rows["method"] == method] for method in rows["method"].unique()}
        colour = shown.colour
        limit = by["closed-form"]
        ax.plot(limit["n_o"], limit["accuracy"], color=colour, linestyle="--", linewidth=0.8)
        ax.plot(by["exact"]["n_o"], by["exact"]["accuracy"], color=colour, label=shown.label)
        points(ax, by["monte-carlo"]["n_o"], by["monte-carlo"], color=colour, marker=".")
        points(ax, by["trained"]["n_o"], by["trained"], color=colour, marker="D", alpha=0.7)
    ax.set(title=title, xlabel=r"shared features, $n_o$", xticks=range(0, 21, 5))
axes[0].set_ylabel("accuracy")
axes[0].legend(loc="upper right")
routes = {"exact": {}, "limit of many features": {"linestyle": "--", "linewidth": 0.8}}
routes["simulated"] = {"linestyle": "none", "marker": "."}
routes["trained"] = {"linestyle": "none", "marker": "D", "alpha": 0.7}
legend_of(axes[1], routes, loc="upper right")
style.foot(fig, f"{sizes(accuracy)}; error bars: one standard error of the sampled items")
style.save(fig, "theory-accuracy")
by_route = accuracy.pivot_table(index=["labels", "model", "n_o"], columns="method", values="accuracy")
above = 100 * (by_route["closed-form"] - by_route["exact"])
sentences.show(
    f"The limit of many features is {above.mean():.1f} points above the exact accuracy on average ({above.min():.1f} to {above.max():.1f})."
)

# %% [markdown]
# Simulated votes lie on the exact lines, and the limit of many features is too high at this size, by what stands above.
# Trained classifiers lie below the exact lines, because they had to find their features' weights from a
# finite sample with a little noise (section 8 shows that both effects vanish as they should), but they are in
# the same order: averaged weights are near the single model where most features are shared, averaged
# outputs stay above it.
#
# How good the limit is, and how the effects grow with the number of features:

# %%
growth = read("growth")
keys = ["n", "n_o", "p", "n_classes", "labels", "model"]
wide = growth.pivot(index=keys, columns="method", values=["accuracy", "gain"])
errors = (wide["accuracy"]["closed-form"] - wide["accuracy"]["exact"]).rename("error").reset_index()
errors = errors[(errors["labels"] == "identical") & (errors["n_o"] == 0.75 * errors["n"])]
gains = growth[(growth["method"] == "exact") & (growth["labels"] == "identical")]
gains = gains[gains["p"] == gains["p"].min()]
fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.0))
failing = dict(zip(sorted(errors["p"].unique()), ("-", "--"), strict=True))
for p, line in failing.items():
    for model, shown in LOOKS.items():
        rows = errors[(errors["p"] == p) & (errors["model"] == model)]
        label = shown.label if line == "-" else "_"
        axes[0].plot(rows["n"], rows["error"], color=shown.colour, linestyle=line, marker=".", label=label)
sharing = {0.0: "-", 0.5: "--", 0.75: ":"}
for part, line in sharing.items():
    for model in ("weights", "outputs"):
        rows = gains[(gains["model"] == model) & (gains["n_o"] == part * gains["n"])]
        axes[1].plot(rows["n"], rows["gain"], color=LOOKS[model].colour, linestyle=line, marker=".")
axes[0].set(title="error of the limit", ylabel="accuracy, limit minus exact", ylim=(0, 0.062))
axes[1].set(title=f"gain from averaging, p = {gains['p'].min():g}", ylabel="change in accuracy (exact)")
legend_of(axes[0], {f"p = {p:g}": {"linestyle": line} for p, line in failing.items()}, loc="upper left")
axes[0].legend(loc="upper right")
lines = {rf"$n_o / n$ = {part:g}": {"linestyle": line} for part, line in sharing.items()}
legend_of(axes[1], lines, loc="upper right")
axes[1].axhline(0, color=INK, linewidth=0.7)
for ax in axes:
    ax.set(xlabel="features of a model, $n$", xscale="log")
    ax.set_xticks([4, 8, 20, 48, 100], labels=["4", "8", "20", "48", "100"])
    ax.minorticks_off()
style.foot(
    fig,
    f"case 1, {sizes(growth)}; left: three quarters of the features shared;\n"
    "right: where none is shared, averaged weights and outputs coincide, and one line hides the other",
)
style.save(fig, "theory-growth")

# %% [markdown]
# ## 7. The map of help and harm
#
# In the limit, whether averaging helps depends on $n_o/n$ alone; *how much* depends on $p$ and $K$ too: with
# reliable features (small $p$) everything is right anyway, with hopeless ones nothing is. Below, the exact
# gain in case 1 at finite $n$; the black lines are where it is zero, the dotted line is where the limit says
# it should be.

# %%
phase = read("phase")
limit = float(np.ceil(20 * phase["gain_exact"].max()) / 20)
classes = sorted(phase["n_classes"].unique())
fig, axes = plt.subplots(2, len(classes), figsize=(style.WIDTH, 4.3), sharex=True, sharey=True)
for panels, model in zip(axes, ("weights", "outputs"), strict=True):
    for ax, k in zip(panels, classes, strict=True):
        cells = phase[(phase["model"] == model) & (phase["n_classes"] == k)]
        gain = cells.assign(r=cells["n_o"] / cells["n"]).pivot(index="p", columns="r", values="gain_exact")
        norm = TwoSlopeNorm(0, vmin=-limit / 10, vmax=limit)
        kind = {"cmap": style.DIVERGING, "norm": norm, "shading": "nearest", "rasterized": True}
        picture = ax.pcolormesh(gain.columns, gain.index, gain, **kind)
        if model == "weights":
            seen = gain.loc[gain.min(axis=1) < -0.0005, gain.columns < 1]
            ax.contour(seen.columns, seen.index, seen, levels=[0], colors=INK, linewidths=1)
            ax.axvline(0.5, color=INK, linestyle=":", linewidth=1)
            ax.plot([], [], color=INK, linewidth=1, label="gain 0, exact")
            ax.plot([], [], color=INK, linestyle=":", linewidth=1, label="gain 0, limit: 1/2")
        ax.grid(visible=False)
        ax.set_title(f"{LOOKS[model].label}, K = {k}")
for ax in axes[1]:
    ax.set_xlabel(r"shared part, $n_o / n$")
for ax in axes[:, 0]:
    ax.set_ylabel("failure probability, $p$")
axes[0, 1].legend(fontsize=6.5, loc="lower left", handlelength=1.6, frameon=True, framealpha=1, edgecolor="none")
bar = fig.colorbar(picture, ax=axes, label="gain in accuracy, percentage points", aspect=30)
ticks = [-limit / 10, -limit / 20, 0, limit / 2, limit]
bar.set_ticks(ticks, labels=[f"{100 * tick:g}" for tick in ticks])
style.foot(
    fig,
    f"case 1, {sizes(phase)}, exact; losses (red) on a ten times finer scale;\nlines only where a loss exceeds 0.05 points",
)
style.save(fig, "theory-phase")

# %% [markdown]
# Where the lines of averaged weights are: the shared parts, in percent, at which the gain is 0. Between the first and the last of
# five and of twenty classes averaging hurts. With two classes there are ties wherever weights 1 and 4 can balance, hence several.

# %%
shown = phase[(phase["model"] == "weights") & phase["p"].isin([0.6, 0.7, 0.8, 0.9])]
shown = shown.assign(r=shown["n_o"] / shown["n"]).pivot(index=["n_classes", "p"], columns="r", values="gain_exact")
shown = shown.iloc[:, :-1]  # at the end everything is shared and nothing gained
lines = shown.apply(lambda gain: ", ".join(f"{100 * part:.0f}" for part in crossings(shown.columns, gain)), axis=1)
lines.unstack("p").rename_axis(index="classes", columns="p")

# %% [markdown]
# And the largest loss and gain of averaged weights anywhere on this map:

# %%
weights = 100 * phase.loc[phase["model"] == "weights", ["n_classes", "gain_exact"]].set_index("n_classes")
weights.groupby("n_classes")["gain_exact"].agg(["min", "max"]).round(2).rename(
    columns={"min": "largest loss (points)", "max": "largest gain (points)"}
)

# %% [markdown]
# Where averaging weights starts to hurt depends on $p$ and $K$ in no simple way; the losses grow with the number of classes. With
# $K = 2$ the zero lines are ragged: gains go up and down with $n_o$ even or odd, which decides how often votes tie, and the limit
# knows no ties. (At small $p$, where accuracies are near 1, the error exponents of section 5 decide.)
#
# $\alpha = \tfrac12$ itself is a point of ties: there four own features weigh exactly as much as a shared one. At any other ratio
# nearby they do not, and a good part of the loss goes:

# %%
ratio = read("ratio")
near = ratio[ratio["model"] == "weights"].set_index("alpha")
exact, colour = 100 * near["gain_exact"], LOOKS["weights"].colour
fig, ax = plt.subplots(figsize=(style.COLUMN, style.PANEL + 0.3))
ax.axhline(0, color=INK, linewidth=0.7)
ax.plot(100 * near["gain_limit"], color=colour, linestyle="--", linewidth=0.8, label="limit of many features")
ax.plot(exact.drop(0.5), color=colour, linestyle="none", marker="o", label="exact")
tie = {"marker": "D", "markersize": 5, "label": r"exact, the ties at $\alpha$ = 1/2"}
ax.plot(0.5, exact[0.5], color=colour, linestyle="none", **tie)
ax.set(
    xlabel=r"ratio, $\alpha$",
    ylabel="gain over one model\n(percentage points)",
    xticks=np.arange(3, 8) / 10,
    ylim=(-0.55, 0.3),
)
ax.legend(loc="upper center")
style.foot(fig, f"case 1, averaged weights;\n{sizes(ratio)}")
style.save(fig, "theory-ties")

# %%
losses = -exact
sentences.show(
    f"At {losses.index[losses.index > 0.5][0]:g} the loss is {losses[losses.index > 0.5].iloc[0]:.2f} points instead of {losses[0.5]:.2f}."
)

# %% [markdown]
# **Many classes.** Language models choose among very many. As $K \to \infty$ wrong votes never agree: the highest wrong score
# is the largest weight among the features that failed. With averaged weights a *shared* feature that fails brings a score
# of 4 against the right class, which only more than four own votes outweigh, or one of another shared feature and one own. So few shared features do the most harm,
# while the limit of many features says they are the best case. The map over the number of features and of classes, at
# three shared parts; the last row is the limit $K \to \infty$, a sum over two binomial numbers:

# %%
many = read("many_classes")
many = many.assign(r=many["n_o"] / many["n"], row=many["n_classes"].fillna(np.inf))
rows = sorted(many["row"].unique())
limits = 100 * many["gain_weights"].abs().max()
fig, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 4.2), sharex=True, sharey=True)
for panels, p in zip(axes, sorted(many["p"].unique()), strict=True):
    for ax, r in zip(panels, sorted(many["r"].round(2).unique()), strict=True):
        cells = many[(many["p"] == p) & np.isclose(many["r"], r)]
        gain = 100 * cells.pivot(index="row", columns="n", values="gain_weights").loc[rows]
        picture = ax.pcolormesh(
            gain, cmap=style.DIVERGING, norm=TwoSlopeNorm(0, vmin=-limits, vmax=limits), rasterized=True
        )
        ax.set_title(f"{r:.0%} shared, p = {p:g}")
        ax.set_xticks(np.arange(len(gain.columns)) + 0.5, labels=gain.columns)
        ax.set_yticks(np.arange(len(rows)) + 0.5, labels=[f"{k:g}" if np.isfinite(k) else "∞" for k in rows])
        ax.grid(visible=False)
for ax in axes[1]:
    ax.set_xlabel("features of a model, $n$")
for ax in axes[:, 0]:
    ax.set_ylabel("classes, $K$")
fig.colorbar(picture, ax=axes, label="gain, percentage points", aspect=30)
style.foot(fig, "case 1, weights averaged half and half; exact (blue: averaging helps, red: it hurts)")
style.save(fig, "theory-classes")
worst = many.loc[many.groupby("row")["gain_weights"].idxmin(), ["row", "n", "r", "p", "gain_weights"]]
worst.assign(gain_weights=100 * worst["gain_weights"]).rename(
    columns={"row": "classes", "r": "shared part", "gain_weights": "worst change (points)"}
).set_index("classes").round(2)

# %% [markdown]
# Averaged outputs never lost on this grid. Averaging weights is a good bet where few classes compete *and* models have many
# features, and not where many classes do, or where there are few features and few of them in common: with few classes,
# too, it can cost several points then. Over all numbers of shared features, exactly, change in percentage points:

# %%
few = read("few_features")
changes = (100 * few.set_index(["n", "p", "n_classes"])["gain_weights"]).groupby(level=[0, 1, 2])
named = {"min": "worst", "mean": "mean", "max": "best"}
changes.agg(list(named)).rename(columns=named).rename_axis(["features", "p", "classes"]).round(1)

# %% [markdown]
# ## 8. Do trained classifiers behave like this?
#
# Each task's classifier was fitted by minimising cross-entropy with a small ridge penalty on samples of $x$
# with noise $\sigma$; the two were then averaged and tested on fresh samples. Nothing in them knows about
# votes. As noise falls and samples grow, their accuracy must approach the exact one (the line). Two things
# keep it away: with few samples a feature's weight is found only roughly, and with noise a vote is not clean.
# Squares show the *ideal* classifier of section 1, all weights equal, under the same noise.

# %%
trained = read("trained")
worlds = CASES | {"disjoint, all compete": "case 2, all labels compete"}
sigmas, counts = sorted(trained["sigma"].unique()), sorted(trained["n_train"].dropna().unique())
shades = dict(zip(counts, np.linspace(0.25, 1.0, len(counts)), strict=True))
places = {sigma: place for place, sigma in enumerate(sigmas)}


def beside_the_theory(ax, rows, single, colour) -> None:
    """Accuracies of fitted classifiers by noise and samples, of ideal ones, and the exact lines."""
    for number, count in enumerate(counts):
        fits = rows[(rows["method"] == "trained") & (rows["n_train"] == count)].groupby("sigma")["accuracy"]
        fits = fits.agg(accuracy="mean", error="sem")
        x = [places[sigma] + 0.12 * number - 0.25 for sigma in fits.index]
        look = {"marker": "D", "color": colour, "alpha": shades[count], "label": f"{count:.0f} samples"}
        points(ax, x, fits, "error", **look)
    ideal = rows[rows["method"] == "monte-carlo"]
    look = {"marker": "s", "color": INK, "alpha": 0.7, "label": "ideal, same noise"}
    points(ax, [places[sigma] + 0.32 for sigma in ideal["sigma"]], ideal, **look)
    ax.axhline(rows["exact"].iloc[0], color=colour, label="exact, no noise")
    ax.axhline(single, color=INK, linewidth=0.8, linestyle="--", label="one model, exact")


fig, axes = plt.subplots(len(worlds), 2, figsize=(style.WIDTH, 7), sharex=True, sharey=True)
for panels, (labels, case) in zip(axes, worlds.items(), strict=True):
    here = trained[trained["labels"] == labels].set_index("model", drop=False)
    for ax, model in zip(panels, ("weights", "outputs"), strict=True):
        beside_the_theory(ax, here.loc[model], here.loc["single", "exact"].iloc[0], LOOKS[model].colour)
        ax.set_title(f"{LOOKS[model].label}, {case.split(':')[0]}")
    panels[0].set_ylabel("accuracy")
for ax in axes[-1]:
    ax.set_xlabel(r"noise, $\sigma$")
    ax.set_xticks(list(places.values()), labels=[f"{sigma:g}" for sigma in sigmas])
axes[0, 0].legend(loc="lower left")
style.foot(fig, f"{sizes(trained)}; error bars: one standard error, over fits (squares: over samples)")
style.save(fig, "theory-trained")

# %% [markdown]
# In case 2 averaging weights must lose a little and averaging outputs must change nothing, as long as only the classes of the tested
# task compete. If the classes of both compete, and failed votes fall on all of them, both averages lose much against one model. There
# trained classifiers stay below the exact line: a trained head adds up to zero over its classes, so that a vote for one of its own
# classes counts $-1/K$ against the others of them, which matters against the other task's classes and is left out of the vote
# weights of section 2. Ideal heads less their mean (squares) are where trained ones are. At the most samples and the least noise, the
# mean over three fits with its standard error, in percentage points:

# %%
best = trained[(trained["method"] == "trained") & (trained["n_train"] == max(counts)) & (trained["sigma"] == 0)]
keys = ["labels", "model"]
table = best.groupby(keys)[["accuracy", "exact"]].mean().assign(error=best.groupby(keys)["accuracy"].sem())
ideal = trained[(trained["method"] == "monte-carlo") & (trained["sigma"] == 0)].set_index(keys)["accuracy"]
(100 * table.assign(ideal=ideal)[["accuracy", "error", "ideal", "exact"]]).round(2)

# %% [markdown]
# **Several models, features that fail more or less, and noise.** A trained head gives a feature that fails with probability $p_i$ the
# say $\beta_i = \log(1 + K(1-p_i)/p_i)$, so votes carry $\beta_i$ times what averaging makes of them, and the margins' mean and
# covariance are sums over groups of features. Noise $\sigma$ of each $x_i$ adds $\sigma^2 \nu\,(I + 11^\top)$ to the covariance, $\nu$ from
# the squares of head and body. Both stay exchangeable, so the same one-dimensional integral answers. Below, two and three models of
# one task have three features each of their own and three that all share, which fail with the probabilities of the first columns:
# accuracy in % by all four routes.

# %%
own = read("own_rates")
keys = ["models", "p_own", "p_shared", "sigma"]
shown = 100 * own.pivot(index=keys, columns=["model", "method"], values="accuracy")
shown[[(model, method) for model in LOOKS for method in ("closed-form", "exact", "monte-carlo", "trained")]].round(1)

# %% [markdown]
# ## 9. Fronts: both tasks at once
#
# With the ratio $\alpha$ free, averaging draws a path from model $a$ ($\alpha = 0$, lower right) to model $b$
# ($\alpha = 1$, upper left) in the plane of the two accuracies: the theory's counterpart of ability against
# reward. The two label sets now may have some of their classes in common.

# %%
fronts = read("fronts")
overlaps = sorted(fronts["n_classes_o"].unique())
colours = dict(zip(overlaps, style.shades(len(overlaps)), strict=True))
fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.3), sharex=True, sharey=True)
for ax, model in zip(axes, ("weights", "outputs"), strict=True):
    for overlap in overlaps:
        rows = fronts[(fronts["model"] == model) & (fronts["n_classes_o"] == overlap)].sort_values("alpha")
        look = {"color": colours[overlap], "marker": ".", "markersize": 3, "label": overlap}
        ax.plot(rows["accuracy_a"], rows["accuracy_b"], **look)
    ax.set(title=LOOKS[model].label, xlabel="accuracy on task $a$", aspect="equal")
axes[0].set_ylabel("accuracy on task $b$")
axes[0].legend(title="classes\nin common", loc="lower left")
style.foot(fig, f"{sizes(fronts)}; points: alpha from 0 to 1 in steps of 0.05; exact")
style.save(fig, "theory-fronts")

# %% [markdown]
# With no class in common the two sets of scores do not meet: averaged outputs keep both tasks in full at
# every ratio strictly between 0 and 1, and averaged weights nearly so near $\alpha = \tfrac12$. With all
# classes in common the two models do the same task, and the path leaves both ends behind. In between lies a
# real trade-off: a class that both tasks have collects votes from both models and outshouts the classes that
# only one of them knows, so that each task can be had in full only near its own end.
#
# ## 10. Layers: when should parts get ratios of their own?
#
# A network has many layers, and related tasks share more in the lower ones. Let layer $l$ have its own
# features and its own ratio $\alpha_l$, and let the layers' scores add up. By orthonormality the vote weights
# hold layer by layer. In each layer, a part $q_l$ of the features reads concepts that both tasks have (as in
# case 1), the rest reads concepts of one task only (as in case 2):
#
# | vote weight, averaged weights | $a$ only | $b$ only | shared |
# |---|---|---|---|
# | common concepts, both tasks | $(1-\alpha_l)^2$ | $\alpha_l^2$ | $1$ |
# | own concepts, tested on $a$ | $(1-\alpha_l)^2$ | $0$ | $1 - \alpha_l$ |
# | own concepts, tested on $b$ | $0$ | $\alpha_l^2$ | $\alpha_l$ |
#
# "Lower layers share more" is $q_1 \ge q_2 \ge \dots \ge q_L$. Each task has one effective number of
# features, $n_{\text{eff}}^a$ and $n_{\text{eff}}^b$, and since $F_p$ rises, *which ratios beat which on both
# tasks depends on these two alone*, neither on $p$ nor on $K$.
#
# **When do unequal ratios win?** Let $g_a$ and $g_b$ be the gradients of the two numbers with respect to
# $(\alpha_1, \dots, \alpha_L)$ at equal ratios. A direction $d$ improves both tasks if $g_a \cdot d > 0$ and
# $g_b \cdot d > 0$. Two open half-spaces meet unless they are opposite, so such a direction exists unless
# $g_b = -c\, g_a$ with $c \ge 0$ or one gradient is zero. In words: equal ratios are (to first order) the
# best only if *every layer exchanges $a$ for $b$ at the same rate*. Layers that overlap alike do so, by
# symmetry; layers that overlap differently in general do not, and then every such equal-ratio point is beaten
# on both tasks by unequal ratios. If the *mean* ratio must stay what it is, as in adaptive averaging, the
# same holds for the gradients with their means over layers taken off. This leaves less room: with two layers
# there is only one way to go, more of the one and less of the other, and both tasks must profit from it.

# %%
layered, optima = read("layered_fronts"), read("layered_optima")
parts = sorted(layered["shared"].unique())
ratios = ["alpha_1", "alpha_2", "alpha_3"]
depth = dict(zip(ratios, ("input", "middle", "output"), strict=True))
fig, axes = plt.subplots(2, len(parts), figsize=(style.WIDTH, 5.2))
for (above, below), part in zip(axes.T, parts, strict=True):
    rows = layered[(layered["shared"] == part) & (layered["model"] == "weights")]
    for kind, (colour, line) in {"unequal": (style.look("ama").colour, "-"), "equal": (INK, "--")}.items():
        front = rows[rows["ratios"] == kind].sort_values("accuracy_a")
        above.plot(front["accuracy_a"], front["accuracy_b"], color=colour, linestyle=line, label=f"{kind} ratios")
    above.set(title=f"{part:.0%} of features shared", xlabel="accuracy on task $a$")
    best = optima[(optima["shared"] == part) & (optima["model"] == "weights")]
    for weight, line in {1.0: "-", 0.5: "--"}.items():
        rows = best[best["weight_b"] == weight]
        for ratio, name in depth.items():
            colour = style.look(f"part-{name}").colour
            below.plot(rows["mean_alpha"], rows[ratio], color=colour, linestyle=line, marker=".", markersize=3)
    below.plot([0, 1], [0, 1], color=INK, linewidth=0.7)
    below.set(xlabel=r"mean ratio $\alpha$", ylim=(-0.03, 1.03))
axes[0, 0].set_ylabel("accuracy on task $b$")
axes[1, 0].set_ylabel(r"best ratio of a layer, $\alpha_l$")
axes[0, 0].legend()
looks = {f"{name} layer": {"color": style.look(f"part-{name}").colour} for name in reversed(depth.values())}
legend_of(axes[1, 0], looks, loc="lower right")
aims = {"best for $b$": {}, "best for both": {"linestyle": "--"}}
legend_of(axes[1, 2], aims, loc="upper left")
style.foot(fig, f"weights averaged, three layers, common concepts fall from all to none, {sizes(layered)}; limit")
style.save(fig, "theory-layers")

# %% [markdown]
# Every point of a front of unequal ratios is an optimum (`theory/scalarised.py`): the ratios that go furthest from the worst
# corner of the front in one direction of the plane. The lower panels show, at a given mean
# ratio, which ratios are best: for task $b$ alone (what adaptive averaging aims at, with reward for accuracy
# on $b$) and for the mean of both tasks. The thin diagonal is equal ratios. At a small mean ratio the input
# layer stays nearer to $\theta_0$ than the output layer, which gets most of what there is: in the input layer all concepts are
# common, so that $\theta_0$'s own features serve $b$ as well as $a$, and the ratio is better spent where the
# tasks differ. At large mean ratios the best compromise is the other way round: then it is $a$ that the
# output layer has to help. What the aim for $b$ alone costs on $a$, and what the best compromise gains,
# against equal ratios of the same mean:

# %%
chosen = optima[(optima["model"] == "weights") & (optima["mean_alpha"].isin([0.2, 0.4, 0.6]))]
gained = {
    f"{task}: change (points)": 100 * (chosen[f"accuracy_{task}"] - chosen[f"equal_accuracy_{task}"]) for task in "ab"
}
aim = chosen["weight_b"].map({1.0: "b alone", 0.5: "both"})
chosen = chosen.assign(aim=aim, **gained).rename(columns={"shared": "features shared", "mean_alpha": "mean ratio"})
chosen.set_index(["features shared", "mean ratio", "aim"])[[*ratios, *gained]].round(2)

# %% [markdown]
# How much do unequal ratios gain in all, without fixing the mean? The area between the front and the two
# single models; the largest lift, which is by how much accuracy on *both* tasks can be raised above the best
# point with equal ratios; and how many of the points with equal ratios are beaten on both tasks by ratios
# nearby, with any mean or with the same one:

# %%
area = read("layered_gain")
percent = {"area gained (%)": 100 * (area["unequal_area"] / area["equal_area"] - 1)}
percent["lift (points)"] = 100 * area["largest_lift"]
percent |= {"beaten (%)": 100 * area["beaten"], "same mean (%)": 100 * area["beaten_same_mean"]}
area = area.assign(shared=100 * area["shared"], **percent)
area = area.rename(columns={"profile": "layers", "shared": "features shared (%)", "model": "averaged"})
area.set_index(["averaged", "layers", "features shared (%)"]).sort_index()[list(percent)].round(2)

# %% [markdown]
# Nearly every equal-ratio point is beaten where layers differ, by very little. With the mean kept, something is
# gained only seldom and little where only the concepts differ: both gradients are then affine in $q_l$, so that without their means
# they are parallel, and nearly always point in opposite directions: what one task gains, the other loses.

# %%
SAME_MEAN = """
In {raised:.0f} of {cases:.0f} random cases they point the same way. With {shared:.2%} shared, q = ({common_1:g}, {common_2:g}, {common_3:g}) and
alpha = {alpha:g}, a step of {step:g} raises both accuracies, by {a:.2f} and {b:.2f} points.
"""
same_mean = numbers_of("same mean")
sentences.show(SAME_MEAN.format(a=100 * same_mean["gain_a"], b=100 * same_mean["gain_b"], **same_mean))

# %% [markdown]
# Layers whose *features* overlap differently
# do leave room. All this is in the limit of many features. Is the lift there with few? The same ratios,
# sampled, with margins kept alike:

# %%
sampled = read("layered_sampled")
gains = {"limit (points)": "gain_closed_form", "sampled (points)": "gain_sampled", "standard error": "stderr"}
sampled = sampled.assign(**{name: 100 * sampled[column] for name, column in gains.items()})
sampled = sampled.rename(columns={"model": "averaged", "n": "features a layer"})
sampled.set_index(["averaged", "features a layer", "p", "task"])[list(gains)].round(2)

# %% [markdown]
# With few features the lift on one task can be lost; with more the limit is reached. So in this model ratios
# per layer help, and they help little: lifts are fractions of a percentage point, and there is none where
# layers are alike. That a network's parts gain more from ratios of their own, if they do, must come from what
# the model leaves out.
#
# **What it rests on.** Scores of layers add, so that later layers do not build on earlier ones; every feature
# fails with the same probability; the classifiers of all layers have the same scale; there are many features.
# Real layers compose. The theory says which way to look, and the notebooks on training and averaging look.
#
# ## 11. Overlap by degrees
#
# Networks do not share a feature or not: their feature *spaces* overlap. Let two models of the *same classes* (case 1) use subspaces with projectors
# $P_a, P_b$ of rank $n$ and principal cosines $c_1, \dots, c_n$. In the plane of $c_j$, $P_a + P_b$ has the eigenvalues
# $1 \pm c_j$, so the operator $V$ that turns features into votes has $(1 \pm c_j)^2$ (weights) or $1 \pm c_j$ (outputs). The vote
# weights themselves are $V s$, with the signs $s$ that the features have in the basis. *In the mean over signs* that have nothing
# to do with the subspaces, mean margin and variance are $\operatorname{tr} V$ and $\operatorname{tr} V^2$; with many features nearly
# every random choice of signs is near this mean, and where planes come in pairs of equal cosine and opposite signs, as in the figure
# below, it holds exactly. One unlucky choice of signs is not near it (numbers below the criterion). With $S_2 = \sum c_j^2$ and $S_4 = \sum c_j^4$,
#
# $$n_{\text{eff}}^{\text{weights}} = \frac{2(n + S_2)^2}{n + 6 S_2 + S_4}, \qquad
# n_{\text{eff}}^{\text{outputs}} = \frac{2n^2}{n + S_2}.$$
#
# **Criterion.** *In the mean over signs and with many features (or with paired planes), averaging weights helps if and only if*
# $\operatorname{Var}(c^2) < (1 - \overline{c^2})^2$. **Proof.** $n_{\text{eff}} > n$ means
# $2(n+S_2)^2 > n(n + 6S_2 + S_4)$. Divide by $n^2$, write $m = S_2/n$ and $S_4/n = m^2 + \operatorname{Var}(c^2)$:
# $2 + 4m + 2m^2 > 1 + 6m + m^2 + \operatorname{Var}(c^2)$, that is $(1-m)^2 > \operatorname{Var}(c^2)$. $\blacksquare$
#
# So overlap does no harm by itself: equal cosines below 1 always help. *Unequal* overlap does. Features that are shared or
# not, $c \in \{0, 1\}$, are the most unequal there is: $r(1-r) < (1-r)^2$, the threshold $r = \tfrac12$ again.
#
# With no class in common (case 2) $V$ is $P_a (P_a + P_b) / 2$ on task $a$, so that $n_{\text{eff}}^{\text{weights}} = (n + S_2)^2 / (n + 3 S_2)$,
# which is below $n$ unless $S_2$ is 0 or $n$: there overlap always does harm, even or not.

# %%
SIGNS = """
Planes of cosine {cosine:g} have {minus:.2f} n effective features if all signs are minus, {plus:.2f} n if all are plus, and
{formula:.2f} n by the formula. (Model b alone then has {minus_b:.2f} n and {plus_b:.2f} n, instead of its mean n, and a has n.)
"""
sentences.show(SIGNS.format(**numbers_of("signs")))

# %%
overlap = read("overlap")
fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, style.PANEL + 0.3))
mean = np.linspace(0, 1, 200)
axes[0].plot(mean, np.minimum((1 - mean) ** 2, mean * (1 - mean)), color=INK, linewidth=1)
axes[0].plot(mean, mean * (1 - mean), color=GREY, linestyle=":")
shown = axes[0].scatter(
    overlap["mean"],
    overlap["variance"],
    c=100 * overlap["gain_weights"],
    cmap=style.DIVERGING,
    norm=TwoSlopeNorm(0, -1.2, 12),
    s=22,
)
axes[0].set(xlabel=r"mean of $c^2$", ylabel=r"variance of $c^2$", title="gain of averaged weights")
fig.colorbar(shown, ax=axes[0], label="points", ticks=[-1.2, -0.6, 0, 4, 8, 12])
for model in ("weights", "outputs"):
    look = {"linestyle": "none", "marker": ".", "color": LOOKS[model].colour, "label": LOOKS[model].label}
    axes[1].errorbar(
        overlap[f"effective_{model}"], 100 * overlap[f"gain_{model}"], 100 * overlap[f"stderr_{model}"], **look
    )
axes[1].axhline(0, color=INK, linewidth=0.7)
axes[1].axvline(1, color=INK, linewidth=0.7)
axes[1].set(xlabel=r"$n_\mathrm{eff} / n$", ylabel="gain, sampled (points)")
axes[1].legend(loc="lower right")
style.foot(
    fig,
    f"{sizes(overlap)}; below the black line averaging weights helps; dotted: c is 0 or 1;\nlosses (red) on a ten times finer scale, sampled with a standard error of {100 * overlap['stderr_weights'].mean():.1f} points",
)
style.save(fig, "theory-overlap")

# %% [markdown]
# **More than two models.** A feature that $m$ of $T$ models use votes with $m^2$ (weights) or $m$ (outputs). If the models share
# one core of features, averaging weights hurts from a shared part of $1/(T(T-1))$ on; if each model draws its features
# independently,
#
# $$\frac{n_{\text{eff}}}n - 1 = \frac{(T-1)(1-r)\,\big(1 + 2(T-3)\,r + (T-2)(T-3)\,r^2\big)}
# {1 + 7(T-1)\,r + 6(T-1)(T-2)\,r^2 + (T-1)(T-2)(T-3)\,r^3} .$$
#
# For $T = 2$ it has the sign of $1 - 2r$. For $T \ge 3$ no term is negative: three or more models never lose. The harm at
# independent features is a matter of two models.

# %%
models = read("models")
models = models[(models["model"] == "weights") & models["shared"].isin([0.25, 0.5, 0.75])]
models.pivot(index=["sharing", "models"], columns="shared", values="effective_features").round(3)

# %% [markdown]
# ## 12. A ratio per feature
#
# One ratio treats features that one model has alone and features that both have alike. Regression averaging (RegMean) does not: for
# one layer with inputs $x$, $W = (\lambda G_a + G_b)^{-1}(\lambda G_a W_a + G_b W_b)$ with Gram matrices $G = \mathbb E\, x x^\top$ of each
# model's own inputs. In the joint eigenbasis of $\lambda G_a$ and $G_b$, direction $i$ gets the ratio $g_{b,i} / (g_{b,i} + \lambda g_{a,i})$:
# 0 where only $a$ has inputs, 1 where only $b$ has.
#
# In this model $a$'s inputs span the $\mu_i(k)$ of its own features and classes, and both heads agree on what both use (section
# 1: the same $\beta$). The head of the *union* of features therefore makes both terms of the regression vanish, whatever $\lambda$ is.
# With the body merged by direction too, all features carry 1: $n_{\text{eff}} = 2n - n_o$ in case 1, and in case 2 $a$ keeps its $n$
# features, nothing lost.
#
# **Proposition.** *Let the two tasks have the same classes or none in common, only the tested task's classes compete, labels be uniform, votes independent given the label
# and without noise, both heads trained (so that they agree on shared directions), the Gram matrices of full rank on the directions
# in use up to terms common to all classes, and head and body merged by direction.
# Then at every $n$, $p$, $K$ the regression average is on each task at least as accurate as the average with any single ratio.*
# **Proof.** Case 1: its score of class $k$ is, up to a common constant, the log-posterior of $k$ given all votes of the features
# that either model has. Choosing the class of highest posterior, ties split at random, maximises accuracy over all functions
# of these votes, and an average with one ratio is such a function. Case 2, tested on $a$: with one ratio, $b$'s own features
# have no vote for $a$'s classes, so its scores are functions of the votes of $a$'s features; $a$'s own scores, which the
# regression average keeps, are the log-posterior given them. $\blacksquare$
#
# It holds exactly, not only with many features. It fails where a condition does: where only *some* classes are in common, or classes
# of both tasks compete, even $a$'s own model can be better (numbers below, of the first); where the two heads use shared directions in *opposite* ways they cancel (in case 1 $2(n - n_o)$ features are left, fewer than $n$ for
# $r > \tfrac12$, and the single ratio 0 is better); with fewer samples than directions; and with noise, since in case 2 $b$'s features
# bring theirs into the body. With the *head* alone merged by direction and the body half and half, it is the output average in case 1, and
# in case 2 the average of weights. What it
# needs to know are both models' weights and the Gram matrices of their own inputs; no labels and no ratio.

# %%
PARTLY = """
Two classes, one of them in common, two and six features, none shared, p = {p:g}: {own:.3f} on a with a's own model, {regression:.3f} with a ratio per
feature.
"""
sentences.show(PARTLY.format(**numbers_of("partly common classes")))

# %%
regression = read("regression")
exact = regression[(regression["method"] == "exact") & (regression["n"] == regression["n"].max())]
looks = {
    "regression": ("a ratio per feature", style.look("regmean").colour, "-"),
    "outputs": ("outputs", LOOKS["outputs"].colour, "-"),
}
looks |= {"weights": ("one ratio, 1/2", LOOKS["weights"].colour, "-"), "single": ("one model", INK, "--")}
looks["best ratio"] = "one ratio, the best", LOOKS["weights"].colour, ":"
fig, axes = plt.subplots(1, 2, figsize=(style.WIDTH, style.PANEL), sharey=True)
for ax, (labels, title) in zip(axes, CASES.items(), strict=True):
    for model, (name, colour, line) in looks.items():
        rows = exact[(exact["labels"] == labels) & (exact["model"] == model)]
        mark = (
            {"marker": "s", "markersize": 2.5} if model == "outputs" else {}
        )  # its colour is near regression's to some eyes
        ax.plot(rows["n_o"], rows["accuracy"], color=colour, linestyle=line, label=name, **mark)
    ax.set(title=title, xlabel=r"shared features, $n_o$")
axes[0].set_ylabel("accuracy, exact")
axes[1].legend(loc="upper right")
style.foot(fig, sizes(exact))
style.save(fig, "theory-regression")

# %% [markdown]
# The best single ratio is the best on $a$ of 0, 0.05, .. 1, by the same method (for simulated and trained: by the exact one). A little
# away from 0, 1/2 and 1 there are fewer ties, so that it is better than one model even where the limit knows no such ratio. By all four
# routes, accuracy in %; trained classifiers with Gram matrices from few and from many samples:

# %%
four = regression[regression["n"] == regression["n"].min()]
samples = four["n_samples"].map("{:.0f} samples".format).where(four["n_samples"].notna(), "")
shown = four.assign(method=four["method"], samples=samples)
shown = 100 * shown.pivot(index=["labels", "n_o", "method", "samples"], columns="model", values="accuracy")
sentences.show(f"Standard errors are at most {100 * four['stderr'].max():.1f} points.")
shown[["single", "weights", "best ratio", "regression"]].round(1)

# %% [markdown]
# What opposite use costs in case 1 and noise in case 2, against one model, in the limit of many features (accuracy in %):

# %%
conditions = read("regression_conditions")
cases = conditions["labels"].map({"identical": "case 1", "disjoint": "case 2"})
noisy = cases.where(conditions["sigma"] == 0, cases + ", noise " + conditions["sigma"].astype(str))
shown = conditions.assign(case=noisy, accuracy=100 * conditions["accuracy"])
shown.pivot(index=["case", "model"], columns="n_o", values="accuracy").rename_axis(columns="shared").round(1)

# %% [markdown]
# ## 13. Do layers of a language model behave like this?
#
# For each layer of a run, `python -m llm overlap` finds the directions of its output that the abilities use in $\theta_0$ and those
# that the alignment task uses in $\theta$ (leading eigenvectors of the gradients' second moments, for each task as many as hold
# 90 % of its trace: $n_a$ and $n_b$), their $n = \min(n_a, n_b)$ principal cosines, and
# what averaging that layer alone does to reward and abilities. Section 11 predicts a gain from the cosines,
# $n_{\text{eff}} / \sqrt{n_a n_b} - 1$ with $n_{\text{eff}} = (n_a + n_b + 2 S_2)^2 / (n_a + n_b + 12 S_2 + 2 S_4)$; the rank
# correlation of prediction and measurement over layers is claim C12c. This takes both tasks to have the same classes, since every
# task chooses from one vocabulary. If they have none in common, section 11 predicts a loss in every layer, by
# $\sqrt{\tfrac{(n_a + S_2)^2}{n_a (n_a + 3 S_2)} \cdot \tfrac{(n_b + S_2)^2}{n_b (n_b + 3 S_2)}} - 1$. Means over seeds of preset `microcosm`:

# %%
from llm.evidence.claims.book import read_book
from llm.evidence.claims.theory import (
    beyond_depth,
    by_apart,
    by_depth,
    by_prediction,
    by_share,
    in_units,
    mean_gain,
    measured_gain,
)
from llm.evidence.intervals import t_interval

WORLDS = {"microcosm": "microcosm", "SmolLM2-135M": "smollm2-135m"}
BOOKS = {
    world: read_book(folder)
    for world, preset in WORLDS.items()
    if any((folder := style.results(preset)).glob("overlap-seed*.json"))
}


def by_layer(book):
    """A row a layer of a seed."""
    return pd.DataFrame(
        {
            "seed": one["seed"],
            "layer": int(name.removeprefix("layer")),
            "rank, abilities": layer["ranks"][0],
            "rank, alignment": layer["ranks"][1],
            "S2 / n": layer["s2"] / min(layer["ranks"]),
            "S4 / n": layer["s4"] / min(layer["ranks"]),
            "same task": layer["null"]["within"],
            "tasks exchanged": layer["null"]["same"] / min(layer["ranks"]),
            "by chance": layer["null"]["random"] / min(layer["ranks"]),
            "predicted": layer["predicted"],
            "measured": measured_gain(layer["effect"], of_rsf["theta"], of_rsf["units"]),
            "below the null": layer["s2"] < layer["null"]["low"],
        }
        for one, of_rsf in zip(book.overlaps, in_units(book.overlaps, book.units), strict=True)
        for name, layer in of_rsf["layers"].items()
    )


LAYERS = {world: by_layer(book) for world, book in BOOKS.items()}
means = LAYERS["microcosm"].groupby("layer").mean(numeric_only=True).round(3) if "microcosm" in LAYERS else None
"No overlap measured yet: snakemake overlap." if means is None else means.drop(columns=["seed", "below the null"])


# %%
def over_seeds(number, book):
    """Mean over seeds with its interval, or the only seed's number."""
    numbers = [number(one) for one in in_units(book.overlaps, book.units)]
    if len(numbers) == 1:
        return f"{numbers[0]:+.2f} (one seed)"
    found = t_interval(numbers)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


TOLD = """
**{world}**, {seeds}: the predicted gain ranks the layers by the measured one with {prediction}; a layer's number, which knows
nothing of overlap, with {depth} (a difference of {beyond}), and the share of directions in common with {share}. The measured gain itself is {gain} on average (half in
taxes, half in rises of the reward). Over the layers of all seeds ({n}), a gain was predicted for {up} and measured for {gained}; with no class in
common a loss is predicted for all, and the sizes of the losses rank the layers with {apart}. In {below} of them the tasks share fewer
directions than when the examples' tasks are exchanged at random (below the 2.5 % quantile of 200 exchanges).
"""
NUMBERS = {
    "prediction": by_prediction,
    "apart": by_apart,
    "depth": by_depth,
    "beyond": beyond_depth,
    "share": by_share,
    "gain": mean_gain,
}
for world, book in BOOKS.items():
    of_world = LAYERS[world]
    up, gained = (int((of_world[column] > 0).sum()) for column in ("predicted", "measured"))
    counts = {"up": up, "n": len(of_world), "gained": gained or "none", "below": int(of_world["below the null"].sum())}
    told = {name: over_seeds(number, book) for name, number in NUMBERS.items()}
    sentences.show(TOLD.format(world=world, seeds=seed_count(len(book.overlaps)), **counts, **told))

# %% [markdown]
# A layer that gains is one whose average is better, in the mean over both tasks, than theta_0's layer for the abilities and theta's for the reward.
# Exchanged tasks have each task's rank and a mixture of both tasks' examples; "same task" compares two halves of one task at its own rank.
# Neither of the two has to be the larger.

# %%
if LAYERS:
    width = style.WIDTH if len(LAYERS) > 1 else style.COLUMN
    fig, axes = plt.subplots(1, len(LAYERS), figsize=(width, style.PANEL + 0.5), squeeze=False)
    for ax, (world, rows) in zip(axes[0], LAYERS.items(), strict=True):
        thirds = pd.qcut(rows["layer"], 3, labels=False)
        for third, part in enumerate(("input", "middle", "output")):
            of_third = rows[thirds == third]
            kind = {
                "color": style.look(f"part-{part}").colour,
                "label": f"layers {of_third['layer'].min()} to {of_third['layer'].max()}",
            }
            ax.plot(of_third["predicted"], of_third["measured"], ".", **kind)
        ax.axhline(0, color=INK, linewidth=0.7)
        ax.locator_params(axis="x", nbins=5)
        ax.set(title=world, xlabel="predicted gain of the layer's half-and-half average", ylabel="measured gain")
        ax.legend(loc="lower right")
    style.foot(
        fig,
        "; ".join(
            f"{world}: seed{'s' * (rows['seed'].nunique() > 1)} {', '.join(map(str, sorted(rows['seed'].unique())))}"
            for world, rows in LAYERS.items()
        )
        + "; a point is a layer of a seed.",
    )
    style.save(fig, "theory-layers-measured")

# %% [markdown]
# ## 14. What to take along
#
# * With many weak features averaging helps exactly when it raises the effective number of features, $(\sum v)^2 / \sum v^2$.
# * It can double that number: two models of one task that use different features. For weights it can also
#   lower it a little, with many features: where two models of one task share more than half of their features but not all, or
#   where tasks without a common class share some.
# * Averaged outputs of two models of one size never lower it at $\alpha = \tfrac12$, with label sets alike or disjoint. Averaged weights
#   do, because a shared feature is counted in the body *and* in the head.
# * The printed terms of Proposition 5.1 are those of averaged outputs. Its conclusion, that related tasks
#   gain more from averaging than unrelated ones, holds for averaged weights too, with their own terms, many features and a fixed part of
#   them shared. Where nearly all are shared it fails at every number of features, by a little; with few features by much.
# * Between models of one task overlap does no harm if it is even: the criterion is the variance of the squared cosines (in the mean over
#   signs). Where no class is in common it always does.
# * A ratio per feature loses nothing without noise and with label sets alike or disjoint: no single ratio is better, as long as
#   both models use what they share alike.
# * Layers that overlap differently deserve different ratios. In this model the gain is small.
# * If the classes of two tasks without a common class compete, averaged outputs hurt as well as averaged weights.

# %%
TO_TAKE = """
* Where the conclusion of the proposition fails (section 5), unrelated tasks gain up to {reverse:.1f} points more; from {failing} features on up to {still:.2f}.
* Where sizes differ, averaged outputs can be worse than the *larger* model: with {n_a:g} and {n_b:g} features, all of the smaller model's shared,
  {outputs:.1%} instead of {own:.1%} (the smaller one alone has {own_b:.1%}, so the mean over both tasks gains {gain:.1f} points).
* In the map and the table of section 7, with {most} classes or infinitely many averaging weights costs up to {many:.1f} points ({many_n:g} features,
  p = {many_p:g}), with {few} classes or fewer up to {little:.1f} ({where:g} features, p = {where_p:g}); at {n} features and at most {classes} classes up to {small:.1f}.
* A ratio per feature adds up to {best:.1f} points to the best single ratio (case 1, {n_regression} features), and takes none away.
* In this model ratios per layer raise both tasks by at most {lift:.2f} points.
"""
FEW = 10  # classes
tried = pd.concat([many, few.assign(row=few["n_classes"])])
tried = tried.assign(points=100 * tried["gain_weights"]).sort_values("points")
worst_few = tried[tried["row"] <= FEW].iloc[0]
worst_many = tried[tried["row"] >= many["n_classes"].max()].iloc[0]
sizes_differ = numbers_of("unequal sizes")
by_model = exact[exact["labels"] == "identical"].pivot(index="n_o", columns="model", values="accuracy")
sentences.show(
    TO_TAKE.format(
        reverse=-100 * finite["difference_exact"].min(),
        failing=MANY,
        still=-100 * finite.loc[finite["n"] >= MANY, "difference_exact"].min(),
        **{key: sizes_differ[key] for key in ("n_a", "n_b", "outputs", "own", "own_b")},
        gain=100 * sizes_differ["gain"],
        most=f"{many['n_classes'].max():g}",
        many=-worst_many["points"],
        many_n=worst_many["n"],
        many_p=worst_many["p"],
        few=FEW,
        little=-worst_few["points"],
        where=worst_few["n"],
        where_p=worst_few["p"],
        n=phase["n"].max(),
        classes=phase["n_classes"].max(),
        small=-100 * phase.loc[phase["model"] == "weights", "gain_exact"].min(),
        best=100 * (by_model["regression"] - by_model["best ratio"]).max(),
        n_regression=exact["n"].max(),
        lift=100 * read("layered_gain")["largest_lift"].max(),
    )
)
if "microcosm" in BOOKS:
    judged = sentences.judged(BOOKS["microcosm"], "C12c")
    if judged:
        sentences.show(f"* The one test on a network, as the ledger of claims has it: {judged}")
