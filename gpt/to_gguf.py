"""A kept model as one file that llama.cpp runs: GGUF. Two of our shapes are architectures it knows:

    gpt2     learned positions, LayerNorm, GELU          (the preset gpt2)
    qwen3    RoPE, RMSNorm, QK norm, SwiGLU, no biases   (the preset modern)

Weights stay float32: nothing is lost here, and llama.cpp's own llama-quantize makes smaller files out of this one.
llama.cpp works GELU out by tanh and through a table of half precision; ours is exact. The manifest says so.
Light: torch and numpy only where weights move.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen import files
from gpt import archive
from gpt.config import BadConfig, GPTConfig

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor

    from gpt.tokenizer import Tokenizer

LAYER_NORM_EPS = 1e-5  # torch's for LayerNorm
RMS_NORM_EPS = 2.0**-23  # torch's for RMSNorm: the float32 epsilon, with bfloat16 too
SHAPES = {
    "gpt2": {"pos": "learned", "norm": "layer", "mlp": "gelu", "qk_norm": False},
    "qwen3": {"pos": "rope", "norm": "rms", "mlp": "swiglu", "qk_norm": True, "bias": False},
}
NAMES = {  # ours: llama.cpp's
    "wte": "token_embd", "wpe": "position_embd", "norm": "output_norm", "head": "output",
    "attn_norm": "attn_norm", "attn.qkv": "attn_qkv", "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm",
    "attn.out": "attn_output", "mlp_norm": "ffn_norm", "mlp.up": "ffn_up", "mlp.down": "ffn_down",
}  # fmt: skip
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def to_gguf(source: Path, folder: Path) -> None:
    """Write folder/<its name>.gguf of a kept model, and a manifest that says what it came from.

    A folder that was made of the same weights stays as it is; of others it is made anew. Raises BadConfig for a shape
    that llama.cpp has no architecture for, FileNotFoundError or archive.DamagedModel like archive.verify.
    """
    config, weights, tokenizer = archive.read_model(source)
    given = files.read_manifest(source)
    if files.is_complete(folder) and files.read_manifest(folder).get("model_sha256") == given["sha256"]:
        return
    architecture = architecture_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files.MANIFEST).unlink(missing_ok=True)  # from here on it is not complete
    files.sync_folder(folder.parent)
    path, beside = folder / f"{folder.name}.gguf", folder / ".model.gguf.tmp"
    try:
        write(beside, architecture, given["name"], config, weights, tokenizer)
        files.sync_file(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)  # of a full disk
    facts = {key: given.get(key) for key in ("run", "run_name", "pack", "step", "tokens_seen", "val_loss", "longest")}
    made = {"kind": "gguf", "model": given["name"], "model_sha256": given["sha256"], **facts}
    made |= {"architecture": architecture, "gelu": "tanh" if config.mlp == "gelu" else None}
    files.write_manifest(folder, {**made, "sha256": {path.name: files.sha256(path)}})


def architecture_of(config: GPTConfig) -> str:
    """llama.cpp's name of the shape. Raises BadConfig, saying what would have to be another way."""
    asked = config.to_json()
    differing = {
        name: [f"{field}={asked[field]}" for field, value in shape.items() if asked[field] != value]
        for name, shape in SHAPES.items()
    }
    for name, fields in differing.items():
        if not fields:
            return name
    raise BadConfig(
        "llama.cpp runs preset=gpt2 as gpt2 and preset=modern as qwen3; this model has "
        + ", and ".join(f"for {name} {' '.join(fields)}" for name, fields in differing.items())
        + ": it can't be written"
    )


def write(
    path: Path, architecture: str, name: str, config: GPTConfig, weights: "dict[str, Tensor]", tokenizer: "Tokenizer"
) -> None:
    """The file, without a flush."""
    from gguf import GGUFWriter

    out = GGUFWriter(path, architecture)
    out.add_name(name)
    add_shape(out, architecture, config)
    add_tokenizer(out, tokenizer, config.vocab_size)
    for tensor, array in tensors(architecture, config, weights):
        out.add_tensor(tensor, array)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def add_shape(out: "GGUFWriter", architecture: str, config: GPTConfig) -> None:
    from gpt.model import ROPE_BASE

    out.add_context_length(config.positions if architecture == "gpt2" else config.context_len)
    out.add_embedding_length(config.n_embd)
    out.add_block_count(config.n_layer)
    out.add_feed_forward_length(config.mlp_width)
    out.add_head_count(config.n_head)
    out.add_head_count_kv(config.kv_heads)
    if architecture == "gpt2":
        out.add_layer_norm_eps(LAYER_NORM_EPS)
        return
    out.add_layer_norm_rms_eps(RMS_NORM_EPS)
    out.add_key_length(config.head_size)
    out.add_value_length(config.head_size)
    out.add_rope_dimension_count(config.head_size)
    out.add_rope_freq_base(ROPE_BASE)


def add_tokenizer(out: "GGUFWriter", tokenizer: "Tokenizer", vocab_size: int) -> None:
    """vocab_size: of the model; what the tokenizer has no piece for is called unused."""
    from gguf import TokenType

    from gpt.tokenizer import SPACE

    pieces = list(tokenizer.pieces())
    texts = [text.replace(SPACE, " ") if sort == "user_defined" else text for text, _, sort in pieces]
    sorts = [int(TokenType[sort.upper()]) for _, _, sort in pieces]
    unused = range(len(pieces), vocab_size)
    out.add_tokenizer_model("llama")  # llama.cpp's name for SentencePiece BPE
    out.add_token_list([*texts, *(f"<|unused{i}|>" for i in unused)])
    out.add_token_scores([*(score for _, score, _ in pieces), *(0.0 for _ in unused)])
    out.add_token_types([*sorts, *(int(TokenType.UNUSED) for _ in unused)])
    out.add_bos_token_id(tokenizer.endoftext)
    out.add_eos_token_id(tokenizer.im_end)
    out.add_unk_token_id(0)
    out.add_add_bos_token(False)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(False)
    out.add_chat_template(CHATML)


def tensors(architecture: str, config: GPTConfig, weights: "dict[str, Tensor]") -> Iterator[tuple[str, Any]]:
    """(llama.cpp's name, float32 array) of every weight."""
    import numpy as np

    for ours, weight in weights.items():
        owner, what = ours.rsplit(".", 1)
        block, _, part = (
            owner.removeprefix("blocks.").partition(".") if owner.startswith("blocks.") else ("", "", owner)
        )
        place = f"blk.{block}." if block else ""
        for name, tensor in split(NAMES[part], architecture, config, weight):
            yield f"{place}{name}.{what}", tensor.float().contiguous().numpy()
            if architecture == "gpt2" and not config.bias and part not in ("wte", "wpe", "head"):
                yield f"{place}{name}.bias", np.zeros(len(tensor), np.float32)  # llama.cpp's gpt2 has them always


def split(name: str, architecture: str, config: GPTConfig, weight: "Tensor") -> "list[tuple[str, Tensor]]":
    """One of our matrices as llama.cpp's: where it keeps several, they lie on top of each other in ours."""
    if architecture == "qwen3" and name == "attn_qkv":
        rows = [heads * config.head_size for heads in (config.n_head, config.kv_heads, config.kv_heads)]
        return list(zip(("attn_q", "attn_k", "attn_v"), weight.split(rows), strict=True))  # type: ignore[no-untyped-call]
    if architecture == "qwen3" and name == "ffn_up":
        return list(zip(("ffn_gate", "ffn_up"), weight.chunk(2), strict=True))
    return [(name, weight)]
