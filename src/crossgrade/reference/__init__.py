"""Readable NumPy versions of models, to check engines against; correct first, fast never."""

from crossgrade.reference.llama4 import Llama4Shape, greedy_tokens, next_token_logprobs

__all__ = ["Llama4Shape", "greedy_tokens", "next_token_logprobs"]
