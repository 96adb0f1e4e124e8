"""From verdicts to numbers: pass rates by group and family, each beside its baselines, each with its interval."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datagen.files import read_manifest
from datagen.records import FAMILIES, GROUPS
from judge.stats import as_json, paired, rate, worst_case
from judge.verdicts import BadInput, Verdict, read_verdicts

CHANCE = {"true_false": 0.5, "which_of_two": 0.5, "multiple_choice": 0.25}  # the pass rate of guessing, where known


def describe_groups(
    ours: Sequence[Verdict],
    baselines: Mapping[str, Sequence[Verdict]],
    rivals: Mapping[str, Sequence[Verdict]],
    seed: int,
) -> dict[str, Any]:
    """The groups of a report. baselines: verdicts shown beside ours; rivals: those we are compared with, too."""
    return {
        group: {
            **by_family(_of(group, ours)),
            "baselines": {name: by_family(_of(group, theirs)) for name, theirs in baselines.items()},
            "versus": {
                name: versus(_of(group, ours), _of(group, theirs), seed=seed)
                for name, theirs in {**baselines, **rivals}.items()
            },
        }
        for group in GROUPS
    }


def by_family(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The rate of some verdicts, and of each family among them."""
    present = {verdict.family for verdict in verdicts}
    order = [name for name in FAMILIES if name in present] + sorted(present - set(FAMILIES))
    families = {name: _rate([v for v in verdicts if v.family == name]) for name in order}
    return {**_rate(verdicts), "families": families}


def _rate(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """n counts what was scored; what was not is neither pass nor fail, and its worst case is told."""
    found = rate((verdict.article, verdict.passed) for verdict in verdicts if verdict.scored)
    unscored = sum(not verdict.scored for verdict in verdicts)
    bounds = worst_case(found.passed, found.n, unscored) if unscored else None
    return {**as_json(found), "unscored": unscored, "worst_case": [round(b, 6) for b in bounds] if bounds else None}


def versus(ours: Iterable[Verdict], theirs: Iterable[Verdict], *, seed: int = 0) -> dict[str, Any]:
    """Ours against theirs, on the questions that both have scored: paired, clustered by article."""
    other = {verdict.id: verdict for verdict in theirs if verdict.scored}
    pairs = [(v.article, v.passed, other[v.id].passed) for v in ours if v.scored and v.id in other]
    return as_json(paired(pairs, seed=seed))


def compare(report_a: Path, report_b: Path, *, seed: int = 0) -> dict[str, Any]:
    """Model B against model A, from their two finished report folders: by group, B minus A.

    Raises BadInput when they were not asked the same questions, or not judged by the same judge.
    """
    ours, theirs = read_verdicts(report_b), read_rival(report_a, _manifest(report_b))
    return {group: versus(_of(group, ours), _of(group, theirs), seed=seed) for group in GROUPS}


def read_rival(report: Path, ours: Mapping[str, Any]) -> list[Verdict]:
    """The verdicts of another report, when they may be compared with one of this manifest. Raises BadInput."""
    theirs, names = _manifest(report), f"{report.name} and {ours['model']}"
    if theirs["questions_sha256"] != ours["questions_sha256"]:
        raise BadInput(f"{names} answered different questions: only answers to one pack's questions are compared")
    if theirs["judge"] != ours["judge"]:
        raise BadInput(f"{names} were judged by different judges: judge {report.name} again, then compare")
    return read_verdicts(report)


def _manifest(report: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(report)
    except (OSError, ValueError) as error:
        raise BadInput(f"there is no finished report of {report.name}: judge its answers first") from error
    if not {"questions_sha256", "judge", "model"} <= manifest.keys():
        raise BadInput(f"the manifest of the report of {report.name} is damaged: judge its answers again")
    return manifest


def _of(group: str, verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.group == group]
