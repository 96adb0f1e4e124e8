"""One picture of a run: python -m gpt.plot WORKDIR [--reports FOLDER]. Reads metrics.db, run.json and the reports of
the run's judged models, writes WORKDIR/monitor.png whole. Never runs inside the training process.
"""

import argparse
import io
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen import files
from gpt.archive import short_count
from gpt.metrics import Row, read_steps

# Okabe and Ito: told apart by everybody (jfly.uni-koeln.de/color)
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#6B6B6B"
SMOOTH_SHARE = 0.025  # of a run's steps: about as many are in a smoothed value
SIZE_INCHES, DPI = (12.0, 7.4), 110


@dataclass(frozen=True)
class Judged:
    """One judged snapshot of the run, one group of questions."""

    step: int
    rate: float
    low: float
    high: float
    num: int


def smoothed(values: list[float]) -> list[float]:
    """smooth over a fixed share of what there is, at least ten values."""
    return smooth(values, 1 - 1 / max(10.0, SMOOTH_SHARE * len(values)))


def smooth(values: list[float], decay: float) -> list[float]:
    """Exponential moving average, divided by its own weight so that it starts at the first value, not at zero."""
    out, mean = [], 0.0
    for number, value in enumerate(values, 1):
        mean = decay * mean + (1 - decay) * value
        out.append(mean / (1 - decay**number))
    return out


def read_judged(reports: Path | None, job: int | None, name: str) -> dict[str, list[Judged]]:
    """This run's verdicts by group, in order of step. A report that can't be read is not shown."""
    groups: dict[str, list[Judged]] = {}
    for path in sorted(reports.glob("*/report.json")) if reports else []:
        try:
            report = json.loads(path.read_text())
            if report.get("run", job) != job or not report["model"].startswith(f"{name}_step"):
                continue
            for group, it in report["groups"].items():
                point = Judged(int(report["step"]), float(it["pass_rate"]), it["low"], it["high"], int(it["n"]))
                groups.setdefault(group, []).append(point)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {group: sorted(points, key=lambda p: p.step) for group, points in groups.items()}


