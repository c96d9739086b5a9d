"""Whether what a client observed had settled: the stationarity of its requests.

Owns what counts as being in the system: from sending to the end, whatever the outcome; a request that was
not sent never was. Input: the records that count. Output: a `RunVerdict`. The test is
`argosy.engine.stationarity`'s. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from argosy.client.records import RequestRecord
from argosy.engine.stationarity import RunVerdict, judge_run


def run_verdict(records: Iterable[RequestRecord]) -> RunVerdict:
    """Stationary, backlogged, overloaded or unknown, with the figures and a sentence."""
    spans = [(record.sent_s, record.end_s) for record in records if record.sent_s is not None]
    times_s = np.array(spans, dtype=np.float64).reshape(len(spans), 2)
    return judge_run(times_s[:, 0], times_s[:, 1])
