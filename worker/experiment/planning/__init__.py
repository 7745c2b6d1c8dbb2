"""Planning: what an experiment needs before there is data, and how likely it is to show something.  Numbers alone."""
