"""llama.cpp is here and works: the source a local LLM will be. A tiny random model, one token out."""

from pathlib import Path

import pytest


def random_gguf(path: Path) -> None:
    """A one-layer llama of random weights with a byte vocabulary: nothing it says has a meaning."""
    import gguf
    import numpy as np

    width, hidden, heads, context = 32, 64, 2, 64
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)] + [b"\xe2\x96\x81war"]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256, gguf.TokenType.NORMAL]
    random = np.random.default_rng(0)
    out = gguf.GGUFWriter(path, "llama")
    out.add_block_count(1)
    out.add_context_length(context)
    out.add_embedding_length(width)
    out.add_feed_forward_length(hidden)
    out.add_head_count(heads)
    out.add_head_count_kv(heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(width // heads)
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types([int(kind) for kind in kinds])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    shapes = {
        "token_embd.weight": (len(tokens), width),
        "output.weight": (len(tokens), width),
        "output_norm.weight": (width,),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.ffn_norm.weight": (width,),
        **{f"blk.0.attn_{name}.weight": (width, width) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (hidden, width),
        "blk.0.ffn_up.weight": (hidden, width),
        "blk.0.ffn_down.weight": (width, hidden),
    }
    for name, shape in shapes.items():
        out.add_tensor(name, (random.standard_normal(shape) * 0.1).astype(np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tiny_random_gguf_loads_and_gives_one_token(tmp_path: Path) -> None:
    import llama_cpp

    model = tmp_path / "tiny.gguf"
    random_gguf(model)
    llama = llama_cpp.Llama(model_path=str(model), n_ctx=64, n_threads=1, verbose=False)
    try:
        done = llama.create_completion("war", max_tokens=1, temperature=0.0, seed=0)
    finally:
        llama.close()
    assert done["usage"]["completion_tokens"] == 1
    assert done["usage"]["prompt_tokens"] >= 2  # the beginning, and at least one token of the text
