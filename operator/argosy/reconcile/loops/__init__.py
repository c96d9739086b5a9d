"""The loops of one operator process: what each waits for, reads, asks the pure half, and carries out."""
