"""What every room may ask of the operating system: signals, threads, child processes.  Imports no other room."""
