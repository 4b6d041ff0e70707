"""Engines: what writes texts for prompts (Generator) and what gives them rewards (Scorer), behind two contracts."""
