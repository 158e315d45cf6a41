"""One turn of the loop: read what is new, fold, decide, record, carry out."""
