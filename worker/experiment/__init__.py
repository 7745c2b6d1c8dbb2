"""Reading an experiment, in a process of its own: responses in, figures and a verdict out.

`statistics` decides what may be said while one watches; `report` counts the responses and lays the figures out.
"""
