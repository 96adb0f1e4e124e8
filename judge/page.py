"""report.md: what a person reads when a model has been judged, in a terminal or a browser.

The head line first, then the table by family, the picture of the same numbers, articles never seen, answers quoted,
and how it was judged. Numbers come from report.json; nothing is computed here but what is shown.
"""

import random
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datagen.records import Question
from judge.canaries import canaries
from judge.stats import EFFECT
from judge.terminal import plain, row
from judge.verdicts import Verdict

WIDTH = 96
STRIP = 51  # columns of the picture, one for each two points
QUOTED = 5
SEEN, UNSEEN = "seen_facts", "unseen_articles"
WHAT = {
    SEEN: "facts the model was taught, asked in words it never saw",
    UNSEEN: "articles the model never saw",
}
MARKS = {"untrained": "×", "most_frequent": "○"}


def render(
    report: Mapping[str, Any], verdicts: Sequence[Verdict], questions: Mapping[str, Question], *, seed: int
) -> str:
    """The whole page. seed: chooses the quoted answers."""
    groups, draw = report["groups"], random.Random(seed)
    parts = [
        f"# {plain(report['model'])}",
        *_trust(report),
        _headline(groups[SEEN]),
        *_sample(report),
        *_versus(report, SEEN),
    ]
    parts += ["## Facts it was taught, in words it never saw", _table(groups[SEEN], report["chance"])]
    parts += [_picture(groups[SEEN], report["chance"])] if groups[SEEN]["n"] else []
    parts += ["## Articles it never saw", _unseen(groups[UNSEEN]), *_versus(report, UNSEEN)]
    parts += [_table(groups[UNSEEN], report["chance"])] if groups[UNSEEN]["n"] else []
    seen = [verdict for verdict in verdicts if verdict.group == SEEN]
    for title, wanted in (("Passed", "PASS"), ("Failed", "FAIL")):
        chosen = choose([verdict for verdict in seen if verdict.verdict == wanted], QUOTED, draw)
        parts += [f"## {title}, {len(chosen)} of {sum(v.verdict == wanted for v in seen):,}, drawn at random"]
        parts += [_fenced(_quoted(verdict, questions[verdict.id]) for verdict in chosen)] if chosen else []
    return "\n\n".join([*parts, "## How it was judged", *_how(report)]) + "\n"


def choose(verdicts: Sequence[Verdict], count: int, draw: random.Random) -> list[Verdict]:
    """Up to `count` verdicts at random, the families in turn."""
    queues: dict[str, list[Verdict]] = {}
    for verdict in draw.sample(list(verdicts), len(verdicts)):
        queues.setdefault(verdict.family, []).append(verdict)
    chosen: list[Verdict] = []
    while len(chosen) < min(count, len(verdicts)):
        chosen += [queue.pop() for queue in queues.values() if queue]
    return chosen[:count]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _span(numbers: Mapping[str, Any]) -> str:
    """'48.1 %  [41.0, 55.2]', in columns."""
    if not numbers.get("n"):
        return "-".rjust(7) + " " * 14
    return f"{percent(numbers['pass_rate']):>7} " + f"[{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]".ljust(
        13
    )


def _trust(report: Mapping[str, Any]) -> Iterator[str]:
    if report["trusted"]:
        return
    missed = report["missed_canaries"]
    yield f"**UNTRUSTED: the judge missed {len(missed)} of its own test answers. The numbers below mean nothing.**"
    yield _fenced(f"  {plain(m['answer'], 40)!r} must {m['must']}: {plain(m['said'], 200)}" for m in missed)


def _headline(group: Mapping[str, Any]) -> str:
    if not group["n"]:
        return f"No question about {WHAT[SEEN]} was judged."
    return (
        f"**{percent(group['pass_rate'])} pass**: {group['passed']:,} of {group['n']:,} questions on {WHAT[SEEN]}.\n"
        f"95 % interval {percent(group['low'])} to {percent(group['high'])}, from {group['num_articles']:,} articles."
        + _left_out(group)
    )


def _sample(report: Mapping[str, Any]) -> Iterator[str]:
    asked, there = report["num_asked"], report["num_questions"]
    if asked < there:
        yield f"A sample: the model was asked {asked:,} of the pack's {there:,} questions."


def _unseen(group: Mapping[str, Any]) -> str:
    if not group["n"]:
        return "No question about an article it never saw was judged." + _left_out(group)
    articles = f"{group['num_articles']:,} article" + "s" * (group["num_articles"] != 1)
    return (
        f"{percent(group['pass_rate'])} pass: {group['passed']:,} of {group['n']:,} questions from {articles} that "
        f"are in no training data\n(95 % interval {percent(group['low'])} to {percent(group['high'])}). "
        "What passes here was guessed, or is told elsewhere too." + _left_out(group)
    )


def _left_out(group: Mapping[str, Any]) -> str:
    if not group["unscored"]:
        return ""
    low, high = map(percent, group["worst_case"])
    said = f"{group['unscored']:,} more were not scored (neither pass nor fail): "
    return "\n" + textwrap.fill(f"{said}the rate would be {low} had all failed, {high} had all passed.", WIDTH)


def _versus(report: Mapping[str, Any], group: str) -> Iterator[str]:
    lines = [_against(name, v) for name, v in report["groups"][group]["versus"].items() if v["n"]]
    if group == SEEN and report["note"]:
        lines.append(_bullet(plain(report["note"])))
    if lines:
        yield "\n".join(lines)


