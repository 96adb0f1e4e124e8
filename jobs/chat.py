"""Ask a kept model, or chat with it: python -m jobs.chat MODEL [--home HOME] [--question "..."]*

On the CPU unless told, so it never touches the GPU's work. Each question stands alone: the model was taught single
questions, so it is asked single ones.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.screen import safe

if TYPE_CHECKING:
    from gpt.model import GPT
    from gpt.sample import Completion, Sampling
    from gpt.tokenizer import Tokenizer

MAX_NEW_TOKENS = 96
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
SAMPLING: dict[str, tuple[type, str]] = {  # option: its type, and what it says; jobctl takes the same ones
    "max-new-tokens": (int, f"an answer's longest (default {MAX_NEW_TOKENS})"),
    "temperature": (float, "0, the default: always the likeliest token"),
    "top-k": (int, "draw from so many likeliest tokens"),
    "top-p": (float, "draw from the fewest that together have this probability"),
    "min-p": (float, "draw from those at least so likely, as a share of the likeliest"),
    "repetition-penalty": (float, "above 1: what was said becomes less likely"),
    "seed": (int, "the same seed draws the same"),
}


def field_of(option: str) -> str:
    """'top-k' -> 'top_k', as gpt.sample.Sampling has it."""
    return option.replace("-", "_")


@dataclass(frozen=True)
class Answer:
    question: str
    answer: str
    num_tokens: int
    stopped: bool


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 refused with a sentence, 130 left with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="jobctl ask", description="Questions for a model of models/.")
    parser.add_argument("model")
    parser.add_argument("--home", type=Path, default=Path.cwd(), help="the folder that holds models/")
    parser.add_argument(
        "--question", action="append", default=[], metavar="TEXT", help="ask and leave; may be repeated"
    )
    parser.add_argument("--device", default="cpu")
    for option, (kind, text) in SAMPLING.items():
        parser.add_argument(f"--{option}", type=kind, help=text)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args(argv)
    try:
        return talk(args)
    except KeyboardInterrupt:
        print()
        return INTERRUPTED


def talk(args: argparse.Namespace) -> int:
    import torch

    from gpt.archive import DamagedModel, entry, load_model
    from gpt.sample import Sampling

    try:
        told = {field: value for field in map(field_of, SAMPLING) if (value := getattr(args, field)) is not None}
        sampling = Sampling(**{"max_new_tokens": MAX_NEW_TOKENS, **told})
        check_device(args.device)
        folder = args.home / "models" / args.model
        model, tokenizer = load_model(folder, args.device)
        longest = entry(folder).manifest.get("longest")
        if args.question:
            print_answers(model, tokenizer, args.question, sampling, longest, args.json)
        else:
            chat(model, tokenizer, sampling, longest, args.model)
    except (FileNotFoundError, DamagedModel, ValueError) as error:  # a BadConfig, or what is no text
        print(error, file=sys.stderr)
        return 1
    except torch.OutOfMemoryError:
        print(
            f"{args.device} has too little memory free for it: leave --device out, and it runs on the CPU",
            file=sys.stderr,
        )
        return 1
    return 0


def check_device(name: str) -> None:
    """Raises BadConfig for one that is not there."""
    import torch

    from gpt.config import BadConfig

    cards = torch.cuda.device_count()
    if name not in ("cpu", *(["cuda"] if cards else []), *(f"cuda:{index}" for index in range(cards))):
        raise BadConfig(f"--device {name} is not here: take cpu{f', or cuda:0 to cuda:{cards - 1}' if cards else ''}")


def ask(
    model: "GPT", tokenizer: "Tokenizer", questions: list[str], sampling: "Sampling", longest: int | None = None
) -> list[Answer]:
    """Each question by itself, in their order. Raises BadConfig when one is longer than the model's context.

    longest: the longest document the model was trained on, when known.
    """
    from gpt.sample import generate, past_training

    prompts = [tokenizer.prompt(question) for question in questions]
    done: list[Completion] = generate(model, prompts, sampling, stop_token=tokenizer.im_end)
    for index in past_training(model, longest, prompts, done):
        num = len(prompts[index]) + len(done[index].tokens)
        text = f"this question and its answer are {num} tokens, training went to {longest}: past that is guesswork"
        print(text, file=sys.stderr)
    return [
        Answer(question, tokenizer.decode(c.tokens), len(c.tokens), c.stopped)
        for question, c in zip(questions, done, strict=True)
    ]


def print_answers(
    model: "GPT",
    tokenizer: "Tokenizer",
    questions: list[str],
    sampling: "Sampling",
    longest: int | None,
    json_: bool,
) -> None:
    for answer in ask(model, tokenizer, questions, sampling, longest):
        if json_:
            print(json.dumps(vars(answer), ensure_ascii=False))
        else:
            print(f"Q  {safe(answer.question)}\nA  {safe(answer.answer)}{'' if answer.stopped else ' ...'}\n")


def chat(model: "GPT", tokenizer: "Tokenizer", sampling: "Sampling", longest: int | None, name: str) -> None:
    """Question by question until end of input. Ctrl-C stops an answer; where there is none, it leaves."""
    print(f"{name}, {model.num_parameters() / 1e6:.1f} M parameters, on {model.device}. Ctrl-D leaves.")
    while True:
        try:
            question = input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not question:
            continue
        started = time.monotonic()
        try:
            [answer] = ask(model, tokenizer, [question], sampling, longest)
        except ValueError as error:  # a BadConfig, or what is no text
            print(error)
            continue
        except KeyboardInterrupt:
            print("stopped")
            continue
        speed = answer.num_tokens / (time.monotonic() - started)
        print(f"{safe(answer.answer)}{'' if answer.stopped else ' ...'}\n  [{answer.num_tokens} tokens, {speed:.0f}/s]")


if __name__ == "__main__":
    sys.exit(main())
