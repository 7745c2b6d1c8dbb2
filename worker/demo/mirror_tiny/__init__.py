"""How the small model of the demo and the tests is trained and judged; nothing of the worker imports it."""
