"""The reference pages of the documentation, made from the code.

A page under `docs/reference` is prose with places that this package fills:

    <!-- generated: settings -->
    ...
    <!-- /generated -->

`python -m tools.reference` fills them all; `--check` changes nothing and names the pages that are not up to date.
Each block has one function that returns Markdown, in `tools.reference.blocks`.
"""
