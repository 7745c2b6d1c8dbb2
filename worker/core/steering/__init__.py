"""Steps 2 and 4: what the definitions of experiments, and the readout's verdicts, ask of a worker.

    orders        what one definition says: who is simulated, and what they are asked
    decided       whether a readout has given a final verdict, and when that is taken back
    budgets       which share of the users tokens still pay for
    placebo_ids   which experiment a placebo belongs to
    steering      all of it at one moment; an event's plan, or why it is skipped

Pure, as all of the core: `worker.kafka` follows the topics, `worker.runtime.steering` hands over what they say.
"""
