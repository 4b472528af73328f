"""A fit as its page shows it: arms over the whole range of prices, a curve, wrong answers of every kind."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from blackbox_proxy.pages.fit import CurvePoints, FitAnswer, FitMistake, FitRow, FittedPage

ROWS = [
    FitRow("closed", "the closed model by itself", 27, 0.0, 0.0, 0.125, Decimal("0.0103"), 3),
    FitRow("closed_shots_2", "the closed model after 2 examples", 13, 0.31, 0.08, 0.54, Decimal("0.0201"), 2),
    FitRow("closed_shots_6", "the closed model after 6 examples", 27, 0.52, 0.33, 0.7, Decimal("0.0398"), 3),
    FitRow("closed_instructed_shots_6", "after instructions and 6 examples", 27, 0.59, 0.4, 0.77, Decimal("0.0433"), 3),
    FitRow("expert", "the tuned small model by itself", 27, 0.56, 0.37, 0.74, Decimal(0), 3, best=True),
    FitRow(
        "steered_alpha_1", "the closed model, steered at alpha 1", 27, 0.7, 0.52, 0.85, Decimal("0.081"), 3, best=True
    ),
    FitRow(
        "steered_shots_6",
        "the closed model, steered at alpha 1, after 6 examples",
        27,
        0.78,
        0.63,
        0.93,
        Decimal("0.142"),
        3,
        best=True,
        chosen=True,
    ),
]
MISTAKES = [
    FitMistake(
        "Please file this under 3rd of May 1987.",
        "[03-MAY-1987]",
        "[03-MAI-1987]",
        "expert",
        [FitAnswer("[03-MAY-1987]", right=True), FitAnswer("[03-MAI-1987]", right=False), None],
    ),
    FitMistake(
        "Inspection: 2016-11-09, gate 4",
        "[09-NOV-2016]",
        "[11-NOV-2016]",
        "combination",
        [FitAnswer("The date is 2016-11-09.", right=False), FitAnswer("[09-NOV-2016]", right=True), None],
    ),
    FitMistake(
        "Warranty until 12.1.1999",
        "[12-JAN-1999]",
        "[01-DEC-1999]",
        "both",
        [FitAnswer("01/12/1999", right=False), FitAnswer("", right=False), FitAnswer("[12-JAN-1999]", right=True)],
    ),
]
FITTED = FittedPage(
    title="dates.jsonl",
    sentences=(
        "Use the closed model, steered at alpha 1, after 6 examples: 0.78 (0.56 to 0.94) on 18 held-back lines.",
        "On 27 validation lines it is better than the closed model by itself (+0.78, +0.63 to +0.93).",
        "It costs 0.142 USD for 1,000 answers, and the closed model by itself 0.01 USD for 1,000; the fit 0.01.",
    ),
    lines="45 lines to learn from, 27 to compare on, 18 held back",
    rows=ROWS,
    notes=[],
    off_task="On 30 questions of another kind it changes 60% of the closed model's answers (43% to 77%), and "
    "their score by -0.20 (-0.37 to -0.03): send it only questions like these lines.",
    harmful=True,
    others=["closed_shots_6", "expert", "steered_alpha_1"],
    mistakes=MISTAKES,
    wrong=3,
    curve=CurvePoints((10, 20, 41), (1.31, 0.94, 0.8), more_lines_help=True),
    recipe='arm = "steered_shots_6"\nway = "steered"\n\n[steering]\nalpha = 1.0\nmax_tokens = 24\n',
    written_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC),
    by="blackbox-proxy test",
)
