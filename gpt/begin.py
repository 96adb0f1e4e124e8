"""What a run begins with: a pack that its model can take, and weights drawn by its seed or those of a kept model, so
that a second training can go on with other records and a rate of its own. Only weights: the optimizer, the rates and
the place in the data begin anew.
"""

from datagen import files
from gpt import archive
from gpt.config import BadConfig, TrainConfig, check_same_shape
from gpt.model import GPT
from gpt.shards import Pack


def first_model(config: TrainConfig, pack: Pack) -> tuple[GPT, int]:
    """(the model as the run begins, the longest document it has been trained on; 0 when on none).

    Raises BadConfig when config.init is not there, damaged, or of another shape or tokenizer.
    """
    model = GPT(config.model, seed=config.seed)
    if config.init is None:
        return model, 0
    try:
        given, weights, tokenizer = archive.read_model(config.init)
    except (FileNotFoundError, archive.DamagedModel) as error:
        raise BadConfig(f"init: {error}") from error
    check_same_shape(config.init.name, given, config.model)
    if tokenizer.sha256 != pack.manifest.get("tokenizer_sha256", tokenizer.sha256):
        raise BadConfig(
            f"{config.init.name} reads another tokenizer's tokens than the pack {config.pack.name} holds: pack with "
            f"the tokenizer that the model was made with"
        )
    model.load_state_dict(weights)
    return model, files.read_manifest(config.init).get("longest") or 0


def check_fits(config: TrainConfig, pack: Pack) -> None:
    """Raises BadConfig when the model can't take the pack's contexts or tokens."""
    if pack.num_contexts("train") == 0:
        raise BadConfig(f"the pack {config.pack.name} has no train contexts: pack more articles")
    if pack.context_len > config.model.context_len:
        raise BadConfig(
            f"the pack's contexts are {pack.context_len} tokens, the model takes {config.model.context_len}: "
            f"set context_len={pack.context_len}"
        )
    if (vocab := pack.manifest.get("vocab_size")) is not None and vocab > config.model.vocab_size:
        raise BadConfig(
            f"the pack's tokenizer has {vocab} pieces, the model {config.model.vocab_size}: set vocab_size={vocab}"
        )
