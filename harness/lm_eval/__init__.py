"""A reward model of ours in the language-model evaluation harness (`lm_eval`, Gao et al.), which is an extra.

`command` runs lm-eval's own command, `model` is what that command evaluates, `rewards` and `candidates` what it asks.
Nothing else of the project imports `lm_eval`.
"""
