"""The report's statistics. The one place where harness reaches up into analysis, when called."""

import numpy as np

from harness.commands.parity_ops.common import Inputs, Outputs


def welch_t(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    d = stats.welch(np.array(inputs["x"]), np.array(inputs["y"]))
    return {"statistic": d.value / d.error, "pvalue": d.p, "df": d.df}


def paired_t(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    d = stats.paired(np.array(inputs["x"]), np.array(inputs["y"]))
    return {"statistic": d.value / d.error, "pvalue": d.p}


def permutation_exact(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"pvalue": stats.permutation_p(np.array(inputs["x"]), np.array(inputs["y"]))}


def paired_sign_flip_exact(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"pvalue": stats.sign_flip_p(np.array(inputs["x"]), np.array(inputs["y"]))}


def holm(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"adjusted": stats.holm(np.array(inputs["pvalues"])).tolist()}


def benjamini_hochberg(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"adjusted": stats.benjamini_hochberg(np.array(inputs["pvalues"])).tolist()}


def iqm(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"iqm": stats.iqm(np.array(inputs["scores"]))}


def optimality_gap(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"gap": stats.optimality_gap(np.array(inputs["scores"]), params["gamma"])}


def performance_profile(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    scores, taus = np.array(inputs["scores"]), np.array(params["taus"])
    return {"profile": stats.performance_profile(scores, taus).tolist()}


def probability_of_improvement(inputs: Inputs, params: Inputs) -> Outputs:
    from analysis import stats

    return {"prob": stats.probability_of_improvement(np.array(inputs["x"]), np.array(inputs["y"]))}
