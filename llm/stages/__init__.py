"""The stages of the paper, one file each: a stage reads its inputs and writes only its own outputs, whole."""
