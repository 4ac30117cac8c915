"""Splits sample by sample, as spec and textbook say it: slow, plain, and the judge of the fast ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Known at and label end in whole bars; `label_end` is that of a label that exists or would."""

    number: int
    known: int
    label_end: int
    has_label: bool


def fold_of(samples, test_spans, train_span, *, embargo, context, holdout):
    """Numbers of the samples of each slice, and how many were purged and embargoed.

    Spans are (after, until] in bars; training parts hold whatever no test span holds.
    """

    def is_within(sample, span):
        return span[0] < sample.known <= span[1]

    open_ = [sample for sample in samples if sample.known <= holdout]
    usable = [s for s in samples if s.has_label and s.label_end <= holdout]
    blocks = [[s for s in open_ if is_within(s, span)] for span in test_spans]
    tested = {s.number for block in blocks for s in block}
    candidates = [s for s in usable if is_within(s, train_span) and s.number not in tested]
    training, purged, embargoed = apart(candidates, blocks, embargo)
    elapsed, total = [], 0
    for place, sample in enumerate(training):
        if place:
            before = training[place - 1]
            crosses = any(before.known < block[0].known < sample.known for block in blocks)
            total += 1 if crosses else sample.known - before.known
        elapsed.append(total)
    fit_ends, validation_ends = int(0.8 * total), int((0.8 + 0.1) * total)
    pairs = list(zip(training, elapsed, strict=True))
    fit = [s for s, time in pairs if time <= fit_ends]
    validation = [s for s, time in pairs if fit_ends < time <= validation_ends]
    calibration = [s for s, time in pairs if time > validation_ends]
    distance = max(embargo, context)
    kept_fit, met, near = apart(fit, [validation], distance)
    kept_validation, met_too, near_too = apart(validation, [calibration], distance)
    slices = {
        "fit": kept_fit,
        "validation": kept_validation,
        "calibration": calibration,
        "test": [s for block in blocks for s in block if s.has_label and s.label_end <= holdout],
        "predicted": [s for block in blocks for s in block],
    }
    return (
        {name: [s.number for s in found] for name, found in slices.items()},
        purged + met + met_too,
        embargoed + near + near_too,
    )


def apart(samples, blocks, distance):
    """Samples that keep away from every block, before and behind it; and what was dropped for what."""
    kept, purged, embargoed = [], 0, 0
    spans = [(block[0].known, max(s.label_end for s in block)) for block in blocks]
    for sample in samples:
        meets = near = False
        for first, last in spans:
            if sample.label_end >= first and sample.known <= last:
                meets = True
            elif sample.known > last:
                near = near or sample.known < last + distance
            else:
                near = near or sample.label_end > first - distance
        if meets:
            purged += 1
        elif near:
            embargoed += 1
        else:
            kept.append(sample)
    return kept, purged, embargoed


def covered_share(numbers, bars, horizon):
    """Σ uniqueness, label by label and bar by bar."""
    covering = {}
    for number in numbers:
        for bar in range(bars[number] + 1, bars[number] + horizon + 1):
            covering[bar] = covering.get(bar, 0) + 1
    return sum(
        sum(1 / covering[bar] for bar in range(bars[n] + 1, bars[n] + horizon + 1)) / horizon
        for n in numbers
    )
