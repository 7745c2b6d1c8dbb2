"""What speaks against a verdict: placebos, paired draws, reasons, checks."""
