"""`python -m worker.bench.price`: what a verdict costs in tokens, GPU time and money, by the way of asking for it."""
