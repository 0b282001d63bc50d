"""One module per verb: `add_arguments`, and `run` which returns the document that `--json` prints."""
