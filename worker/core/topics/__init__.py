"""1 poll: the topics that a subscription reads, and their identity over deletions and new starts."""
