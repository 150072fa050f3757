"""Every number that a guard compares with, in one place, each with its reason."""

GUARD_ALPHA = 0.001
"""Error rate of each guard that tests, over all the candidates and parts that it looks at.

A dozen of them together then stop fewer than 2 % of sound runs. A guard that cries wolf is muted.
"""

INCUMBENT_FLOOR = 0.2
"""A model that scores less than this on the work it does today was probably misread.

A small denominator by itself is no fault: the test then has a wide interval and certifies nothing.
"""

SETTLED_N = 20
"""Fewer pairs than this are too few data, not bad data: guards warn, and no test at the end certifies.

With 16 pairs that both models get right the score test already passes at 5 %, where the exact
chance under the floor 0.85 is 0.85**16 = 7.4 %; from 20 pairs on it is below 4 %.
"""

RETENTION_TOO_HIGH = 1.5
"""A candidate half as good again as the model it replaces is rarer than a broken grader."""

RETENTION_REVERSED = 1.25
"""Worse elsewhere and this much better on one part: there the incumbent was probably misread.

Of runs of 400 MMLU-Pro questions in 14 subjects 2 % have such a part.
"""

RETENTION_TOO_LOW = 0.2
"""A candidate that keeps less than a fifth mostly gives answers that its scorer cannot read."""

LOST_WARN = 0.02
"""A grader that lost 3.2 % of the incumbent's right answers moved GSM8K's retention by 0.03."""

UNPARSED_FAIL = 0.05
"""More than this is shown: an incumbent unread so often is understated by a third of the usual margin."""

LOST_DIFFERENCE = 0.03
"""More than this is shown: answers that only one model lost, to its grader, its token limit or its service,
tilt the ratio by as much."""

OUTAGE_GOES_ON = 0.75
"""Where the other model scores less than this share of what it scores elsewhere, the samples are hard."""

SAME_MISTAKES = 12
"""So many mistakes of the incumbent, and not one difference: two models that make three mistakes in four
together would differ somewhere with probability 0.998. The closest pair on MMLU-Pro makes two in three.
"""

UNSCORED_WARN = 0.02
UNSCORED_FAIL = 0.10
"""Answers without any score leave the test; beyond a tenth the rest need not resemble what was asked."""

UNSCORED_TILTS = 0.01
"""From this share on a candidate's unscored answers may be what lifts it over the floor."""

UNSCORED_ALPHA = 0.01
"""Error rate of "the candidate is unscored more often". To fail, a sound run has to lose its pass too."""

ERRORS_FAIL = 0.20
"""With one call in five failed an outage is being measured, not a model."""

MIN_CLUSTERS = 20
"""Cluster t passes wrongly 4.6 to 6.0 % of the time with 20 clusters, where 5 % is meant.

Fewer are too few data, not bad data, as fewer pairs than `SETTLED_N` are.
"""

CONFLICTS_FAIL = 0.05
"""One id, two questions: a few are a changed key (33 of 12,032 in MMLU-Pro), more are a mix-up."""

UNMATCHED_FAIL = 0.05
"""Samples that only one model has may be those that the other got wrong: a twentieth moves a retention
of 0.80 to 0.85."""

DUPLICATES_FAIL = 0.05
"""Rows given twice, or one question under several ids: beyond a twentieth two files were mixed."""

AGGREGATE_WARN = 0.005
"""Headlines are rounded to a percent at most; more than half a percent is not rounding."""

AGGREGATE_FAIL = 0.02
"""A headline two points from its own items was computed from something else."""

FEW_DISCORDANT = 10
"""Only pairs that differ inform the test; with fewer than this a single one moves the outcome."""

DRIFT_BLOCKS = 20
DRIFT_SMALL_BLOCK = 5
DRIFT_MIN_N = 200
"""Order is looked at in 20 consecutive blocks of at least 10 pairs, and in blocks of 5."""

TRAFFIC_ALPHA = 0.01
"""Error rate of "recent traffic is not like the samples", over all facts that are compared.

This only warns, so it may be wrong more often than a guard that stops a run.
"""

TRAFFIC_MOVED = 0.10
"""More than this is shown: so much of the traffic is of a kind that the samples do not stand for. A tenth of
the traffic on which a candidate fails takes 0.10 off its retention, of the 0.15 that the usual floor leaves.
"""

FEWEST_COMPARED = 50
"""Fewer independent requests than this show no move that matters: at 50 a share of 10 % has to reach 40 %."""

MOST_COMPARED = 10**7
"""More requests than this are never read for a comparison; such counts are no counts."""

IDS_READ = 20_000
"""Ids and inputs are searched for undeclared clusters among the first ones: enough to see a pattern."""

BEGINNING = 120
"""Inputs begin with one document where so many characters, after what all inputs share, are the same."""

TEXT_KEPT = 4_000
"""Importers keep this much of an input: longer ones may differ after it."""

EFFECTIVE_SHARE = 0.5
"""Traffic weights that leave less than half of the samples' worth let a few samples decide."""

UNKNOWN_COST = 0.05
"""Costs missing on more samples than this are not missing at random: the mean is unknown."""

SAVING_ALPHA = 0.05
"""The error rate of "it costs less", over all policies of a decision: as usual for a claim."""

SAVING_BEYOND_DOUBT = 0.9999
"""Level at which a segment's saving has a sign: about four standard errors, which no half reverses."""

LEAST_ALPHA = 1e-6
ALPHA = (LEAST_ALPHA, 0.5)
"""The least error rate of a decision, and the first that is too large: no data show less than one in a
million, and a coin errs in a half."""

MOST_REQUESTS = 10**15
"""More requests a month than this are a slip: a hundred thousand for every human being."""

LONGEST_VALID_DAYS = 3_650
"""No verdict on today's models and prices is worth anything ten years later."""

LATEST_YEAR = 9_000
"""Dates end with the year 9999, and a verdict is valid for some time."""

WEIGHTS = (1e-100, 1e100)
"""The largest of a decision's weights lies between these, so that squares of weights and their sums do not
leave the range of floats."""

MOST_PARTS = 1_000
"""Alpha spread over more segments than this certifies none; such a column is an id, not a segment."""

LONG_ANSWER = 40
"""Two models do not write the same text of so many characters, except now and then."""

UNVERIFIED_WARN = 0.05
"""Of 4,400 published trials 9 % have no verdict; below 5 % the two readings differ by little."""

UNVERIFIED_FAIL = 0.25
"""One error that takes the verdict of a quarter of the trials: the runs are about that error.

In one public case a single time-out took 35 of 40 verdicts.
"""

DOMINANT_ERROR = 0.5
"""An error dominates that takes more verdicts than all others together."""
