"""What happened, what it means, and who is told: runs, findings, alerts."""
