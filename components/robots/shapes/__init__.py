"""The bodies of the three embodiments: where joints sit, how cameras look. Limits and rates are in data_contracts."""
