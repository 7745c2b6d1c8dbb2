"""Sums of answers in one SQLite file, and the questions asked of it."""
