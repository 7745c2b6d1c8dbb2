"""4 prompt, 6 parse: profiles, layouts and words to a prompt; a rationale to what it says."""
