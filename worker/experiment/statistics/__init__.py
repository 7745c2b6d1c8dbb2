"""Intervals, e-values and adjusted means, without a database: numbers in, numbers out."""
