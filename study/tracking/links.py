"""Links to MLflow's pages, the view of a study that they open, and a study's description.

The pages keep a shared view in a tag of the experiment, `mlflow.sharedViewState.KEY`, and
`?viewStateShareKey=KEY` opens it. MLflow has no call for that, so this module writes what the
page's own button writes (MLflow 3.17; older pages read JSON, too), without the defaults.
"""

import html
import json
import math
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from study.config.uris import DATABRICKS, is_server, with_placeholder, without_credentials
from tl_core.config import Metric, Mode, TrialConfig, direction

_RATE = "log10_lr"
AXES = ("mode", "train_ratio", _RATE, "aux_weight")
"""The params on the axes of the parallel coordinates, which have no logarithmic axis."""
_AUX_WORD = "aux_weight_word"
"""Replaces `aux_weight` if `auto` is among its values: an axis takes numbers or words."""
_FACTORS = {"uuid": "factors", "name": "Factors and score"}
_RATES = {"uuid": "rates", "name": "Factors and score of trials with a learning rate"}
_CURVES = ("val_accuracy", "train_loss")


def axes(config: TrialConfig) -> dict[str, float | str]:
    """Return the params that a trial needs for the axes, beside its configuration.

    A probe has no learning rate.
    """
    word = config.aux_weight if config.aux_weight == "auto" else f"w {config.aux_weight:g}"
    rate = {} if config.lr is None else {_RATE: round(math.log10(config.lr), 3)}
    return rate | {_AUX_WORD: word}


def shared_view(
    parent_id: str, metric: Metric, modes: Sequence[Mode], auto: bool = False
) -> tuple[str, str]:
    """Return the key and the value of the experiment's tag with the view of one study.

    The view has only the trials below the run `parent_id`, best `metric` first; parallel
    coordinates from the factors to `metric`; and curves. The key of the view is `parent_id`.

    Args:
        parent_id: of the study's run.
        metric: of the study.
        modes: those of the study.
        auto: whether `aux_weight` may be "auto".
    """
    mine = f"tags.`mlflow.parentRunId` = '{parent_id}' AND tags.`tl_study.kind` = 'trial'"
    params = [*AXES[:-1], _AUX_WORD] if auto else [*AXES]
    sections = [(_FACTORS, params)]
    if "probe" in modes:  # A chart leaves out trials without a value on each axis.
        sections = [(_FACTORS, [param for param in params if param != _RATE])]
        sections += [(_RATES, params)] if {*modes} != {"probe"} else []
    factors = [_coordinates(section["uuid"], shown, metric) for section, shown in sections]
    curves = [_curve(name) for name in dict.fromkeys((metric, *_CURVES))]
    view = {
        "searchFilter": mine,
        # In the order of time, the page folds trials up below their parent.
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": direction(metric) == "min",
        "runsHiddenMode": "SHOW_ALL",  # By default the charts have the first ten.
        "compareRunSections": [
            *(section | {"display": True, "columns": 1} for section, _ in sections),
            {"uuid": "curves", "name": "Curves", "display": True},
            # Here the page adds a chart for each other metric; it must have this name.
            {"uuid": "others", "name": "Model metrics", "display": False},
        ],
        "isAccordionReordered": True,  # Keeps the sections in this order.
        "compareRunCharts": [*factors, *curves],
    }
    return f"mlflow.sharedViewState.{parent_id}", json.dumps(view)


def address(experiment_id: str, view_key: str | None = None) -> str:
    """Return the part after a server's URL: the view of a study, or the charts of all runs."""
    # Without workflowType the page is an overview for language-model apps.
    runs = f"#/experiments/{experiment_id}/runs"
    charts = f"{runs}?workflowType=machine_learning&compareRunsMode=CHART"
    return f"{charts}&viewStateShareKey={view_key}" if view_key else charts


def description(links: Iterable[str], answer: Iterable[str]) -> str:
    """Return a study's description in Markdown: links, then its answer's sentences.

    The page folds up all but the first lines. Sentences are plain text: names of files and classes
    may have letters that Markdown reads.
    """
    texts = (html.escape(sentence, quote=False) for sentence in answer)
    plain = (re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", text) for text in texts)
    return "\n\n".join([" · ".join(links), *plain])


def where_to_look(uri: str, experiment_id: str, view_key: str | None = None) -> str:
    """The address of the trials in MLflow's pages, with the command that starts the pages."""
    view = address(experiment_id, view_key)
    if is_server(uri):
        return f"compare trials: {without_credentials(uri).rstrip('/')}/{view}"
    if uri.partition("://")[0] in DATABRICKS:  # Its own pages have the runs.
        return f"compare trials: experiment {experiment_id} of {without_credentials(uri)}"
    # If the virtual environment is not activated, it is beside this Python.
    mlflow = "mlflow" if shutil.which("mlflow") else Path(sys.executable).with_name("mlflow")
    # The command needs the user and password that are not shown.
    own = shlex.quote(with_placeholder(uri))
    return (
        f"compare trials: {shlex.quote(str(mlflow))} ui --backend-store-uri {own}\n"
        f"          then: http://127.0.0.1:5000/{view}"
    )


def _coordinates(section: str, params: list[str], metric: Metric) -> dict[str, Any]:
    chart = {"type": "PARALLEL", "uuid": f"{section}-chart", "metricSectionId": section}
    return chart | {"selectedParams": params, "selectedMetrics": [metric]}


def _curve(metric: str) -> dict[str, Any]:
    chart = {"type": "LINE", "uuid": f"curve-{metric}", "metricSectionId": "curves"}
    # With the settings of the page: over epochs, not smoothed.
    look = {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return chart | {"metricKey": metric, "displayName": metric} | look
