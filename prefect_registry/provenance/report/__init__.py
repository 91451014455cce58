"""Close-out reports of runs and studies: what went in, what ran, what came out (reference system 2)."""
