"""The figures of `tests.bench.fit_tasks`, from raw scores. Pure, but for the page that is written.

    python -m tests.bench.fit_figures FOLDER [FILE ...]

puts the units of the FILEs into FOLDER/fit.json, and writes FOLDER/fit.md from it; what stands behind `END` in the page
stays. Of a unit that several files have the one that was measured last is taken. Units may be of several commits: each
has the commit, the version of the package, the time, the cores and the command that it was measured with, and the page
marks those that are of another version than the last one.

A unit holds what was chosen, what was foretold, and each arm's scores on the fresh lines; all else follows from these.

regret: the best arm's score less the chosen one's, on the same fresh lines. The best of several looks better than it
is, so regret is a little too large. covered: whether the interval that validation had foretold holds the score.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from blackbox_proxy.evaluation.statistics import mean
from blackbox_proxy.files import replace_text

Unit = dict[str, Any]
Units = Mapping[str, Mapping[str, Unit]]
"""Units by task and seed."""

ROLES = ("closed", "few_shot", "instructed", "expert")
"""Arms that every task has, where lines and instructions suffice."""

END = "<!-- what stands above is written by tests.bench.fit_figures -->"

HEAD = (
    "task",
    "seed",
    "chosen",
    "score",
    "foretold",
    "best arm",
    "regret",
    *(role.replace("_", "-") for role in ROLES),
    "changed / lost",
    "USD for 1,000",
    "minutes",
)


def packed(scores: list[float]) -> str:
    """Scores in the order of the fresh lines, as one word each."""
    return " ".join(f"{score:g}" for score in scores)


def derived(unit: Unit) -> Unit:
    """Everything of a unit that follows from its raw scores."""
    scores = {name: [float(word) for word in words.split()] for name, words in unit["scores"].items()}
    means = {name: fmean(values) for name, values in scores.items()}
    chosen = mean(scores[unit["chosen"]])
    assert chosen is not None
    best = max(means, key=lambda name: (means[name], name == unit["chosen"]))
    return {
        "n": chosen.n,
        "score": round(chosen.value, 4),
        "low": round(chosen.low, 4),
        "high": round(chosen.high, 4),
        "best_arm": best,
        "best_score": round(means[best], 4),
        "regret": round(means[best] - chosen.value, 4),
        "covered": unit["predicted_low"] <= chosen.value <= unit["predicted_high"],
        **{role: _of(means, unit["roles"].get(role)) for role in ROLES},
    }


def _of(means: Mapping[str, float], name: str | None) -> float | None:
    return None if name is None or name not in means else round(means[name], 4)


def summary(units: Units) -> Unit:
    """What all units come to."""
    every = [unit for _, _, unit in flat(units)]
    last = last_version(units)
    widths = [unit["predicted_high"] - unit["predicted_low"] for unit in every]
    return {
        "units": len(every),
        "of_the_last_version": sum(unit["code"] == last for unit in every),
        "mean_regret": round(fmean(unit["regret"] for unit in every), 4),
        "largest_regret": max(unit["regret"] for unit in every),
        "covered": sum(unit["covered"] for unit in every),
        "mean_width": round(fmean(widths), 4),
        "mean_minutes": round(fmean(unit["minutes"] for unit in every), 1),
    }


def flat(units: Units) -> Iterator[tuple[str, str, Unit]]:
    """Each unit with its task and seed."""
    for task, seeds in units.items():
        for seed, unit in seeds.items():
            yield task, seed, unit


def last_version(units: Units) -> str:
    """The version of the package that the unit which was measured last was measured with."""
    last = max((unit for _, _, unit in flat(units)), key=lambda unit: str(unit["at"]))
    return str(last["code"])


def merged(several: Sequence[Units]) -> dict[str, dict[str, Unit]]:
    """All units; of those of the same task and seed the one that was measured last."""
    taken: dict[str, dict[str, Unit]] = {}
    for units in several:
        for task, seed, unit in flat(units):
            before = taken.setdefault(task, {}).get(seed)
            if before is None or unit["at"] >= before["at"]:
                taken[task][seed] = unit
    return taken


def read_units(path: Path) -> dict[str, dict[str, Unit]]:
    """The units of a file; none where there is no file."""
    if not path.exists():
        return {}
    read: dict[str, dict[str, Unit]] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return read


def write_units(path: Path, units: Units) -> None:
    """All units with what they come to."""
    written = {"n": len([*flat(units)]), "summary": summary(units), "figures": units}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def table(units: Units) -> str:
    """The units as a table in Markdown."""
    last = last_version(units)
    rows = (_row(task, seed, unit, is_last=unit["code"] == last) for task, seed, unit in flat(units))
    return _markdown(HEAD, rows)


def runs(units: Units) -> str:
    """What units were measured with, as a table: a line for each version, commit, day, number of cores and command."""
    counted = Counter(
        (unit["code"], unit["commit"], str(unit["at"])[:10], str(unit["cores"]), f"`{unit['command']}`")
        for _, _, unit in flat(units)
    )
    head = ("version", "commit", "day", "cores", "command", "units")
    return _markdown(head, ((*run, str(count)) for run, count in sorted(counted.items(), key=lambda one: one[0][2])))


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def page(kept: Unit) -> str:
    """The page of some figures, up to what others write below."""
    came, units = kept["summary"], kept["figures"]
    older = kept["n"] - came["of_the_last_version"]
    said = f"; {older} of another version than the last one, marked *" if older else ""
    return f"""# Fits of small tasks, measured

