"""Values per user and answers per event as files for other programs, from the state of a reader."""
