"""From sums to a readout and its words: verdict, checks, terminal, the record that is published."""
