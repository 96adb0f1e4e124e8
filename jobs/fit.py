"""What a training would take of a card, for each micro_batch that keeps its step: python -m jobs.fit --args JSON ...

Trains nothing and touches no GPU; `jobctl fit` calls it with a recipe's numbers and what the card has free.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from jobs import batches
from jobs.contract import BadArgs
from jobs.screen import safe


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 refused with a sentence."""
    parser = argparse.ArgumentParser(prog="jobctl fit")
    parser.add_argument("--name", required=True)
    parser.add_argument("--args", type=json.loads, required=True, help="of the train job, as given")
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--context-len", type=int, required=True)
    parser.add_argument("--free-mib", type=int, required=True)
    parser.add_argument("--reserve-mib", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True, help="where findings are kept")
    parser.add_argument("--card", help="whose findings to show; none: the newest")
    parser.add_argument("--labelled", type=float)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--json", action="store_true")
    try:
        found = fit(parser.parse_args(argv))
    except (BadArgs, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    told = parser.parse_args(argv)
    print(json.dumps(found) if told.json else "\n".join(lines(found)))
    return 0


def fit(told: argparse.Namespace) -> dict[str, Any]:
    """The table, the micro_batch the recipe says, and the largest that fits. Raises BadArgs, BadConfig."""
    import jobs.kind
    from gpt import memory
    from jobs.kinds.train import Args, model_config, train_config

    args: Args = jobs.kind.parse("train", told.args)
    args = dataclasses.replace(args, recompute=told.recompute or args.recompute)
    shape = model_config(args, vocab_size=told.vocab_size, context_len=told.context_len)
    config = train_config(args, Path(args.pack), shape)
    share = memory.LABELLED if told.labelled is None else told.labelled
    every = memory.table_of(config, told.context_len, 4 if args.dtype == "float32" else 2, share)
    rows = [row for row in every if config.contexts_per_step // row.micro_batch % args.processes == 0]
    best = memory.largest_fitting(rows, told.free_mib, told.reserve_mib)
    card, found = measured(batches.Fits(told.home, batches.recipe(args, shape, told.context_len), ""), told.card)
    return {
        "name": told.name, "parameters": memory.num_parameters(shape), "contexts_per_step": config.contexts_per_step,
        "context_len": told.context_len, "free_mib": told.free_mib, "reserve_mib": told.reserve_mib,
        "now": args.micro_batch, "best": None if best is None else best.micro_batch, "measured_on": card,
        "table": [
            {"micro_batch": row.micro_batch, "grad_accum": config.contexts_per_step // row.micro_batch,
             "total_mib": round(row.total_mib), "states_mib": round(row.states_mib), "kept_mib": round(row.kept_mib),
             "passing_mib": round(row.passing_mib), "fits": row.total_mib <= told.free_mib - told.reserve_mib,
             "measured_mib": found.get(row.micro_batch)}
            for row in rows
        ],
    }  # fmt: skip


def measured(fits: batches.Fits, card: str | None) -> tuple[str | None, dict[int, int | None]]:
    """(the card, its findings): the MiB that each micro_batch took there. Of the first card where none is named."""
    by_card = fits.by_card()
    if card is None:
        card = next((name for name in by_card if name != "cpu"), None)
    return card, {each.get("micro_batch", 0): each.get("took_mib") for each in by_card.get(card or "", [])}


def lines(found: dict[str, Any]) -> list[str]:
    """The table for a terminal, down to two rows past the largest that fits."""
    from gpt import memory

    step, rows = found["contexts_per_step"], found["table"]
    shape = f"{found['parameters'] / 1e6:.1f} M parameters, {step} contexts of {found['context_len']} tokens a step"
    said = [
        f"{found['name']}: {shape}",
        f"{found['free_mib']:,} MiB are free, {found['reserve_mib']:,} of them stay the desktop's. Predicted, in MiB,",
        f"the total with {memory.CONTEXT_MIB} for CUDA itself and {memory.SLACK:.0%} that the allocator loses:",
        "",
        "micro_batch  grad_accum  weights+Adam  activations  passing   total  measured",
    ]
    most = max((i for i, row in enumerate(rows) if row["fits"]), default=-1) + 3
    now = found["best"] if found["now"] == batches.AUTO else found["now"]
    said += [line(row, now) for row in rows[:most]]
    if any(row["measured_mib"] is not None for row in rows):
        said.append(f"measured: what training steps took on {safe(found['measured_on'])}, CUDA's own not counted")
    best = found["best"]
    if best is None:
        return [*said, "", "Not even one context fits: take a smaller model or context_len, or free the card"]
    return [*said, "", f"The largest that fits: micro_batch={best} grad_accum={step // best}, the step stays the same"]


def line(row: dict[str, Any], now: int | None) -> str:
    """now: the micro_batch that the recipe's run would begin with."""
    mark = "fits" if row["fits"] else "too large"
    here = "  <- the recipe's" if row["micro_batch"] == now else ""
    took = "-" if row["measured_mib"] is None else f"{row['measured_mib']:,}"
    return (
        f"{row['micro_batch']:11d} {row['grad_accum']:11d} {row['states_mib']:13,d} {row['kept_mib']:12,d} "
        f"{row['passing_mib']:8,d} {row['total_mib']:7,d} {took:>9s}  {mark}{here}"
    )


if __name__ == "__main__":
    sys.exit(main())
