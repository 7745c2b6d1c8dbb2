"""The commands: words in, one call, words out.  May import every room."""
