"""Two services that exist, answered call by call: their front ends need another address only."""
