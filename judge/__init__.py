"""Answers in, verdicts out. Statistics. No torch."""