def draw(steps: list[Row], run: dict[str, Any], judged: dict[str, list[Judged]], now: float) -> bytes:
    """The picture as PNG bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(_style()):
        figure = pyplot.figure(figsize=SIZE_INCHES, dpi=DPI)
        grid = figure.add_gridspec(
            3, 2, left=0.065, right=0.975, top=0.835, bottom=0.075, hspace=0.42, wspace=0.19, width_ratios=(1.65, 1)
        )
        _header(figure, steps, run, now)
        _loss(figure.add_subplot(grid[:, 0]), steps, run)
        _judged(figure.add_subplot(grid[0, 1]), judged, run)
        _rate(figure.add_subplot(grid[1, 1]), steps, run)
        _speed(figure.add_subplot(grid[2, 1]), steps, run)
        png = io.BytesIO()
        figure.savefig(png, format="png")
        pyplot.close(figure)
    return png.getvalue()


def _style() -> Any:  # matplotlib types each key
    return {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#999999",
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "xtick.color": "#555555",
        "ytick.color": "#555555",
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
    }


def _header(figure: Any, steps: list[Row], run: dict[str, Any], now: float) -> None:
    """The facts of the run: a picture that is passed on says what it shows."""
    args = run.get("args", {})
    shape = f"{args.get('n_layer', '?')} x {args.get('n_embd', '?')} x {args.get('n_head', '?')} heads"
    batch = args.get("micro_batch", 0) * args.get("grad_accum", 0)
    figure.text(0.065, 0.955, str(run.get("name", "run")), size=17, weight="bold", va="center")
    lines = [
        f"job {run.get('job', '?')}  ·  {shape}  ·  {batch} contexts of {run.get('context_len', '?')} a step  ·  "
        f"{run.get('pack', '?')}, {run.get('contexts', '?')} contexts  ·  code {run.get('git_commit') or 'unknown'}",
        f"{run.get('machine', '?')}  ·  made {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}",
    ]
    if steps:
        last = steps[-1]
        lines[1] = (
            f"step {last.step} of {run.get('steps', '?')}  ·  {short_count(last.tokens_seen)} tokens gave loss  ·  "
            f"{_duration(last.at - steps[0].at)} since step {steps[0].step}  ·  {lines[1]}"
        )
    for i, line in enumerate(lines):
        figure.text(0.065, 0.915 - 0.027 * i, line, size=8.8, color="#444444", va="center")


def _duration(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m:02} min" if hours else f"{m} min {s:02} s"


def _loss(axes: Any, steps: list[Row], run: dict[str, Any]) -> None:
    axes.set_title("loss per labelled token")
    axes.set_xlabel("step")
    _steps_axis(axes, steps, run)
    if not steps:
        axes.text(0.5, 0.5, "no step yet", transform=axes.transAxes, ha="center", color=GREY)
        return
    at = [row.step for row in steps]
    raw = [row.loss for row in steps]
    axes.plot(at, raw, color=BLUE, alpha=0.22, linewidth=0.8)
    _line(axes, at, smoothed(raw), BLUE, "train")
    val = [(row.step, row.val_loss) for row in steps if row.val_loss is not None]
    if val:
        _line(axes, [step for step, _ in val], [loss for _, loss in val], VERMILION, "val", marker="o")
    if min(raw) > 0 and max(raw) / min(raw) > 20:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def _line(axes: Any, x: list[int], y: list[float], color: str, label: str, **style: Any) -> None:
    """A line that says its own name and last value, at its end."""
    axes.plot(x, y, color=color, linewidth=1.9, markersize=4, **style)
    _at_end(axes, x[-1], y[-1], f"{label} {y[-1]:.3g}", color)


def _at_end(axes: Any, x: float, y: float, text: str, color: str) -> None:
    axes.annotate(text, (x, y), (6, 6), textcoords="offset points", color=color, weight="bold")


def _judged(axes: Any, judged: dict[str, list[Judged]], run: dict[str, Any]) -> None:
    axes.set_title("pass rate of judged snapshots, 95 % interval")
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    _steps_axis(axes, [], run)
    if not any(judged.values()):
        axes.text(0.5, 0.5, "none yet", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    shown = {"seen_facts": ("seen facts, new words", GREEN), "unseen_articles": ("unseen articles", PURPLE)}
    for group, points in sorted(judged.items()):
        name, color = shown.get(group, (group, GREY))
        at, rates = [p.step for p in points], [p.rate for p in points]
        below, above = [max(0.0, p.rate - p.low) for p in points], [max(0.0, p.high - p.rate) for p in points]
        axes.errorbar(at, rates, yerr=[below, above], color=color, marker="o", markersize=4.5, capsize=3, linewidth=1.6)
        text = f"{name}: {100 * rates[-1]:.0f} % of {points[-1].num}"
        axes.annotate(
            text, (at[-1], rates[-1]), (-9, 7), textcoords="offset points", ha="right", color=color, weight="bold"
        )


def _rate(axes: Any, steps: list[Row], run: dict[str, Any]) -> None:
    from matplotlib.ticker import StrMethodFormatter

    axes.set_title("learning rate")
    _steps_axis(axes, steps, run)
    axes.plot([row.step for row in steps], [row.lr for row in steps], color=ORANGE, linewidth=1.9)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if steps:
        _at_end(axes, steps[-1].step, steps[-1].lr, f"{steps[-1].lr:.2g}", ORANGE)


def _speed(axes: Any, steps: list[Row], run: dict[str, Any]) -> None:
    from matplotlib.ticker import StrMethodFormatter

    axes.set_title("tokens a second")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("step")
    _steps_axis(axes, steps, run)
    at, speed = [row.step for row in steps], [row.tokens_per_s for row in steps]
    axes.plot(at, speed, color=GREY, alpha=0.25, linewidth=0.8)
    if steps:
        axes.plot(at, smoothed(speed), color=GREY, linewidth=1.9)
        axes.set_ylim(0, 1.25 * max(speed))
        axes.text(
            0.99,
            0.9,
            f"median {statistics.median(speed):,.0f}",
            transform=axes.transAxes,
            ha="right",
            color=GREY,
            weight="bold",
        )


def _steps_axis(axes: Any, steps: list[Row], run: dict[str, Any]) -> None:
    total = run.get("steps") or (steps[-1].step if steps else 1)
    axes.set_xlim(0, total * 1.12)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gpt.plot", description="Draw a run's picture.")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--reports", type=Path, help="the home's reports/, for the pass rates")
    args = parser.parse_args(argv)
    os.nice(10)  # the training goes first
    about = args.workdir / "run.json"
    run = json.loads(about.read_text()) if about.exists() else {"name": args.workdir.name}
    judged = read_judged(args.reports, run.get("job"), str(run.get("name")))
    png = draw(read_steps(args.workdir / "metrics.db"), run, judged, time.time())
    files.write_whole(args.workdir / "monitor.png", png)


if __name__ == "__main__":
    main()