{kept["n"]} units{said}:

{runs(units)}

Five tasks as a stranger brings them (`tests/bench/stranger`), and boxed ones; a seed parts the lines. The chosen arm
was tested on fresh lines, beside the arms that it was chosen from and four that every task has. Regret is the best
arm's score less the chosen one's; foretold is what validation had said; changed / lost: the share of the closed model's
answers to questions of another kind that the recipe changes, and the score that is lost there, on questions that `fit`
had not asked.

Mean regret {came["mean_regret"]:.3f}, the largest {came["largest_regret"]:.3f}; the interval that was foretold holds
the score in {came["covered"]} of {came["units"]}, at a mean width of {came["mean_width"]:.2f}; {came["mean_minutes"]}
minutes a fit on average.

{table(units)}

{probes(units)}[fit.json](fit.json) has the score of every answer.

{END}
"""


def probes(units: Units) -> str:
    """What routes by agreement would have saved beside those that were fitted (`fit_probe`); "" without figures."""
    every = [unit["probe"] for _, _, unit in flat(units) if unit.get("probe") and unit["probe"]["saved"] is not None]
    if not every:
        return ""
    better = sum(one["saved"] > (one["local"] or 0.0) and one["loss"] <= 0.0 for one in every)
    price, agree, saved = (fmean(one[name] for one in every) for name in ("price", "agree", "saved"))
    return (
        "A route that asks the closed model for its first tokens, and takes the expert's answer where it begins so, "
        f"is computed from kept answers: a question costs {price:.2f} of an answer, {agree:.2f} of the lines agree, "
        f"and {saved:+.2f} of the price is saved, on average. In {better} of {len(every)} units it saves more than the "
        "route by sureness, and loses nothing.\n\n"
    )


def write_page(folder: Path) -> None:
    """Write the page of a folder's figures; what stands behind `END` stays."""
    path = folder / "fit.md"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    kept: Unit = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    path.write_text(page(kept) + before.partition(f"{END}\n")[2], encoding="utf-8")


def _row(task: str, seed: str, unit: Unit, *, is_last: bool) -> tuple[str, ...]:
    harm = unit["off_task"]
    return (
        task if is_last else f"{task} *",
        seed,
        unit["chosen"],
        f"{unit['score']:.2f} ({unit['low']:.2f} to {unit['high']:.2f})",
        f"{unit['predicted']:.2f} ({unit['predicted_low']:.2f} to {unit['predicted_high']:.2f})",
        f"{unit['best_arm']} {unit['best_score']:.2f}",
        f"{unit['regret']:.2f}",
        *("" if unit[role] is None else f"{unit[role]:.2f}" for role in ROLES),
        f"{harm['changed']:.2f} / {harm['lost']:+.2f}" if harm else "",
        "" if unit["usd_per_1000"] is None else f"{unit['usd_per_1000']:.3g}",
        f"{unit['minutes']:.1f}",
    )


def main(folder: Path, files: Sequence[Path]) -> None:
    """Merge, and write the page."""
    path = folder / "fit.json"
    write_units(path, merged([read_units(one) for one in (path, *files)]))
    write_page(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
