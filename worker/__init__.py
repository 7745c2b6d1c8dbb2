"""Mirrorstream: impressions in, simulated responses with rationales out, exactly once.

Start reading in `worker.pipeline.loop`, `worker.core.records` and `worker.core.delivery.handover`.

    core        the rules, pure                       pipeline    the loop between Kafka and the engine
    kafka       Kafka and the schema registry         engines     vLLM, vLLM servers, the choice model
    settings    settings and prompt profiles          runtime     wiring, life cycle, health, metrics, traces
    experiment  the readout                           cli         commands
    offline     evaluation on files           demo, bench processes of their own
"""

__version__ = "0.1.0"  # the package's, which `pyproject.toml` reads here
