"""The data market: what hospitals offer, described in HealthDCAT-AP with noisy statistics, and orders that become tasks."""
