"""What bench/lanes.py is made of: workloads, engines in processes of their own, turns, and the page."""
