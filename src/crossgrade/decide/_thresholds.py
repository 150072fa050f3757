"""Every number that a guard compares with, in one place, each with its reason."""

CHANCE_ALPHA = 0.001
"""Error rate of "below chance", divided by the parts looked at: a guard that cries wolf is muted."""

INCUMBENT_FLOOR = 0.2
"""Below this mean of the incumbent a ratio says nothing: its interval explodes and anybody passes."""

SETTLED_N = 20
"""Fewer pairs than this are too few data, not bad data: guards warn, and no test at the end certifies.

With 16 pairs that both models get right the score test already passes at 5 %, where the exact
chance under the floor 0.85 is 0.85**16 = 7.4 %; from 20 pairs on it is below 4 %.
"""

RETENTION_TOO_HIGH = 1.5
"""A candidate half as good again as the model it replaces is rarer than a broken grader."""

UNPARSED_WARN = 0.02
"""A grader that lost 3.2 % of the incumbent's right answers moved GSM8K's retention by 0.03."""

UNPARSED_FAIL = 0.05
"""On the lower bound: an incumbent unread this often is understated by a third of the usual margin."""

UNPARSED_DIFFERENCE_FAIL = 0.03
"""On the lower bound: the incumbent unread so much more often than the candidate tilts the ratio."""

UNSCORED_WARN = 0.02
UNSCORED_FAIL = 0.10
"""Answers without any score leave the test; beyond a tenth the rest need not resemble what was asked."""

ERRORS_FAIL = 0.20
"""With one call in five failed an outage is being measured, not a model."""

MIN_CLUSTERS = 20
"""Cluster t passes wrongly 4.6 to 6.0 % of the time with 20 clusters, where 5 % is meant."""

CONFLICTS_FAIL = 0.05
"""One id, two questions: a few are a changed key (33 of 12,032 in MMLU-Pro), more are a mix-up."""

UNMATCHED_FAIL = 0.20
"""Samples that only one model has: beyond a fifth the paired rest is a selection."""

DUPLICATES_FAIL = 0.05
"""Rows given twice for one model, sample and epoch: beyond a twentieth two files were mixed."""

AGGREGATE_WARN = 0.005
"""Headlines are rounded to a percent at most; more than half a percent is not rounding."""

AGGREGATE_FAIL = 0.02
"""A headline two points from its own items was computed from something else."""

FEW_DISCORDANT = 10
"""Only pairs that differ inform the test; with fewer than this a single one moves the outcome."""

DRIFT_ALPHA = 0.001
DRIFT_BLOCKS = 20
DRIFT_MIN_N = 200
"""Order is looked at in 20 consecutive blocks of at least 10 pairs."""

IDS_READ = 20_000
"""Ids are searched for undeclared clusters among the first ones: enough to see a pattern."""

EFFECTIVE_SHARE = 0.5
"""Traffic weights that leave less than half of the samples' worth let a few samples decide."""

UNKNOWN_COST = 0.05
"""Costs missing on more samples than this are not missing at random: the mean is unknown."""

SAVING_ALPHA = 0.05
"""The error rate of "it costs less", over all policies of a decision: as usual for a claim."""

SAVING_BEYOND_DOUBT = 0.9999
"""Level at which a segment's saving has a sign: about four standard errors, which no half reverses."""

HUMAN_LABELS = 100
"""With 100 labels a correction of the judge passes wrongly 6.5 % of the time, with 50 7.5 %."""

MOST_PARTS = 1_000
"""Alpha spread over more segments than this certifies none; such a column is an id, not a segment."""
