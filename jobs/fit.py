"""What a training would take of a card, for each micro_batch that keeps its step: python -m jobs.fit --args JSON ...

Trains nothing and touches no GPU; `jobctl fit` calls it with a recipe's numbers and what the card has free.
"""

import argparse
import json
import sys

from jobs.contract import BadArgs

ANSWERS = 0.4  # of a document's tokens give loss: what question-answer records have (docs/decisions, gpt facts)


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 refused with a sentence."""
    parser = argparse.ArgumentParser(prog="jobctl fit")
    parser.add_argument("--name", required=True)
    parser.add_argument("--args", type=json.loads, required=True, help="of the train job, as given")
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--context-len", type=int, required=True)
    parser.add_argument("--free-mib", type=int, required=True)
    parser.add_argument("--reserve-mib", type=int, required=True)
    parser.add_argument("--labelled", type=float, default=ANSWERS)
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


def fit(told: argparse.Namespace) -> dict[str, object]:
    """The table, the micro_batch the recipe has, and the largest that fits. Raises BadArgs, BadConfig."""
    import jobs.kind
    from gpt import memory
    from jobs.kinds.train import Args, model_config

    args: Args = jobs.kind.parse("train", told.args)
    config = model_config(args, vocab_size=told.vocab_size, context_len=told.context_len)
    step = args.micro_batch * args.grad_accum
    rows = list(
        memory.table(
            config,
            contexts_per_step=step,
            context_len=told.context_len,
            labelled_share=told.labelled,
            recompute=told.recompute or args.recompute,
            optimizer=args.optimizer or "adamw",
            average=args.ema_decay is not None,
        )
    )
    best = memory.largest_fitting(rows, told.free_mib, told.reserve_mib)
    return {
        "name": told.name, "parameters": memory.num_parameters(config), "contexts_per_step": step,
        "context_len": told.context_len, "free_mib": told.free_mib, "reserve_mib": told.reserve_mib,
        "now": args.micro_batch, "best": None if best is None else best.micro_batch,
        "table": [
            {"micro_batch": row.micro_batch, "grad_accum": step // row.micro_batch, "total_mib": round(row.total_mib),
             "states_mib": round(row.states_mib), "kept_mib": round(row.kept_mib),
             "passing_mib": round(row.passing_mib),
             "fits": row.total_mib <= told.free_mib - told.reserve_mib}
            for row in rows
        ],
    }  # fmt: skip


def lines(found: dict[str, object]) -> list[str]:
    """The table for a terminal, down to two rows past the largest that fits."""
    from gpt import memory

    parameters, step = found["parameters"], found["contexts_per_step"]
    assert isinstance(parameters, int)
    rows = found["table"]
    assert isinstance(rows, list)
    shape = f"{parameters / 1e6:.1f} M parameters, {step} contexts of {found['context_len']} tokens a step"
    said = [
        f"{found['name']}: {shape}",
        f"{found['free_mib']:,} MiB are free, {found['reserve_mib']:,} of them stay the desktop's. Predicted, in MiB,",
        f"the total with {memory.CONTEXT_MIB} for CUDA itself and {memory.SLACK:.0%} that the allocator loses:",
        "",
        "micro_batch  grad_accum  weights+Adam  activations  passing   total",
    ]
    most = max((i for i, row in enumerate(rows) if row["fits"]), default=-1) + 3
    for row in rows[:most]:
        mark = "fits" if row["fits"] else "too large"
        here = "  <- the recipe's" if row["micro_batch"] == found["now"] else ""
        said.append(
            f"{row['micro_batch']:11d} {row['grad_accum']:11d} {row['states_mib']:13,d} {row['kept_mib']:12,d} "
            f"{row['passing_mib']:8,d} {row['total_mib']:7,d}  {mark}{here}"
        )
    best = found["best"]
    if best is None:
        return [*said, "", "Not even one context fits: take a smaller model or context_len, or free the card"]
    words = f"micro_batch={best} grad_accum={step // best}" if isinstance(step, int) and isinstance(best, int) else ""
    return [*said, "", f"The largest that fits: {words}, the step stays the same"]


if __name__ == "__main__":
    sys.exit(main())
