"""Offline evaluation and alignment on files: an engine, no Kafka.

`evaluate` asks an engine about real choices and judges its answers.
Imports the core, the engines, the settings and the readout's statistics; it knows no topic and no broker.
"""
