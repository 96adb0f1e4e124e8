"""How fast a model answers for the judge: many at once with a cache, beside one at a time without, in one run.

    .venv/bin/python bench/sample.py [--batch 256] [--new-tokens 32] [--rounds 4] [--home HOME --model NAME]

Without --home: a model of the demo's shape with fresh weights, prompts of the demo's lengths, every answer --new-tokens
long. With it: that model and its pack's questions, each answer as long as the model makes it. In turn, and by CPU time
beside wall time, since the machine is shared. Both ways are greedy; their answers are compared.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from datagen.records import read_questions  # noqa: E402
from gpt import archive  # noqa: E402
from gpt.attention import Documents  # noqa: E402
from gpt.config import GPTConfig  # noqa: E402
from gpt.model import GPT  # noqa: E402
from gpt.sample import Sampling, generate_all  # noqa: E402

DEMO = GPTConfig(3, 4, n_embd=256, vocab_size=4096, context_len=512, bias=False, tied=True, pos="rope", qk_norm=True)
FEW = 8  # answers without a cache in a round


@torch.inference_mode()
def answer_slowly(model: GPT, prompt: Sequence[int], num: int, stop_token: int | None) -> list[int]:
    """The definition: everything is read again for each token; the head sees the last one alone."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + num:
        docs = Documents((0, len(tokens)), model.device)
        token = int(model.logits(model(torch.tensor(tokens, device=model.device), docs)[-1]).argmax())
        if token == stop_token:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def given(args: argparse.Namespace) -> tuple[GPT, list[list[int]], int | None]:
    """The model, prompts for all rounds, the token that ends an answer."""
    count = args.batch * args.rounds
    dice = random.Random(0)
    if args.home is None:
        prompts = [[dice.randrange(DEMO.vocab_size) for _ in range(dice.randint(20, 60))] for _ in range(count)]
        return GPT(DEMO, seed=1).eval().to(args.device), prompts, None
    folder = args.home / "models" / args.model
    model, tokenizer = archive.load_model(folder, args.device)
    pack = archive.entry(folder).manifest["pack"]
    questions = list(read_questions(args.home / "packs" / pack / "questions.jsonl"))
    chosen = dice.sample(questions, min(count, len(questions)))
    return model, [tokenizer.prompt(question.question) for question in chosen], tokenizer.im_end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--model", default="demo")
    args = parser.parse_args()
    model, prompts, stop_token = given(args)
    sampling = Sampling(args.new_tokens)
    wall, cpu, lengths, same = [], [], [], 0
    next(generate_all(model, prompts[:FEW], sampling, stop_token=stop_token, batch=FEW))  # warm
    for number, start in enumerate(range(0, len(prompts), args.batch)):
        some = prompts[start : start + args.batch]
        before = time.monotonic(), time.process_time()
        answers = next(generate_all(model, some, sampling, stop_token=stop_token, batch=args.batch))
        between = time.monotonic(), time.process_time()
        slow = [answer_slowly(model, prompt, args.new_tokens, stop_token) for prompt in some[:FEW]]
        after = time.monotonic(), time.process_time()
        same += sum(answers[place].tokens == tokens for place, tokens in enumerate(slow))
        lengths += [len(answer.tokens) for answer in answers.values()]
        fast, slowly = ((b - a) / n for a, b, n in ((before[0], between[0], len(some)), (between[0], after[0], FEW)))
        wall.append((1 / fast, 1 / slowly, slowly / fast))
        cpu.append((after[1] - between[1]) / FEW / ((between[1] - before[1]) / len(some)))
        print(f"round {number}: {1 / fast:8.1f} answers/s, one at a time {1 / slowly:6.2f}, {slowly / fast:5.1f} times")
    rates = [statistics.median(column) for column in zip(*wall, strict=True)]
    print(
        f"median: {rates[0]:.1f} answers/s in batches of {args.batch} with a cache, {rates[1]:.2f} one at a time "
        f"without: {rates[2]:.1f} times in wall time, {statistics.median(cpu):.1f} in CPU time; answers of "
        f"{statistics.mean(lengths):.1f} tokens; {same} of {FEW * len(wall)} the same both ways; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
