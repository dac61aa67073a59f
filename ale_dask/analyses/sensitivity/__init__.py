"""How far a result depends on single experiments, on unpublished ones, and what the design can find."""
