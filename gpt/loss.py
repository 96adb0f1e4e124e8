"""Cross-entropy on labelled rows only, a few rows of logits at a time.

R labelled rows, C width, V vocabulary. Naive logits of 12,288 rows x 32,000 are 1.5 GiB in fp32; here a chunk is
the most there is, and its gradient is made while it is at hand, so nothing of it waits for backward.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from gpt.config import chunk_rows


class _SumLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_RC: Tensor, weight_VC: Tensor, labels_R: Tensor, wanted: bool) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=x_RC.device)
        weight = weight_VC.to(x_RC.dtype)
        grad_x = torch.empty_like(x_RC) if wanted else None
        grad_w = torch.empty_like(weight_VC, dtype=torch.float32) if wanted else None
        size = chunk_rows(len(weight))
        for start in range(0, len(x_RC), size):
            rows = slice(start, start + size)
            x, labels = x_RC[rows], labels_R[rows]
            log_p = F.log_softmax(F.linear(x, weight).float(), dim=-1)
            total -= log_p.gather(1, labels[:, None]).sum()
            if grad_x is not None and grad_w is not None:
                grad = log_p.exp_()  # d loss / d logits = p - one_hot(label)
                grad[torch.arange(len(x), device=x.device), labels] -= 1
                grad = grad.to(x.dtype)
                torch.mm(grad, weight, out=grad_x[rows])
                _add_product(grad_w, grad.t(), x, first=start == 0)
                del grad
            del log_p  # else it lives while the next chunk's logits are made: 14 bytes a logit, not 8
        if grad_w is not None and len(x_RC) == 0:
            grad_w.zero_()
        if wanted:
            ctx.save_for_backward(grad_x, grad_w)  # type: ignore[arg-type]
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_x, grad_w = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_x * grad, grad_w * grad, None, None


def _add_product(sum_VC: Tensor, a_VR: Tensor, b_RC: Tensor, *, first: bool) -> None:
    """sum += a @ b, in place where the numbers allow it. first: what is in sum does not count."""
    if a_VR.dtype == sum_VC.dtype:
        torch.addmm(sum_VC, a_VR, b_RC, beta=0.0 if first else 1.0, out=sum_VC)
    elif first:
        sum_VC.copy_(a_VR @ b_RC)
    else:
        sum_VC += a_VR @ b_RC


def labelled_loss(x_RC: Tensor, weight_VC: Tensor, labels_R: Tensor) -> Tensor:
    """The loss summed over labelled rows, fp32 scalar. Divide by the labels of the whole optimizer step.

    x: hidden of the labelled rows alone. labels: (R,) int64, the token that follows each.
    Dividing sums, not averaging means: every labelled token counts the same, however contexts are grouped.
    """
    wanted = torch.is_grad_enabled() and (x_RC.requires_grad or weight_VC.requires_grad)
    return _SumLoss.apply(x_RC, weight_VC, labels_R, wanted)  # type: ignore[no-any-return, no-untyped-call]
