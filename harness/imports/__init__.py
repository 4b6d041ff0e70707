"""Assets from outside: published pools, pairs and score files, checked and brought into the harness's own columns."""
