"""A reward model of ours in the language-model evaluation harness (`lm_eval`, Gao et al.), which is an extra.

`command` runs lm-eval's own command, `model` is what that command evaluates, `rewards` and `candidates` what it asks.
Beside it only `evaluation/lm_eval_task.py` imports `lm_eval`, to judge a language model on its tasks.
"""
