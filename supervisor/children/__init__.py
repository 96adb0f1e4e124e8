"""The processes that do the work: started, held ready, watched, stopped, swept away, and what their end means."""
