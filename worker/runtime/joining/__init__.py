"""What is known of items and users, on disk beside the worker: SQLite, and files of a catalogue.

Step 2 (decode) asks it; `worker.runtime.facts` ties it to the topics that are followed.
"""
