"""Puts the figures of the right token together: which forms are written, and how `cron` is answered.

    python -m tests.bench.right_token --forms build/forms.jsonl --known FILE --unknown FILE [--out FILE]

forms: what `tests.bench.forms` has found. known, unknown: figures of `evaluate cron`, with the API's tokenizer known to
the steering, and not. `<api>.<pair>`: forms, exact_known and exact_unknown as shares, what steps said of themselves.
cron: scores. heavier_rest: steps that were emitted against a heavier rest in silence, which `Step.outweighed` rules out
by its definition (tests/core/test_strings.py); heavier_rest_said: share of the steps that said so, tokenizer known.
rows: the first few of the forms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.forms import rows, summary

SHOWN = 3
"""Rows of the forms that are kept with the figures, so that a test can make one of them anew."""


def figures(forms: Path, known: Mapping[str, Any], unknown: Mapping[str, Any]) -> dict[str, object]:
    """All figures, from the files of the runs."""
    written = summary(forms)
    said = sum(row["outweighed_known"] for row in written.values())
    steps = sum(row["steps_known"] for row in written.values())
    cron: dict[str, object] = {}
    if known:
        own = known["cron"]
        cron = {"known": own["steered"]["score"], "expert": own["expert"]["score"], "n": own["steered"]["n"]}
        said += own["steered"]["exactness"].get("outweighed", 0.0) * own["steered"]["exactness"]["tokens"]
        steps += own["steered"]["exactness"]["tokens"]
    if unknown:
        cron |= {"unknown": unknown["cron"]["steered"]["score"]}
    rest = {"heavier_rest": 0, "heavier_rest_said": round(said / max(steps, 1), 5)}
    return {**written, "cron": cron, **rest, "rows": rows(forms)[:SHOWN]}


def _read(path: Path | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return found


def main() -> None:
    """Put together; see the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--forms", type=Path, default=Path("build/forms.jsonl"))
    options.add_argument("--known", type=Path)
    options.add_argument("--unknown", type=Path)
    options.add_argument("--out", type=Path, default=Path("build/right_token.json"))
    args = options.parse_args()
    found = figures(args.forms, _read(args.known), _read(args.unknown))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
