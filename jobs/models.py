"""The archive on a terminal: python -m jobs.models list | show NAME | note NAME TEXT. Standard library only."""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt import archive
from gpt.archive import DamagedModel, Entry
from jobs.screen import safe


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 refused with a sentence."""
    parser = argparse.ArgumentParser(prog="jobctl models", description="What is in models/, and what you think of it.")
    parser.add_argument("--home", type=Path, default=Path.cwd(), help="the folder that holds models/")
    parser.add_argument("--json", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every model, oldest first")
    show = commands.add_parser("show", help="one model: what it is, where it came from")
    show.add_argument("name")
    note = commands.add_parser("note", help="write a model's note, or read it")
    note.add_argument("name")
    note.add_argument("text", nargs="?")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    try:
        code = {"list": print_list, "show": print_one, "note": print_note}[args.command](args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `jobctl models list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (FileNotFoundError, DamagedModel) as error:
        print(error, file=sys.stderr)
        return 1


def print_list(args: argparse.Namespace) -> int:
    models, damaged = archive.survey(args.home)
    for sentence in damaged:
        print(sentence, file=sys.stderr)
    if args.json:
        print(json.dumps([as_json(args.home, model) for model in models]))
    elif not models and not damaged:
        print("no models yet: a train job keeps one at its last step")
    elif models:
        print_table([("model", "step", "tokens", "val loss", "judged", "note"), *(line(args.home, m) for m in models)])
    return 0


def line(home: Path, model: Entry) -> tuple[str, ...]:
    about = model.manifest
    loss = "" if about.get("val_loss") is None else f"{about['val_loss']:.3f}"
    rate = seen_rate(home, model.name)
    judged = "" if rate is None else f"{rate:.0%}"
    tokens = archive.short_count(about.get("tokens_seen") or 0)
    return model.name, str(about.get("step", "")), tokens, loss, judged, safe(first_line(model.note))


def print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = {1, 2, 3, 4}
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def print_one(args: argparse.Namespace) -> int:
    model = archive.entry(args.home / "models" / args.name)
    if args.json:
        print(json.dumps(as_json(args.home, model)))
        return 0
    about = model.manifest
    config = about["config"]
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["created_at"]))
    size = sum((model.folder / name).stat().st_size for name in about["sha256"]) / 2**20
    judged = seen_rate(args.home, model.name)
    facts = {
        "kind": about["kind"],
        "made": f"{made}, {size:.1f} MiB, weights {about['sha256'][archive.WEIGHTS][:16]}",
        "shape": f"{config['n_layer']} layers x {config['n_embd']}, {config['n_head']} heads, "
        f"vocabulary {config['vocab_size']}, context {config['context_len']}",
        "trained": f"step {about.get('step')}, {about.get('tokens_seen')} tokens that gave loss, "
        f"val loss {about.get('val_loss')}",
        "from": f"job {about.get('run')}, pack {about.get('pack')}, parent {about.get('parent')}",
        "code": about.get("git_commit"),
        "judged": None if judged is None else f"{judged:.1%} of the seen facts",
        "note": safe(model.note) or None,
    }
    print(model.name)
    for name, value in facts.items():
        if value is not None:
            print(f"  {name:8} {value}")
    return 0


def print_note(args: argparse.Namespace) -> int:
    folder = args.home / "models" / args.name
    if args.text is not None:
        archive.write_note(folder, args.text)
    note = archive.entry(folder).note
    print(json.dumps({"name": args.name, "note": note}) if args.json else safe(note))
    return 0


def as_json(home: Path, model: Entry) -> dict[str, Any]:
    return {**asdict(model), "folder": str(model.folder), "pass_rate": seen_rate(home, model.name)}


def seen_rate(home: Path, name: str) -> float | None:
    """The judged pass rate on seen facts; None when nobody judged, or the report can't be read."""
    try:
        report = json.loads((home / "reports" / name / "report.json").read_text())
        rate = report["groups"]["seen_facts"]["pass_rate"]
        return None if rate is None else float(rate)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


if __name__ == "__main__":
    sys.exit(main())
