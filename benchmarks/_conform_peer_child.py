"""Model Equality Testing's own statistic; run by the Python of an environment that has the package.

Reads pairs of answers from standard input and writes the statistics. It imports nothing of this repository.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from model_equality_testing.distribution import CompletionSample
from model_equality_testing.tests import mmd_hamming
from model_equality_testing.utils import pad_to_length, tokenize_unicode


def sample(answers: dict, keys: list, length: int) -> CompletionSample:
    """Return one side's answers as the package takes them."""
    prompts = np.array([keys.index(key) for key in sorted(answers) for _ in answers[key]])
    codes = tokenize_unicode([text for key in sorted(answers) for text in answers[key]])
    return CompletionSample(prompts=prompts, completions=pad_to_length(codes, L=length), m=len(keys))


def main() -> None:
    """Compute the statistic of each pair."""
    statistics = []
    for reference, checked in json.load(sys.stdin):
        keys = sorted(reference)
        longest = max(len(text) for side in (reference, checked) for each in side.values() for text in each)
        statistics.append(float(mmd_hamming(*(sample(side, keys, longest) for side in (reference, checked)))))
    print(json.dumps({"version": version("model-equality-testing"), "statistics": statistics}))


if __name__ == "__main__":
    main()
