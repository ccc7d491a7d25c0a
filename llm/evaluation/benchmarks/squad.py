"""SQuAD's scores, as its own scripts define them: v1.1's (Rajpurkar et al., arXiv 1606.05250) for `tasks/squad_v1_f1.yaml`, and
v2's (Rajpurkar et al., arXiv 1806.03822), where some questions have no answer, for `tasks/squad_v2_f1.yaml`.

`llm.evaluation.measurement.f1` is that of SQuAD v2's script. The two differ in one case: of a right answer of which articles and
punctuation leave no word, v1.1 gives an equally empty reply an F1 of 0 (and an exact match of 1), v2 gives it 1.
"""

from collections.abc import Mapping, Sequence

from ..measurement import f1, normalise


def squad_f1(reply: str, answers: Sequence[str]) -> float:
    """The best F1 over the right answers, in [0, 1]."""
    return max(f1(reply, answer) if normalise(answer) else 0.0 for answer in answers)


def exact_match(reply: str, answers: Sequence[str]) -> float:
    """1 if the reply is one of the right answers but for case, articles, punctuation and spaces, else 0."""
    return float(any(normalise(reply) == normalise(answer) for answer in answers))


def scores(doc: Mapping, replies: Sequence[str]) -> dict[str, float]:
    """lm-eval's `process_results` of one row: {"f1", "exact_match"}, each in [0, 1]."""
    (reply,), answers = replies, doc["answers"]["text"]
    return {"f1": squad_f1(reply, answers), "exact_match": exact_match(reply, answers)}


def first_answer(doc: Mapping) -> str:
    """lm-eval's `doc_to_target`; every question of SQuAD v1.1 has an answer."""
    if not doc["answers"]["text"]:
        raise ValueError("a question without an answer, which SQuAD v1.1 does not have")
    return " " + doc["answers"]["text"][0]


def scores_v2(doc: Mapping, replies: Sequence[str]) -> dict[str, float]:
    """The same of SQuAD v2: a question without an answer is answered rightly by a reply without words.

    As in lm-eval's task `squadv2`, whose threshold for a model's own probability that there is no answer is never reached.
    """
    (reply,), answers = replies, [answer for answer in doc["answers"]["text"] if normalise(answer)] or [""]
    return {"f1": max(f1(reply, answer) for answer in answers), "exact_match": exact_match(reply, answers)}


def first_answer_v2(doc: Mapping) -> str:
    """lm-eval's `doc_to_target` of its task `squadv2`."""
    return " " + next(iter(doc["answers"]["text"]), "unanswerable")
