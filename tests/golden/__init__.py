"""Every released version of our schemas, with records that it wrote; `python -m tests.golden VERSION` adds one."""
