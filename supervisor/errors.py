"""What can go wrong, by what the caller can do about it.

Refused         told to a person, exit 1: what we got, what we take, what to do
StaleAttempt    somebody else holds the job now: our word about it no longer counts
(BadArgs, Unfinished: jobs/contract.py)
"""


class Refused(Exception):
    """It can't be done, and here is the sentence that says why and what to do instead."""


class StaleAttempt(Exception):
    """The attempt that speaks is not the job's newest, or the job no longer runs."""
