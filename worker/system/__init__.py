"""What every room may ask: signals, threads, child processes, and files in Parquet.  Imports no other room."""
