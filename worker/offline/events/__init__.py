"""Files of events, choices and items, in any form that people have them: read row by row, with the place of each.

For the commands that read such files, and for `evaluate` and `align`.
"""
