"""Tells a program outside, by an HTTP POST, that the verdict on a candidate has changed."""