def _against(name: str, v: Mapping[str, Any]) -> str:
    words = {"no difference": f"no difference of {100 * EFFECT:.0f} points or more"}.get(v["words"], v["words"])
    p = "p < 0.0001" if v["p"] < 0.0001 else f"p = {v['p']:.4f}"
    visible, undecided = v["smallest_visible"], v["words"] in ("no difference", "cannot tell")
    eye = f"; so many questions show differences from {100 * visible:.1f} points up" if visible and undecided else ""
    low, high = (f"{100 * v[side]:+.1f}" for side in ("low", "high"))
    return _bullet(
        f"against {spoken(name)}: {100 * v['difference']:+.1f} points ({low} to {high}, {p}): **{words}**{eye}"
    )


def spoken(name: str) -> str:
    """A baseline's or model's name, as it stands in a sentence."""
    known = {"untrained": "the untrained model", "most_frequent": "the most frequent answer"}
    return known.get(name) or plain(name, 60)


def _table(group: Mapping[str, Any], chance: Mapping[str, float]) -> str:
    """By family: how many, and the pass rate with its interval of the model, of each baseline, of guessing."""
    columns = {"this model": group, **group["baselines"]}
    heads = [plain(name, 21).replace("_", " ").ljust(21) for name in columns]
    lines = [f"{'family':<16}{'asked':>6}  {'  '.join(heads)}  guess"]
    lines.append("─" * len(lines[0]))
    for family in group["families"]:
        cells = [_span(column["families"].get(family, {})) for column in columns.values()]
        guess = percent(chance.get(family)).replace(".0", "")
        lines.append(f"{_label(family)}{group['families'][family]['n']:>6,}  {'  '.join(cells)}  {guess:>5}")
    lines.append("─" * len(lines[0]))
    lines.append(f"{'all':<16}{group['n']:>6,}  {'  '.join(_span(column) for column in columns.values())}      -")
    return _fenced(line.rstrip() for line in lines)


def _label(family: str) -> str:
    return plain(family, 15).replace("_", " ").ljust(16)


def _picture(group: Mapping[str, Any], chance: Mapping[str, float]) -> str:
    """The same rates on a scale, one line a family."""
    marks = [("guess", "┊")] + [(name, MARKS.get(name, "+")) for name in group["baselines"]]
    lines = [" " * 16 + "".join(f"{at} %".ljust(STRIP // 4) for at in (0, 25, 50, 75)).ljust(STRIP - 2) + "100 %"]
    for family, numbers in [*group["families"].items(), ("all", group)]:
        if not numbers["n"]:
            continue
        others = [{"pass_rate": chance.get(family)}]
        others += [b["families"].get(family, {}) if family != "all" else b for b in group["baselines"].values()]
        points = [(o.get("pass_rate"), mark) for o, (_, mark) in zip(others, marks, strict=True)]
        lines.append(_label(family) + strip(numbers, points))
    key = "   ".join(f"{mark} {plain(name, 30).replace('_', ' ')}" for name, mark in marks)
    return _fenced([*lines, " " * 16 + "├●┤ this model, 95 %   " + key])


def strip(numbers: Mapping[str, Any], points: Sequence[tuple[float | None, str]]) -> str:
    """One line of the picture: the interval, then the marks of the others, then the model's own on top."""
    cells = ["·"] * STRIP
    low, high, own = (round(numbers[name] * (STRIP - 1)) for name in ("low", "high", "pass_rate"))
    cells[low : high + 1] = "─" * (high + 1 - low)
    cells[low], cells[high] = "├", "┤"
    for share, mark in points:
        if share is not None:
            cells[round(share * (STRIP - 1))] = mark
    cells[own] = "●"
    return "".join(cells)


def _quoted(verdict: Verdict, question: Question) -> str:
    rows = (
        (verdict.family.replace("_", " "), question.question),
        ("reference", question.reference.answer),
        ("answer", verdict.answer or ""),
        (verdict.verdict, verdict.explanation),
    )
    return "\n".join(row(plain(label, 16), plain(text) or "(nothing)", indent=20, width=WIDTH) for label, text in rows)


def _how(report: Mapping[str, Any]) -> Iterator[str]:
    judge, made_at = report["judge"], time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report["judged_at"]))
    count, missed = sum(1 for _ in canaries()), len(report["missed_canaries"])
    said = [
        f"Judge: {judge['name']}, version {judge['version']}, source {judge['sha256'][:12]}; {made_at}; "
        f"pack {plain(report['pack'], 40)}.",
        f"Test answers with a known verdict, judged in this run: {count - missed} of {count} as they must be.",
        "An answer passes when it holds the dates, numbers and names of the reference and nothing of the same kind "
        "against them. It is strict: a true fact beside the point fails too.",
        "Intervals are Wilson's, on the number of independent questions these are worth: the questions of an article "
        "stand or fall together.",
        "Differences are paired by question and clustered by article; p is the sign-flip test.",
    ]
    if report["unstopped"]:
        said.append(f"{report['unstopped']:,} answers ran into the token limit before the model ended them.")
    yield "\n".join(_bullet(sentence) for sentence in said)


def _bullet(sentence: str) -> str:
    return textwrap.fill(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def _fenced(lines: "Iterator[str] | Sequence[str]") -> str:
    blocks = list(lines)
    gap = "\n\n" if any("\n" in block for block in blocks) else "\n"
    return "```text\n" + gap.join(blocks) + "\n```"
