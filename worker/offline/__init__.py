"""Offline evaluation and alignment: an engine, and files.

`evaluate` asks an engine about real choices and judges its answers, `align` makes a model from them.
Imports the core, the engines, the settings and the readout's statistics.  One module reads topics, and writes a file
of what they have (`align.topic_choices`); all others know no topic and no broker.
"""
